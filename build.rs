//! Gives the programs the build's name, and `tomograph-torch` its way to libtorch.

fn main() {
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rustc-env=TOMOGRAPH_BUILD={}", env!("CARGO_PKG_VERSION"));
}
