//! Which devices a run may use: indexed GPUs, or the CPU where there is none.
//!
//! Knows nothing of tasks; who gets which is decided in `resources`. Finding GPUs has not been run on a machine with a GPU.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The variables by which CUDA is told which devices there are, and in which order it counts them.
pub(super) const MASK: &str = "CUDA_VISIBLE_DEVICES";
const ORDER: &str = "CUDA_DEVICE_ORDER";

/// What a task is told of its device, and the mask under which it sees only that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// `cpu` or `cuda:0`.
    pub(super) device: String,
    /// `CUDA_VISIBLE_DEVICES` of the child: indices or UUIDs; empty for none.
    pub(super) mask: String,
}

impl Slot {
    /// No device of the pool.
    pub(super) fn cpu() -> Self {
        Self { device: "cpu".into(), mask: String::new() }
    }

    /// One GPU, or several that a task has for itself.
    pub(super) fn gpus(masks: &[&str]) -> Self {
        Self { device: "cuda:0".into(), mask: masks.join(",") }
    }
}

/// The variables that make a child see its device and no other. Where the engine itself was started under a mask, what an index
/// means stays as it was.
pub(super) fn environment<'a>(slot: &'a Slot, inherited: &'a BTreeMap<String, String>) -> Vec<(&'static str, &'a str)> {
    let order = inherited.get(ORDER).map(String::as_str).or((!inherited.contains_key(MASK)).then_some("PCI_BUS_ID"));
    std::iter::once((MASK, slot.mask.as_str())).chain(order.map(|order| (ORDER, order))).collect()
}

/// The masks of the GPUs that may be used. `inherited` is `CUDA_VISIBLE_DEVICES` as the engine was started with, `configured` what
/// `tomograph.local.toml` lists in place of what is found here.
pub fn gpus(inherited: Option<&str>, configured: Option<&[String]>) -> Vec<String> {
    match configured {
        Some(listed) => visible(inherited, listed, |entry| listed.iter().any(|one| same(one, entry))),
        None => {
            let installed: Vec<String> = (0..installed_gpus()).map(|index| index.to_string()).collect();
            let known = |entry: &str| !installed.is_empty() && (entry.starts_with("GPU-") || entry.starts_with("MIG-"));
            visible(inherited, &installed, |entry| known(entry) || installed.iter().any(|one| one == entry))
        }
    }
}

/// Of the inherited mask every entry, up to the first that is no device, as CUDA does; without a mask all there are.
fn visible(inherited: Option<&str>, all: &[String], is_device: impl Fn(&str) -> bool) -> Vec<String> {
    let Some(mask) = inherited else { return all.to_vec() };
    let mut seen: Vec<String> = Vec::new();
    for entry in mask.split(',').map(str::trim).take_while(|entry| is_device(entry)) {
        // The same device twice is still one device.
        if !seen.iter().any(|one| same(one, entry)) {
            seen.push(entry.to_owned());
        }
    }
    seen
}

/// Whether two entries name one device: UUIDs may be cut short.
fn same(one: &str, other: &str) -> bool {
    let uuid = |entry: &str| entry.starts_with("GPU-") || entry.starts_with("MIG-");
    one == other || uuid(one) && uuid(other) && (one.starts_with(other) || other.starts_with(one))
}

/// What engines call a GPU among them: its UUID where the driver tells it, so that an index and a UUID are the same device.
pub(super) fn identity(mask: &str) -> String {
    let uuids = uuids(Path::new("/proc/driver/nvidia/gpus"), Path::new("/dev"));
    let meant = match mask.parse::<usize>() {
        Ok(index) => uuids.get(index),
        Err(_) => uuids.iter().find(|uuid| same(uuid, mask)),
    };
    meant.map_or(mask, String::as_str).to_owned()
}

/// The UUIDs of the GPUs that have a device file here, in the order of their places on the bus.
fn uuids(driver: &Path, files: &Path) -> Vec<String> {
    let mut places: Vec<PathBuf> = std::fs::read_dir(driver).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    places.sort();
    let of = |place: PathBuf| {
        let text = std::fs::read_to_string(place.join("information")).ok()?;
        let value = |key: &str| text.lines().find_map(|line| Some(line.strip_prefix(key)?.trim_start_matches(':').trim().to_owned()));
        let minor = value("Device Minor")?;
        value("GPU UUID").filter(|_| files.join(format!("nvidia{minor}")).exists())
    };
    places.into_iter().filter_map(of).collect()
}

/// Those that have a device file, which is all that a container sees; where none was used since the machine was started there is no such
/// file yet, and the driver's own list holds.
fn installed_gpus() -> usize {
    let is_gpu =
        |name: &str| name.strip_prefix("nvidia").is_some_and(|number| !number.is_empty() && number.bytes().all(|one| one.is_ascii_digit()));
    let files = std::fs::read_dir("/dev").map_or(0, |all| all.flatten().filter(|one| one.file_name().to_str().is_some_and(is_gpu)).count());
    if files > 0 { files } else { std::fs::read_dir("/proc/driver/nvidia/gpus").map_or(0, Iterator::count) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(inherited: Option<&str>, configured: &[&str]) -> Vec<String> {
        let configured: Vec<String> = configured.iter().map(|&one| one.to_owned()).collect();
        gpus(inherited, Some(&configured))
    }

    #[test]
    fn an_inherited_mask_is_respected() {
        let four = ["0", "1", "2", "3"];
        assert_eq!(listed(None, &four), four);
        assert_eq!(listed(Some("2,0"), &four), ["2", "0"]);
        assert_eq!(listed(Some("2,7,0"), &four), ["2"], "what follows an entry that is no device is not seen");
        assert_eq!(listed(Some("1,-1,0"), &four), ["1"]);
        assert_eq!(listed(Some("1,1"), &four), ["1"]);
        assert_eq!(listed(Some(""), &four), [""; 0]);
        assert_eq!(listed(Some("0"), &[]), [""; 0]);
    }

    #[test]
    fn the_driver_tells_which_device_an_index_means() {
        use std::fs::{File, create_dir_all};
        use std::io::Write as _;
        let folder = tempfile::tempdir().unwrap();
        for (place, minor) in [("0000:41:00.0", 1), ("0000:01:00.0", 0), ("0000:81:00.0", 2)] {
            let place = folder.path().join("gpus").join(place);
            create_dir_all(&place).unwrap();
            let text = format!("Model: \t\t Some GPU\nGPU UUID: \t GPU-{minor}{minor}\nBus Type: \t PCIe\nDevice Minor: \t {minor}\n");
            File::create(place.join("information")).unwrap().write_all(text.as_bytes()).unwrap();
        }
        // The second one is not given to this container.
        [0, 2].iter().for_each(|minor| drop(File::create(folder.path().join(format!("nvidia{minor}"))).unwrap()));
        assert_eq!(uuids(&folder.path().join("gpus"), folder.path()), ["GPU-00", "GPU-22"]);
        assert_eq!(identity("MIG-none"), "MIG-none");
    }

    #[test]
    fn masks_may_hold_uuids() {
        let two = ["GPU-8f1e6c2a-0000", "GPU-0b2c-1111"];
        assert_eq!(listed(Some("GPU-0b2c,GPU-8f1e6c2a-0000,GPU-77"), &two), ["GPU-0b2c", "GPU-8f1e6c2a-0000"]);
        assert_eq!(listed(Some("MIG-41f9"), &["MIG-41f9-aa", "0"]), ["MIG-41f9"]);
        assert_eq!(listed(Some("GPU-0b2c"), &["0"]), [""; 0], "an index and a UUID cannot be told to be the same");
        let seen = visible(Some("GPU-a,MIG-b,1"), &["0".to_owned()], |entry| entry != "1");
        assert_eq!(seen, ["GPU-a", "MIG-b"]);
    }

    #[test]
    fn indices_mean_what_they_meant_where_the_mask_came_from() {
        let slot = Slot::gpus(&["2", "3"]);
        let inherited = |pairs: &[(&str, &str)]| pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(environment(&slot, &inherited(&[])), [(MASK, "2,3"), (ORDER, "PCI_BUS_ID")]);
        assert_eq!(environment(&slot, &inherited(&[(MASK, "2,3")])), [(MASK, "2,3")]);
        assert_eq!(environment(&Slot::cpu(), &inherited(&[(MASK, ""), (ORDER, "FASTEST_FIRST")])), [(MASK, ""), (ORDER, "FASTEST_FIRST")]);
    }
}
