//! Ctrl-C, and requests to terminate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use super::bars;
use super::failure::{Exit, Usage};
use super::output::{Output, tell};

/// What a first and a second Ctrl-C do to a run.
const FIRST: &str =
    "stopping: this step is finished and saved (Ctrl-C once more ends at once, without saving)";
const SECOND: &str = "ended at once: what came after the last checkpoint is not saved";

/// How long standard error may take for a line before it counts as stuck.
const PATIENCE: Duration = Duration::from_millis(300);

/// A flag that Ctrl-C or a request to terminate sets; a second one ends the program at once. A verb that `saves` what
/// it has says so.
pub fn stop_on_interrupt(output: Output, saves: bool) -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let seen = stop.clone();
    let heard = move || {
        if seen.swap(true, Ordering::Relaxed) {
            if saves {
                say(|| {
                    bars::clear_all();
                    tell(SECOND);
                });
            }
            std::process::exit(Exit::Interrupted as i32);
        }
        if saves && !output.quiet {
            say(|| tell(FIRST));
        }
    };
    keeping_ignored(|| ctrlc::set_handler(heard))
        .map_err(|e| Usage(format!("cannot listen for Ctrl-C: {e}")))?;
    Ok(stop)
}

/// Says something unless standard error is stuck: the next Ctrl-C must be heard all the same.
fn say(what: impl FnOnce() + Send + 'static) {
    let (done, wait) = channel();
    std::thread::spawn(move || {
        what();
        // The receiver may have stopped waiting.
        let _ = done.send(());
    });
    let _ = wait.recv_timeout(PATIENCE);
}

/// `ctrlc` listens to requests to terminate even where `nohup` or a shell has them ignored. Those stay ignored; Ctrl-C
/// does not, as shells ignore it for every command in the background, which scripts stop by it.
#[cfg(unix)]
fn keeping_ignored<T>(listen: impl FnOnce() -> T) -> T {
    use nix::sys::signal::{SigHandler, Signal, signal};

    // SAFETY: to ignore a signal runs no code.
    let ignore = |number| unsafe { signal(number, SigHandler::SigIgn) };
    let before = [Signal::SIGHUP, Signal::SIGTERM].map(|number| (number, ignore(number)));
    let result = listen();
    for (number, handler) in before {
        if matches!(handler, Ok(SigHandler::SigIgn)) {
            // It was allowed a moment ago.
            let _ = ignore(number);
        }
    }
    result
}

#[cfg(not(unix))]
fn keeping_ignored<T>(listen: impl FnOnce() -> T) -> T {
    listen()
}
