//! The disk under the store: space, rights, and what its file system can do.

use super::Finding;
use crate::cli::grid::bytes;
use crate::store::{OtherLayout, Scratch, Store};
use rustix::fs::{FlockOperation, fcntl_lock, flock, ioctl_ficlone, statfs, statvfs};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// File systems that other machines serve, by the number the kernel gives them.
const REMOTE: &[(i64, &str)] = &[(0x6969, "NFS"), (0xFF53_4D42, "CIFS"), (0xFE53_4D42, "SMB"), (0x0102_1997, "9p"), (0x6573_5546, "FUSE")];
/// Less is not enough to work with; less than the second is soon used up.
const LEAST: u64 = 1_000_000_000;
const COMFORTABLE: u64 = 20_000_000_000;

/// A folder on the disk in question, removed when dropped.
enum Place {
    InStore(Scratch),
    Beside(tempfile::TempDir),
}

impl Place {
    fn path(&self) -> &Path {
        match self {
            Self::InStore(scratch) => scratch.path(),
            Self::Beside(folder) => folder.path(),
        }
    }
}

/// Looks at the disk of the store at `root`, and at the folder of its index.
pub(super) fn look(root: &Path, index: &Path) -> Vec<Finding> {
    let remedy = "make it writable, or say another place in tomograph.local.toml: `store = \"/data/store\"`";
    // Looked at first: a store that is opened is closed to others.
    let mut findings = vec![store(root)];
    let place = match place(root, index) {
        Ok(place) => place,
        Err(error) if error.is::<OtherLayout>() => {
            let remedy = "build the tomograph that made it, or say another place in tomograph.local.toml: `store = \"/data/store\"`";
            return vec![Finding::wrong("store", format!("{error:#}"), remedy)];
        }
        Err(error) => return vec![Finding::wrong("store", format!("{error:#}"), remedy)],
    };
    findings.extend(space(place.path()));
    findings.extend(features(place.path()));
    findings.push(memory(index));
    findings
}

/// Somewhere to try things: in the store where there is one, else where it would be.
fn place(root: &Path, index: &Path) -> anyhow::Result<Place> {
    if root.join("VERSION").exists() {
        return Ok(Place::InStore(Store::open(root, index)?.scratch()?));
    }
    let above = root.ancestors().find(|above| above.is_dir()).unwrap_or(Path::new("/"));
    let folder = tempfile::Builder::new().prefix(".tomograph-doctor-").tempdir_in(above);
    Ok(Place::Beside(folder.map_err(|error| anyhow::anyhow!("cannot write in {}: {error}", above.display()))?))
}

fn store(root: &Path) -> Finding {
    let shown = root.display();
    match fs::metadata(root) {
        Ok(there) if there.permissions().mode() & 0o077 != 0 && root.join("VERSION").exists() => {
            let remedy = format!("it is closed now (`chmod 700 {shown}`); whoever could read it may have seen people's data");
            Finding::warning("store", format!("{shown} was open to other users"), remedy)
        }
        Ok(_) if root.join("VERSION").exists() => Finding::fine("store", format!("{shown}, closed to other users")),
        _ => Finding::fine("store", format!("{shown}, made by the first run")),
    }
}

fn space(place: &Path) -> Option<Finding> {
    let disk = statvfs(place).ok()?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let text = format!("{} free", bytes(free));
    let remedy = "make room, or say another disk in tomograph.local.toml: `store = \"/data/store\"`";
    Some(match free {
        0..LEAST => Finding::wrong("disk", text, remedy),
        LEAST..COMFORTABLE => Finding::warning("disk", text, remedy),
        _ => Finding::fine("disk", text),
    })
}

/// What the file system can do, tried out.
fn features(place: &Path) -> Vec<Finding> {
    const WHAT: &str = "file system";
    let made = File::create_new(place.join("a")).and_then(|file| Ok((file, File::create_new(place.join("b"))?)));
    let (one, other) = match made {
        Ok(files) => files,
        Err(error) => return vec![Finding::wrong(WHAT, format!("no file can be made: {error}"), "look at its rights and free space")],
    };
    let mut findings = Vec::new();
    let local = "keep the store on a local disk (ext4, XFS, btrfs): `store = \"/data/store\"` in tomograph.local.toml";
    let locks = [flock(&one, FlockOperation::NonBlockingLockExclusive), fcntl_lock(&other, FlockOperation::NonBlockingLockExclusive)];
    if locks.iter().any(Result::is_err) {
        findings.push(Finding::wrong(WHAT, "it has no locks: two runs at once would harm each other", local));
    }
    if place.join("A").exists() {
        findings.push(Finding::warning(WHAT, "it does not tell capital letters from small ones: names of files may collide", local));
    }
    if let Some((_, name)) = statfs(place).ok().and_then(|disk| REMOTE.iter().find(|(number, _)| *number == disk.f_type)) {
        findings.push(Finding::warning(WHAT, format!("it is {name}: slow with many small files"), local));
    }
    let reflinks = ioctl_ficlone(&other, &one).is_ok();
    let links = fs::hard_link(place.join("a"), place.join("c")).is_ok();
    let copies = match (reflinks, links) {
        (true, _) => "commands get reflinks of their inputs",
        (false, true) => "no reflinks; commands get read-only hard links of their inputs, and what is published is copied",
        (false, false) => "neither reflinks nor hard links; commands get copies of their inputs",
    };
    findings.push(match reflinks || links {
        true => Finding::fine(WHAT, copies),
        false => Finding::warning(WHAT, copies, local),
    });
    if let Ok(modified) = one.metadata().and_then(|file| file.modified()) {
        let now = SystemTime::now();
        let off = now.duration_since(modified).or_else(|_| modified.duration_since(now)).unwrap_or_default();
        if off > Duration::from_secs(3) {
            let text = format!("its clock differs from this machine's by {} s: a change right after a run may be missed", off.as_secs());
            findings.push(Finding::warning(WHAT, text, "set both clocks by NTP"));
        }
    }
    findings
}

/// The folder of the index, which is a memory only.
fn memory(index: &Path) -> Finding {
    let shown = index.display();
    let above: Option<PathBuf> = index.ancestors().find(|above| above.is_dir()).map(Path::to_owned);
    let writable = above.and_then(|above| tempfile::tempfile_in(above).ok()).is_some();
    match writable {
        true => Finding::fine("index", format!("{shown}")),
        false => Finding::warning("index", format!("{shown} cannot be written: everything is hashed anew each time"), "set XDG_CACHE_HOME"),
    }
}
