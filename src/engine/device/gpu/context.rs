//! An open device, and what went wrong on it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use wgpu::{PollType, SubmissionIndex};

use super::adapter::{AdapterEntry, Opened};
use crate::engine::device::DeviceError;

/// A device, its queue and the first error that wgpu reported outside any call.
pub(super) struct Context {
    pub entry: AdapterEntry,
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    failure: Arc<OnceLock<String>>,
}

impl Context {
    pub fn new(opened: Opened) -> Self {
        let Opened { entry, device, queue } = opened;
        let failure = Arc::new(OnceLock::new());
        let first = failure.clone();
        // Later errors follow from the first, so setting it again may fail.
        device.on_uncaptured_error(Arc::new(move |error| drop(first.set(describe(&error)))));
        let first = failure.clone();
        device.set_device_lost_callback(move |reason, message| {
            if reason != wgpu::DeviceLostReason::Destroyed {
                let _ = first.set(format!("the device was lost: {message}"));
            }
        });
        Self { entry, device, queue, failure }
    }

    /// Fails if anything has gone wrong so far.
    pub fn check(&self) -> Result<(), DeviceError> {
        self.failure.get().map_or(Ok(()), |message| Err(DeviceError::Gpu(message.clone())))
    }

    /// Runs the callbacks of work that is done.
    pub fn poll(&self) -> Result<(), DeviceError> {
        self.poll_until(PollType::Poll)
    }

    /// Waits for a submission, or for all of them.
    pub fn wait(&self, submission_index: Option<SubmissionIndex>) -> Result<(), DeviceError> {
        self.poll_until(PollType::Wait { submission_index, timeout: None })
    }

    fn poll_until(&self, until: PollType) -> Result<(), DeviceError> {
        self.check()?;
        // wgpu panics when the device is lost while it waits; that must end a run, not the process.
        let polled = catch_unwind(AssertUnwindSafe(|| self.device.poll(until)));
        self.check()?;
        match polled {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(DeviceError::Gpu(error.to_string())),
            Err(_) => Err(DeviceError::Gpu("the device was lost".into())),
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
    let words: Vec<_> = match error {
        wgpu::Error::OutOfMemory { .. } => return "out of memory".into(),
        wgpu::Error::Validation { description, .. } | wgpu::Error::Internal { description, .. } => {
            description.split_whitespace().collect()
        }
    };
    words.join(" ")
}
