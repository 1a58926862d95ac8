//! The program `tomograph`. Everything is in the library; nothing here links libtorch.

/// Planning makes millions of small pieces: the system's own allocator takes half as long again, and more on several threads. Its feature
/// `no_thp` keeps it from asking for huge pages: a machine that gives unused memory back to its host takes a millisecond for each.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    tomograph::cli::main()
}
