//! The program `tomograph`. Everything is in the library; nothing here links libtorch.

fn main() -> std::process::ExitCode {
    tomograph::cli::main()
}
