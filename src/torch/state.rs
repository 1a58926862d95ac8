//! A training's resumable state on disk: one file, whole or ignored, written by one process.
//!
//! The file is a mark, the BLAKE3 digest of the rest, and safetensors bytes: variables, what the optimiser remembers, the best
//! variables so far and the outputs of the epoch, with where the training stands as JSON. Knows nothing of networks.

use crate::schedule::Plateau;
use crate::weights::{Named, from_bytes, to_bytes};
use anyhow::{Context as _, Result, bail, ensure};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tomograph::content::Digest;

/// Raised when the state changes shape: older ones are then ignored.
const MARK: &[u8; 8] = b"tgstate2";

/// Seconds to wait for the lock of a process that is about to die.
const PATIENCE: u64 = 10;

/// Where a training stands. Numbers with a fraction are kept as bits, so that not the last digit is lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stand {
    /// What the state belongs to: digest of params and inputs.
    pub(crate) of: Digest,
    /// Epochs done, steps done in the next one, steps done in all.
    pub(crate) epochs: u64,
    pub(crate) step: u64,
    pub(crate) steps: u64,
    /// Loss summed over the images seen in this epoch, and their number.
    pub(crate) loss: u64,
    pub(crate) seen: u64,
    pub(crate) plateau: Plateau,
    /// What the loss is multiplied by in half precision, and the steps since it changed.
    pub(crate) scale: (u64, u64),
    /// The kept epoch and its score.
    pub(crate) kept: Option<(u64, u64)>,
    /// One row per epoch done.
    pub(crate) history: Vec<Vec<Option<u64>>>,
}

/// The tensors of a state, by what they are (`variable`, `best`, `outputs`, the optimiser's own), then by name.
pub(crate) type Tensors = BTreeMap<String, Named>;

/// The state's folder, locked while this lives.
pub(crate) struct StateFolder {
    folder: PathBuf,
    /// Held, never read: the lock goes when it is closed.
    _lock: File,
}

impl StateFolder {
    /// Makes and locks the folder. An error says that another process trains here.
    pub(crate) fn lock(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).context("cannot make the state folder")?;
        let lock = File::create(folder.join("lock")).context("cannot make the lock of the state folder")?;
        for _ in 0..PATIENCE * 10 {
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
                return Ok(Self { folder: folder.to_owned(), _lock: lock });
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        bail!("another process is running this training: wait for it, or end it")
    }

    /// The state, or none where there is none. An error says why one that is there cannot be used.
    pub(crate) fn read(&self) -> Result<Option<(Stand, Tensors)>> {
        let bytes = match std::fs::read(self.place()) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).context("it cannot be read"),
        };
        let rest = bytes.strip_prefix(MARK).context("it is of another version")?;
        let (digest, rest) = rest.split_at_checked(32).context("it is cut short")?;
        ensure!(Digest::of(rest).0 == digest, "it is torn");
        let (named, about) = from_bytes(rest)?;
        let stand = serde_json::from_str(&about.context("it does not say where it stands")?).context("it is of another shape")?;
        let mut tensors = Tensors::new();
        for (name, tensor) in named {
            let (what, name) = name.split_once('/').context("it is of another shape")?;
            tensors.entry(what.to_owned()).or_default().insert(name.to_owned(), tensor);
        }
        Ok(Some((stand, tensors)))
    }

    /// Replaces the state by this one.
    pub(crate) fn write(&self, stand: &Stand, tensors: &[(&str, &Named)]) -> Result<()> {
        let named = tensors.iter().flat_map(|(prefix, named)| named.iter().map(move |(name, tensor)| (format!("{prefix}/{name}"), tensor)));
        let named = named.map(|(name, tensor)| (name, tensor.shallow_clone())).collect();
        let about = serde_json::to_string(stand)?;
        let bytes = to_bytes(&named, Some(&about))?;
        let scratch = self.folder.join("state.part");
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&scratch)?;
            file.write_all(MARK)?;
            file.write_all(&Digest::of(&bytes).0)?;
            file.write_all(&bytes)?;
            file.sync_data()?;
            std::fs::rename(&scratch, self.place())
        };
        write().context("cannot write the state of the training")
    }

    fn place(&self) -> PathBuf {
        self.folder.join("state")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Tensor;

    fn stand() -> Stand {
        let of = Digest::of(b"params");
        Stand {
            of,
            epochs: 1,
            step: 2,
            steps: 5,
            loss: 0.1f64.to_bits(),
            seen: 6,
            plateau: Plateau::new(),
            scale: (1, 2),
            kept: Some((1, 7)),
            history: vec![vec![None, Some(3)]],
        }
    }

    #[test]
    fn a_state_comes_back_and_a_torn_one_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::lock(folder.path()).unwrap();
        assert!(state.read().unwrap().is_none());
        let named = Named::from([("a.weight".to_owned(), Tensor::from_slice(&[1f32, 2.0]))]);
        state.write(&stand(), &[("variable", &named), ("best", &named)]).unwrap();
        let (back, tensors) = state.read().unwrap().unwrap();
        assert_eq!((back, tensors["best"].len(), tensors.contains_key("first")), (stand(), 1, false));
        assert_eq!(tensors["variable"]["a.weight"], named["a.weight"]);

        let mut bytes = std::fs::read(folder.path().join("state")).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        File::create(folder.path().join("state")).unwrap().write_all(&bytes).unwrap();
        assert_eq!(state.read().err().unwrap().to_string(), "it is torn");
    }
}
