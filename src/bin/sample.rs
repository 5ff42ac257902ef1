//! `sample`: `lal sample` under its own name.

fn main() -> std::process::ExitCode {
    lal::cli::sample()
}
