//! The digest of a file, read in pieces: of a large file several threads hash each piece, of another one thread does.
//!
//! Remembers nothing: `memo` does.

use crate::content::Digest;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::Path;

/// Bytes read at once: what is read is hashed while it is in the processor's cache. Pieces of 4 MiB took a fifth longer.
const PIECE: usize = 128 << 10;
/// From this length on a file is large, and one is worth several threads: there are seldom so many that each thread has its own.
const LARGE: u64 = 64 << 20;
/// Bytes read at once of a large file.
const LARGE_PIECE: usize = 4 << 20;

/// Digest and length of a file's bytes; `read` is told of each piece. Not mapped: a file outside the store may be cut short
/// meanwhile, and that would end the process. One that grows meanwhile is read a little further than it was long at most: nobody runs
/// after who writes.
pub(super) fn hash(path: &Path, read: &dyn Fn(u64)) -> io::Result<(Digest, u64)> {
    hash_open(&File::open(path)?, read)
}

/// The digest of all bytes of an open file, from its start.
pub fn digest_of(mut file: &File) -> io::Result<Digest> {
    file.rewind()?;
    Ok(hash_open(file, &|_| {})?.0)
}

fn hash_open(mut file: &File, read: &dyn Fn(u64)) -> io::Result<(Digest, u64)> {
    let mut hasher = blake3::Hasher::new();
    let length = file.metadata()?.len();
    let is_large = length >= LARGE;
    // One byte more than there should be, so that the end is seen with the last of them.
    let most = if is_large { LARGE_PIECE } else { PIECE };
    let mut piece = vec![0; usize::try_from(length).unwrap_or(most).saturating_add(1).min(most)];
    loop {
        let mut filled = 0;
        while filled < piece.len() {
            match file.read(&mut piece[filled..]) {
                Ok(0) => break,
                Ok(more) => filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if is_large {
            hasher.update_rayon(&piece[..filled]);
        } else {
            hasher.update(&piece[..filled]);
        }
        read(filled as u64);
        if filled < piece.len() || hasher.count() > length {
            return Ok((Digest(*hasher.finalize().as_bytes()), hasher.count()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn pieces_hash_as_the_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, LARGE as usize - 1, LARGE as usize + 1] {
            let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            File::create(&path).unwrap().write_all(&bytes).unwrap();
            assert_eq!(hash(&path, &|_| {}).unwrap(), (Digest::of(&bytes), length as u64));
        }
    }
}
