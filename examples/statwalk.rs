//! Looks at every file below a folder, on all processors, and prints how many there are and how long they are together.
//!
//! The least that a program must do that wants to know whether one of them has changed: a peer for `scripts/bench`, which builds it with
//! `rustc` alone.

use std::io;
use std::path::{Path, PathBuf};

fn main() -> io::Result<()> {
    let mut files = Vec::new();
    list(Path::new(&std::env::args_os().nth(1).unwrap_or_else(|| ".".into())), &mut files)?;
    let threads = std::thread::available_parallelism()?.get();
    let bytes: u64 = std::thread::scope(|scope| {
        let parts = files.chunks(files.len().div_ceil(threads).max(1));
        let running: Vec<_> = parts
            .map(|part| scope.spawn(|| part.iter().filter_map(|file| file.metadata().ok()).map(|one| one.len()).sum::<u64>()))
            .collect();
        running.into_iter().filter_map(|thread| thread.join().ok()).sum()
    });
    #[expect(clippy::print_stdout, reason = "it is a program of its own")]
    {
        println!("{} files, {bytes} bytes", files.len());
    }
    Ok(())
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in folder.read_dir()? {
        let entry = entry?;
        if entry.file_type()?.is_dir() { list(&entry.path(), files)? } else { files.push(entry.path()) }
    }
    Ok(())
}
