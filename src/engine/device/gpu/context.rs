//! An open device, what is under way on it, and what went wrong.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use wgpu::{CommandBuffer, PollError, PollType, SubmissionIndex};

use super::adapter::{AdapterEntry, Opened};
use super::launch_list::Speed;
use super::under_way::{Ticket, UnderWay, Work};
use crate::engine::device::DeviceError;

/// Submissions on their way at once: enough to hide the host's work, few enough to stop soon.
const IN_FLIGHT: usize = 3;

/// Time without the end of a submission after which a GPU is given up. Submissions are cut to take half a second: even
/// one that was misjudged a hundred times, or a kernel on a rasteriser that shares its processor, ends before.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);

/// Waits are this long at a time, so that a process that was stopped and goes on has not lost its patience.
const TICK: Duration = Duration::from_secs(1);

/// A wait that took less may have been for something that had ended before.
const MOMENT: Duration = Duration::from_micros(200);

thread_local! {
    static POLLS: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread asks a device how far it is. A panic there is caught and becomes an error: a program that
/// prints panics may leave it out.
pub fn catches_panics() -> bool {
    POLLS.get()
}

/// A device, its queue, the submissions under way and what ended it.
pub(super) struct Context {
    pub entry: AdapterEntry,
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    patience: Duration,
    failure: Arc<OnceLock<Failure>>,
    under_way: Mutex<UnderWay<SubmissionIndex>>,
    speed: Mutex<Speed>,
}

/// Why a device can no longer be used.
enum Failure {
    /// With the driver's reason.
    Lost(String),
    /// An error that wgpu reported outside any call.
    Error(String),
    /// It did not finish what it was given.
    Stuck,
}

impl Context {
    pub fn new(opened: Opened, patience: Duration) -> Self {
        let Opened { entry, device, queue } = opened;
        let failure = Arc::new(OnceLock::new());
        let first = failure.clone();
        // Later errors follow from the first, so setting it again may fail.
        device.on_uncaptured_error(Arc::new(move |error| drop(first.set(Failure::Error(describe(&error))))));
        let first = failure.clone();
        device.set_device_lost_callback(move |reason, message| {
            if reason != wgpu::DeviceLostReason::Destroyed {
                let _ = first.set(Failure::Lost(message));
            }
        });
        let speed = Speed::of(device.adapter_info().device_type);
        let (under_way, speed) = (Mutex::new(UnderWay::new()), Mutex::new(speed));
        Self { entry, device, queue, patience, failure, under_way, speed }
    }

    /// Fails if anything has gone wrong so far.
    pub fn check(&self) -> Result<(), DeviceError> {
        let Some(failure) = self.failure.get() else { return Ok(()) };
        let device = self.entry.name.clone();
        let running = match self.under_way().describe() {
            nothing if nothing.is_empty() => "nothing".into(),
            running => running,
        };
        Err(match failure {
            Failure::Lost(reason) => DeviceError::Lost { device, reason: one_line(reason), running },
            Failure::Error(message) => DeviceError::Failed { device, message: message.clone(), running },
            Failure::Stuck => DeviceError::Stuck { device, seconds: self.patience.as_secs_f64(), running },
        })
    }

    fn under_way(&self) -> MutexGuard<'_, UnderWay<SubmissionIndex>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of the adapter's speed.
    pub fn speed(&self) -> Speed {
        *self.speed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Submissions so far.
    pub fn submissions(&self) -> u64 {
        self.under_way().count
    }

    /// Hands commands over, after all that was written to buffers.
    pub fn submit(&self, commands: Option<CommandBuffer>, work: Work) -> Ticket {
        let submitted = Instant::now();
        let index = self.queue.submit(commands);
        self.under_way().add(index, work, submitted)
    }

    /// Runs the callbacks of work that is done.
    pub fn poll(&self) -> Result<(), DeviceError> {
        self.poll_until(PollType::Poll).map(|_| ())
    }

    /// Waits until there is room for one more submission.
    pub fn make_room(&self) -> Result<(), DeviceError> {
        while self.under_way().len() >= IN_FLIGHT {
            self.wait_for_oldest(self.newest())?;
        }
        Ok(())
    }

    /// Waits for a submission, and runs the callbacks of all that are done.
    pub fn wait(&self, ticket: Ticket) -> Result<(), DeviceError> {
        let mut waited = false;
        while self.wait_for_oldest(ticket)? {
            waited = true;
        }
        // It may have been seen to end before the callback was there.
        if waited { Ok(()) } else { self.poll() }
    }

    /// Waits for all that was submitted.
    pub fn wait_for_all(&self) -> Result<(), DeviceError> {
        self.wait(self.newest())
    }

    fn newest(&self) -> Ticket {
        self.under_way().newest()
    }

    /// Waits for the oldest submission, unless it comes after `last`; whether there was one.
    fn wait_for_oldest(&self, last: Ticket) -> Result<bool, DeviceError> {
        let Some(index) = self.under_way().oldest(last) else { return Ok(false) };
        let start = Instant::now();
        let mut waited = Duration::ZERO;
        while waited < self.patience {
            let timeout = TICK.min(self.patience - waited);
            if self.poll_until(PollType::Wait {
                submission_index: Some(index.clone()),
                timeout: Some(timeout),
            })? {
                self.retire(start.elapsed() > MOMENT);
                return Ok(true);
            }
            waited += timeout;
        }
        self.give_up()
    }

    /// Notes that the oldest submission has ended, and learns from how long it took.
    fn retire(&self, waited: bool) {
        let ended = self.under_way().retire(Instant::now(), waited);
        let Some(ended) = ended else { return };
        if let Work::Part(launches, part, times) = ended.work {
            let (scale, took) = (self.speed().scale(), ended.took / times.max(1) as u32);
            if let Some(guess) = launches.learn(&part, took, ended.exact, scale) {
                let mut speed = self.speed.lock().unwrap_or_else(PoisonError::into_inner);
                speed.learn(guess, took.as_secs_f64());
            }
        }
    }

    /// Fails for good: the device does not finish.
    fn give_up(&self) -> Result<bool, DeviceError> {
        let _ = self.failure.set(Failure::Stuck);
        // Dropping the last handle of a queue waits without end for what it runs.
        std::mem::forget(self.queue.clone());
        self.check().map(|()| false)
    }

    /// Whether what was waited for is done.
    fn poll_until(&self, until: PollType) -> Result<bool, DeviceError> {
        self.check()?;
        // wgpu panics when the device is lost while it waits; that must end a run, not the process.
        POLLS.set(true);
        let polled = catch_unwind(AssertUnwindSafe(|| self.device.poll(until)));
        POLLS.set(false);
        self.check()?;
        match polled {
            Ok(Ok(_)) => Ok(true),
            Ok(Err(PollError::Timeout)) => Ok(false),
            Ok(Err(error)) => Err(DeviceError::Gpu(error.to_string())),
            Err(_) => {
                let _ = self.failure.set(Failure::Lost("the driver gives no reason".into()));
                self.check().map(|()| false)
            }
        }
    }

    /// Does something on this thread and returns the first error of that kind it caused.
    pub fn caught<T>(&self, kind: wgpu::ErrorFilter, act: impl FnOnce() -> T) -> Result<T, wgpu::Error> {
        let scope = self.device.push_error_scope(kind);
        let result = act();
        pollster::block_on(scope.pop()).map_or(Ok(result), Err)
    }
}

/// The message of an error with its causes, on one line.
pub(super) fn describe(error: &wgpu::Error) -> String {
    match error {
        wgpu::Error::OutOfMemory { .. } => "out of memory".into(),
        wgpu::Error::Validation { description, .. } | wgpu::Error::Internal { description, .. } => {
            one_line(description)
        }
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::device::gpu::adapter::{self, DeviceLimits};

    #[test]
    fn a_lost_device_names_what_was_under_way_the_reason_and_how_to_go_on() -> Result<(), DeviceError> {
        let opened = match adapter::open(None, DeviceLimits::Adapter, false) {
            Err(DeviceError::NoAdapter) => return Ok(()),
            opened => opened?,
        };
        let context = Context::new(opened, PATIENCE);
        let ticket = context.submit(None, Work::Other("an upload"));
        context.wait(ticket)?;
        let ticket = context.submit(None, Work::Other("a tensor on its way back"));
        // As wgpu's callback does.
        let _ = context.failure.set(Failure::Lost("the driver\n  was reset".into()));
        for error in [context.wait(ticket), context.make_room().and(context.check()), context.poll()] {
            let said = error.map_or_else(|e| e.to_string(), |()| String::new());
            for words in [
                &context.entry.name,
                "was lost: the driver was reset",
                "a tensor on its way back",
                "--resume",
            ] {
                assert!(said.contains(words), "{said:?} says nothing of {words:?}");
            }
        }
        Ok(())
    }
}
