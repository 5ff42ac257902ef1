//! `train`: `lal train` under its own name.

fn main() -> std::process::ExitCode {
    lal::cli::train()
}
