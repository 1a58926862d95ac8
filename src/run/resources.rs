//! Room for tasks: processors, memory and devices, who claims what, and what no setting of this machine can give.
//!
//! Knows nothing of the loop: it hands room out and takes it back. Tasks ask in the order of their priority; what an earlier one waits
//! for is kept from those after it, so that a large task is not passed over for ever.

use super::Options;
use super::devices::{self, Slot};
use super::machine::{Machine, Units};
use crate::pipeline::{Action, Task};

/// Shares of a device are counted in thousandths.
const WHOLE: u32 = 1000;

/// Room for tasks.
pub(super) struct Resources {
    processors: u32,
    used: u32,
    memory: u64,
    taken: u64,
    devices: Vec<Device>,
    /// Whether the devices are GPUs, and not the CPU.
    has_gpu: bool,
    /// Devices and memory are other engines' too; none where they cannot be shared.
    machine: Option<Machine>,
    /// Why they cannot.
    unshared: Option<String>,
    /// What a task waits for that other engines hold.
    waits: Option<String>,
}

struct Device {
    /// `None` is a slot of the CPU.
    mask: Option<String>,
    free: u32,
}

/// What a task wants.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Claim {
    processors: u32,
    memory: u64,
    /// Thousandths of devices; above one device, whole ones.
    device: u32,
}

/// What a task got, to be given back.
#[derive(Debug, Default)]
pub(super) struct Room {
    claim: Claim,
    /// Device and thousandths of it.
    devices: Vec<(usize, u32)>,
    /// What other engines do without meanwhile.
    units: Vec<Units>,
    /// What the task is told, if it got a device.
    pub(super) slot: Option<Slot>,
}

/// Kinds of room.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Dimensions {
    processors: bool,
    memory: bool,
    devices: bool,
}

impl Resources {
    pub(super) fn new(options: &Options) -> Self {
        let inherited = options.environment.get(devices::MASK).map(String::as_str);
        let gpus = if options.cpu { Vec::new() } else { devices::gpus(inherited, options.gpus.as_deref()) };
        let memory = options.memory.unwrap_or_else(usable_memory);
        let mut resources = Self::with(options.jobs, memory, gpus, options.cpu_slots);
        match options.locks.as_deref().map(|folder| Machine::open(folder, &options.user)) {
            Some(Ok(machine)) => resources.machine = Some(machine),
            Some(Err(error)) => resources.unshared = Some(error.to_string()),
            None => {}
        }
        resources
    }

    fn with(jobs: usize, memory: u64, gpus: Vec<String>, cpu_slots: usize) -> Self {
        let has_gpu = !gpus.is_empty();
        let masks: Vec<Option<String>> = if has_gpu { gpus.into_iter().map(Some).collect() } else { vec![None; cpu_slots.max(1)] };
        Self {
            processors: u32::try_from(jobs).unwrap_or(u32::MAX).max(1),
            used: 0,
            memory,
            taken: 0,
            devices: masks.into_iter().map(|mask| Device { mask, free: WHOLE }).collect(),
            has_gpu,
            machine: None,
            unshared: None,
            waits: None,
        }
    }

    /// To be called when every task has asked: what the first waits for that other engines hold, or why nothing is shared with them.
    pub(super) fn asked_by_all(&mut self) -> Option<String> {
        if let Some(machine) = &mut self.machine {
            machine.asked_by_all();
        }
        let unshared = self.unshared.as_ref();
        let unshared = unshared.map(|why| format!("other runs on this machine may use the same devices and memory at once: {why}"));
        self.waits.clone().or(unshared)
    }

    /// Whether some task waits for what other engines hold.
    pub(super) fn waits_for_others(&self) -> bool {
        self.waits.is_some()
    }

    /// To be called before the first task asks.
    pub(super) fn ask_anew(&mut self) {
        self.waits = None;
    }

    /// Takes room for a task, unless it does not fit or an earlier task, noted in `blocked`, waits for the same.
    pub(super) fn enter(&mut self, task: &Task, blocked: &mut Dimensions) -> Option<Room> {
        let first = self.waits.take();
        let room = self.take(self.claim(task), blocked);
        if let Some(machine) = &mut self.machine {
            machine.asked(room.is_none());
        }
        // Who was refused one device may have got another.
        let own = self.waits.take().filter(|_| room.is_none()).map(|waits| format!("{} waits: {waits}", task.title()));
        self.waits = first.or(own);
        room
    }

    fn take(&mut self, claim: Claim, blocked: &mut Dimensions) -> Option<Room> {
        let wants = Dimensions { processors: claim.processors > 0, memory: claim.memory > 0, devices: claim.device > 0 };
        if blocked.processors && wants.processors || blocked.memory && wants.memory || blocked.devices && wants.devices {
            return None;
        }
        let (fitting, count, share) = self.fitting(claim.device);
        let mut short = Dimensions {
            // A task that wants more processors than there are runs alone.
            processors: wants.processors && self.used > 0 && self.used.saturating_add(claim.processors) > self.processors,
            memory: wants.memory && self.taken.saturating_add(claim.memory) > self.memory,
            devices: fitting.len() < count,
        };
        let (mut units, mut devices) = (Vec::new(), Vec::new());
        if short == Dimensions::default() {
            short.memory = wants.memory && !self.share_memory(claim.memory, &mut units);
        }
        if short == Dimensions::default() && wants.devices {
            for at in fitting {
                if devices.len() < count && self.share_device(at, share, &mut units) {
                    devices.push((at, share));
                }
            }
            short.devices = devices.len() < count;
        }
        if short != Dimensions::default() {
            self.give_back(&units);
            blocked.processors |= short.processors;
            blocked.memory |= short.memory;
            blocked.devices |= short.devices;
            return None;
        }
        self.used = self.used.saturating_add(claim.processors);
        self.taken += claim.memory;
        devices.iter().for_each(|(at, share)| self.devices[*at].free -= share);
        let masks: Vec<&str> = devices.iter().filter_map(|(at, _)| self.devices[*at].mask.as_deref()).collect();
        let slot = wants.devices.then(|| if masks.is_empty() { Slot::cpu() } else { Slot::gpus(&masks) });
        Some(Room { claim, devices, units, slot })
    }

    /// Takes memory from what all engines of this machine may claim; false where others hold too much of it.
    fn share_memory(&mut self, bytes: u64, taken: &mut Vec<Units>) -> bool {
        let units = |bytes: u64| u32::try_from(bytes.div_ceil(1 << 20)).unwrap_or(u32::MAX);
        let (all, wanted) = (units(self.memory), units(bytes).min(units(self.memory)));
        let limit = size(self.memory);
        let told = |holder: &str| format!("too much of the {limit} of memory that tasks may claim is in use by {holder}");
        self.share("memory", all, wanted, taken, &told)
    }

    /// The same with a share of a device.
    fn share_device(&mut self, at: usize, share: u32, taken: &mut Vec<Units>) -> bool {
        let (name, shown) = self.devices[at].called(at);
        self.share(&name, WHOLE, share, taken, &|holder| format!("{shown} is in use by {holder}"))
    }

    fn share(&mut self, thing: &str, all: u32, wanted: u32, taken: &mut Vec<Units>, told: &dyn Fn(&str) -> String) -> bool {
        let Some(machine) = &mut self.machine else { return true };
        match machine.take(thing, all, wanted) {
            Ok(Ok(units)) => taken.push(units),
            Ok(Err(holder)) => {
                let text = told(&holder);
                self.waits.get_or_insert(text);
                return false;
            }
            Err(error) => {
                self.unshared = Some(error.to_string());
                self.machine = None;
            }
        }
        true
    }

    fn give_back(&mut self, units: &[Units]) {
        if let Some(machine) = &mut self.machine {
            units.iter().for_each(|one| machine.give_back(one));
        }
    }

    /// Gives room back.
    pub(super) fn leave(&mut self, room: &Room) {
        self.used = self.used.saturating_sub(room.claim.processors);
        self.taken = self.taken.saturating_sub(room.claim.memory);
        room.devices.iter().for_each(|(at, share)| self.devices[*at].free += share);
        self.give_back(&room.units);
    }

    /// Whether nobody may start before somebody ends.
    pub(super) fn is_closed(&self, blocked: Dimensions, wants_devices: bool) -> bool {
        blocked.processors && (blocked.devices || !wants_devices)
    }

    /// The devices with room for a share, best first, how many are wanted, and how much of each. Shared ones are filled before others are
    /// begun, so that whole ones stay free for those that want them.
    fn fitting(&self, share: u32) -> (Vec<usize>, usize, u32) {
        let (count, each) = match share {
            0 => return (Vec::new(), 0, 0),
            1..=WHOLE => (1, share),
            _ => (usize::try_from(share / WHOLE).unwrap_or(usize::MAX), WHOLE),
        };
        let mut fitting: Vec<usize> = (0..self.devices.len()).filter(|at| self.devices[*at].free >= each).collect();
        fitting.sort_by_key(|at| self.devices[*at].free);
        (fitting, count, each)
    }

    /// Torch tasks are held back by the device pool alone: they have the threads that they say, beside the pool's. What asks for a GPU
    /// takes its share of one; of the CPU, which is no GPU, a slot is always taken whole.
    fn claim(&self, task: &Task) -> Claim {
        let device = match task.needs.gpu {
            gpu if gpu > 0.0 && self.has_gpu => thousandths(gpu),
            _ if wants_device(task) => WHOLE,
            _ => 0,
        };
        let processors = if is_torch(task) { 0 } else { task.needs.cpus.max(1) };
        Claim { processors, memory: task.needs.memory, device }
    }

    /// Why a task can never run under the settings of this machine; nothing where it can.
    pub(super) fn unmet(&self, task: &Task, cpu_only: bool) -> Option<String> {
        let (stage, gpu) = (&task.stage, task.needs.gpu);
        if gpu > 1.0 && gpu.fract() != 0.0 {
            return Some(format!("stage `{stage}` needs {gpu} GPUs (needs.gpu): above 1 it is a whole number, below 1 a share of one"));
        }
        let remedy = "list what there is as `[devices] gpus` in tomograph.local.toml, lower the need, or say --cpu";
        if gpu > 0.0 && !cpu_only && !self.has_gpu {
            return Some(format!("stage `{stage}` needs a GPU (needs.gpu = {gpu}) and this run has none: {remedy}"));
        }
        if gpu > 1.0 && self.has_gpu && gpu > self.devices.len() as f64 {
            return Some(format!("stage `{stage}` needs {gpu} GPUs (needs.gpu) and this run has {}: {remedy}", self.devices.len()));
        }
        (task.needs.memory > self.memory).then(|| {
            format!(
                "stage `{stage}` needs {} of memory (needs.memory) and this run may use {}: raise `memory` in tomograph.local.toml, or lower the need",
                size(task.needs.memory),
                size(self.memory)
            )
        })
    }
}

impl Device {
    /// What engines call it among them, and what messages do. Asked only where somebody wants it: the driver is slow to tell.
    fn called(&self, at: usize) -> (String, String) {
        match &self.mask {
            Some(mask) => (format!("gpu-{}", devices::identity(mask)), format!("GPU {mask}")),
            None => (format!("cpu-{at}"), "the CPU, for torch tasks (`[devices] cpu_slots` in tomograph.local.toml)".to_owned()),
        }
    }
}

/// Torch kinds take a device of the pool, and so does what asks for a GPU.
pub(super) fn wants_device(task: &Task) -> bool {
    is_torch(task) || task.needs.gpu > 0.0
}

fn is_torch(task: &Task) -> bool {
    matches!(&task.action, Action::Kind { kind, .. } if kind.work.is_torch())
}

fn thousandths(gpu: f64) -> u32 {
    // Checked when the pipeline was read: from 0 to 64.
    ((gpu * f64::from(WHOLE)).round() as u32).max(1)
}

/// Nine tenths of what the machine has, or of what the container that this runs in may use.
fn usable_memory() -> u64 {
    let system = rustix::system::sysinfo();
    let machine = system.totalram.saturating_mul(system.mem_unit.into());
    let limit = |path: &str| std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let container = limit("/sys/fs/cgroup/memory.max").or_else(|| limit("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
    machine.min(container.unwrap_or(u64::MAX)) / 10 * 9
}

/// `7.5 GiB`, `600 MiB`.
fn size(bytes: u64) -> String {
    let (number, unit) =
        if bytes >= 1 << 30 { (bytes as f64 / f64::from(1 << 30), "GiB") } else { (bytes as f64 / f64::from(1 << 20), "MiB") };
    let text = format!("{number:.1}");
    format!("{} {unit}", text.strip_suffix(".0").unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_gpus() -> Resources {
        Resources::with(4, 16 << 30, vec!["3".to_owned(), "GPU-8f".to_owned()], 1)
    }

    fn device(share: u32) -> Claim {
        Claim { device: share, ..Claim::default() }
    }

    fn mask(room: Option<&Room>) -> Option<&str> {
        room.and_then(|room| room.slot.as_ref()).map(|slot| slot.mask.as_str())
    }

    #[test]
    fn every_task_gets_a_device_of_its_own() {
        let (mut all, mut blocked) = (two_gpus(), Dimensions::default());
        let first = all.take(device(WHOLE), &mut blocked);
        let second = all.take(device(WHOLE), &mut blocked);
        assert_eq!((mask(first.as_ref()), mask(second.as_ref())), (Some("3"), Some("GPU-8f")));
        assert!(all.take(device(WHOLE), &mut blocked).is_none() && blocked.devices);
        all.leave(&first.unwrap());
        assert_eq!(mask(all.take(device(WHOLE), &mut Dimensions::default()).as_ref()), Some("3"));
    }

    #[test]
    fn shares_fill_one_device_before_they_begin_another() {
        let (mut all, mut blocked) = (two_gpus(), Dimensions::default());
        let shares: Vec<Room> = [500, 300, 500, 200].iter().filter_map(|share| all.take(device(*share), &mut blocked)).collect();
        assert_eq!(shares.iter().map(|room| mask(Some(room)).unwrap()).collect::<Vec<_>>(), ["3", "3", "GPU-8f", "3"]);
        assert!(all.take(device(WHOLE), &mut blocked).is_none());
        shares.iter().for_each(|room| all.leave(room));
        let both = all.take(device(2 * WHOLE), &mut Dimensions::default()).unwrap();
        assert_eq!(both.slot, Some(Slot { device: "cuda:0".to_owned(), mask: "3,GPU-8f".to_owned() }));
        assert!(all.take(device(1), &mut Dimensions::default()).is_none());
    }

    #[test]
    fn memory_of_what_runs_stays_below_the_limit() {
        let (mut all, mut blocked) = (two_gpus(), Dimensions::default());
        let claim = |memory: u64| Claim { processors: 1, memory: memory << 30, device: 0 };
        let first = all.take(claim(10), &mut blocked).unwrap();
        assert!(all.take(claim(7), &mut blocked).is_none());
        assert!(all.take(claim(1), &mut blocked).is_none(), "what an earlier task waits for is kept for it");
        assert!(all.take(claim(0), &mut blocked).is_some(), "what wants none is not held up");
        all.leave(&first);
        assert!(all.take(claim(7), &mut Dimensions::default()).is_some());
        assert_eq!(all.taken, 7 << 30);
    }

    #[test]
    fn a_task_with_more_threads_than_there_are_runs_alone() {
        let mut all = two_gpus();
        let claim = |processors: u32| Claim { processors, ..Claim::default() };
        let small = all.take(claim(1), &mut Dimensions::default()).unwrap();
        let mut blocked = Dimensions::default();
        assert!(all.take(claim(9), &mut blocked).is_none() && all.take(claim(1), &mut blocked).is_none());
        assert!(all.is_closed(blocked, false) && !all.is_closed(blocked, true));
        all.leave(&small);
        assert!(all.take(claim(9), &mut Dimensions::default()).is_some());
        assert!(all.take(claim(1), &mut Dimensions::default()).is_none());
    }

    #[test]
    fn without_a_gpu_the_pool_is_the_cpu() {
        let (mut all, mut blocked) = (Resources::with(2, 1 << 30, Vec::new(), 2), Dimensions::default());
        let slots: Vec<Room> = (0..3).filter_map(|_| all.take(device(WHOLE), &mut blocked)).collect();
        assert_eq!(slots.iter().map(|room| room.slot.clone().unwrap()).collect::<Vec<_>>(), [Slot::cpu(), Slot::cpu()]);
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!([size(16 << 30), size(600 << 20), size((15 << 30) + (1 << 29))], ["16 GiB", "600 MiB", "15.5 GiB"]);
        assert!(usable_memory() > 1 << 20);
    }
}
