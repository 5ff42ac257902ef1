//! `lal`: train, sample, verify and profile small language models on any GPU.

fn main() -> std::process::ExitCode {
    lal::cli::lal()
}
