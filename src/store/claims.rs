//! Claims: of several engines on one store, one does a task.
//!
//! A claim is a kernel lock on one byte of the file `claims`, at an offset that follows from the key. It goes with the file
//! it was taken through, so that a killed engine leaves none. Nobody waits for a claim: who does not get it asks again later.

use super::{Store, lock};
use crate::content::Digest;
use anyhow::Result;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;

impl Store {
    /// Takes the claim on a key: false where another engine holds it. With the claim one sees all that others recorded before.
    pub fn claim(&self, key: &Digest) -> Result<bool> {
        self.check_writable()?;
        let taken = self.set_claim(key, libc::F_WRLCK).map_err(|error| self.trouble(error))?;
        if taken {
            self.foreseen.forget(key);
            self.packs.refresh().map_err(|error| self.trouble(error))?;
        }
        Ok(taken)
    }

    /// Gives a claim back.
    pub fn release(&self, key: &Digest) {
        // What cannot be unlocked now is unlocked when this process ends.
        let _ = self.set_claim(key, libc::F_UNLCK);
    }

    fn set_claim(&self, key: &Digest, kind: i32) -> io::Result<bool> {
        let mut claims = lock(&self.claims);
        let file = match &*claims {
            Some(file) => file,
            None => claims.insert(File::options().create(true).truncate(false).write(true).open(self.root.join("claims"))?),
        };
        let mut offset = [0; 8];
        offset.copy_from_slice(&key.0[..8]);
        // Offsets are signed. Two keys that share one wait for each other once in a while: harmless.
        let start = i64::from_le_bytes(offset) & (i64::MAX >> 1);
        let (kind, whence) = (i16::try_from(kind).map_err(io::Error::other)?, i16::try_from(libc::SEEK_SET).map_err(io::Error::other)?);
        let range = libc::flock { l_type: kind, l_whence: whence, l_start: start, l_len: 1, l_pid: 0 };
        match fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&range)) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::new_store;
    use super::*;

    #[test]
    fn of_two_engines_one_has_the_claim_and_then_sees_what_the_other_did() {
        let (folder, one) = new_store();
        let two = Store::open(one.root(), &folder.path().join("other-index")).unwrap();
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        assert!(one.claim(&a).unwrap() && two.claim(&b).unwrap());
        assert!(!two.claim(&a).unwrap() && !one.claim(&b).unwrap());
        one.put_item(&a, b"done").unwrap();
        one.release(&a);
        assert!(two.claim(&a).unwrap());
        assert_eq!(two.items_given(&[a])[&a], b"done");
        drop(two);
        assert!(one.claim(&b).unwrap(), "a claim ends with its engine");
    }
}
