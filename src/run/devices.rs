//! The device pool: indexed GPUs, or the CPU where there is none.
//!
//! Knows nothing of tasks. Counting GPUs through the driver's folder has not been run on a machine with a GPU.

use std::path::Path;

/// A slot of the pool: what the child is told, and the mask under which it sees only its own device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// `cpu` or `cuda:0`.
    pub(super) device: String,
    /// `CUDA_VISIBLE_DEVICES` of the child: an index or a UUID; empty for none.
    pub(super) mask: String,
}

/// The slots of this machine. `inherited` is `CUDA_VISIBLE_DEVICES` as the engine was started with.
pub(super) fn slots(inherited: Option<&str>, cpu_only: bool, cpu_slots: usize) -> Vec<Slot> {
    let masks = if cpu_only { Vec::new() } else { gpu_masks(inherited, installed_gpus()) };
    if masks.is_empty() {
        return vec![Slot { device: "cpu".into(), mask: String::new() }; cpu_slots.max(1)];
    }
    masks.into_iter().map(|mask| Slot { device: "cuda:0".into(), mask }).collect()
}

/// Of the inherited mask every entry, else an index per installed GPU. As CUDA does, what follows an entry of -1 is not seen.
fn gpu_masks(inherited: Option<&str>, installed: usize) -> Vec<String> {
    match inherited {
        _ if installed == 0 => Vec::new(),
        None => (0..installed).map(|index| index.to_string()).collect(),
        Some(mask) => mask.split(',').map(str::trim).take_while(|entry| !entry.is_empty() && *entry != "-1").map(str::to_owned).collect(),
    }
}

fn installed_gpus() -> usize {
    std::fs::read_dir(Path::new("/proc/driver/nvidia/gpus")).map_or(0, Iterator::count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inherited_mask_is_respected() {
        assert_eq!(gpu_masks(Some("2,GPU-8f1e,-1,0"), 4), ["2", "GPU-8f1e"]);
        assert_eq!(gpu_masks(Some(""), 4), [] as [&str; 0]);
        assert_eq!(gpu_masks(None, 2), ["0", "1"]);
        assert_eq!(gpu_masks(Some("0"), 0), [] as [&str; 0]);
    }

    #[test]
    fn without_a_gpu_the_pool_is_the_cpu() {
        assert_eq!(slots(None, true, 1), [Slot { device: "cpu".into(), mask: String::new() }]);
    }
}
