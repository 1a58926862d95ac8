//! Gives the programs the build's name, and `tomograph-torch` its way to libtorch.

use std::env::{var, var_os};
use std::io;
use std::path::Path;

#[expect(clippy::disallowed_methods, reason = "the environment is how cargo speaks to a build script")]
fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=src");
    let sources = files_digest(Path::new("src"))?;
    println!("cargo:rustc-env=TOMOGRAPH_BUILD={}-{sources:016x}", env!("CARGO_PKG_VERSION"));
    if var_os("CARGO_FEATURE_TORCH").is_some() {
        // Said by torch-sys, which is a direct dependency for this alone.
        if let Ok(libraries) = var("DEP_TCH_LIBTORCH_LIB") {
            find_libtorch(Path::new(&libraries));
        }
    }
    Ok(())
}

/// Lets `tomograph-torch` find libtorch without a variable in the environment.
fn find_libtorch(libraries: &Path) {
    let argument = |text: &str| {
        println!("cargo:rustc-link-arg-bin=tomograph-torch={text}");
    };
    argument(&format!("-Wl,-rpath,{}", libraries.display()));
    if libraries.join("libtorch_cuda.so").exists() {
        // No symbol of ours is in the CUDA library, so the linker would leave it out and libtorch would see no device.
        argument(&format!("-L{}", libraries.display()));
        argument("-Wl,--no-as-needed");
        argument("-ltorch");
        argument("-ltorch_cuda");
    }
}

/// FNV-1a over every file's path and bytes, in the order of their names: both programs of a build must agree.
fn files_digest(folder: &Path) -> io::Result<u64> {
    let mut digest = 0xcbf2_9ce4_8422_2325;
    let mut folders = vec![folder.to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let list = if entry.file_type()?.is_dir() { &mut folders } else { &mut files };
            list.push(entry.path());
        }
    }
    files.sort();
    for file in files {
        let bytes = std::fs::read(&file)?;
        for byte in file.as_os_str().as_encoded_bytes().iter().chain(&bytes) {
            digest = (digest ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
    Ok(digest)
}
