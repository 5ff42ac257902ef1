//! The records that a run appends to: `metrics.jsonl` and `samples.txt`.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use crate::files::{FileError, is_own, open_own, read_any, write_whole};

pub const METRICS: &str = "metrics.jsonl";
pub const SAMPLES: &str = "samples.txt";

/// `metrics.jsonl` and `samples.txt`, open at their ends.
#[derive(Debug)]
pub struct Journal {
    metrics: File,
    samples: File,
    folder: PathBuf,
    /// One remark for each damaged file: what was left out.
    pub remarks: Vec<String>,
}

/// What can be read of a file's bytes and is of steps up to one, and a remark if there is more that cannot.
type Readable = fn(&[u8], u64) -> (Vec<u8>, Option<String>);

impl Journal {
    /// Opens the journal in `folder`, made if need be, without what it says of steps after `step`, the half line of a
    /// killed run, and what is damaged: no run ends because of it.
    pub fn open(folder: &Path, step: u64) -> Result<Self, FileError> {
        let mut remarks = Vec::new();
        let mut kept = |name: &str, readable: Readable| {
            let path = folder.join(name);
            let bytes = read_any(&path)?;
            let (left, remark) = readable(bytes.as_deref().unwrap_or_default(), step);
            remarks.extend(remark.map(|remark| format!("{} was damaged: {remark}", path.display())));
            if bytes.is_some_and(|bytes| bytes != left || !is_own(&path)) {
                write_whole(&path, &left)?;
            }
            open_own(&path, true)
        };
        let metrics = kept(METRICS, readable_metrics)?;
        let samples = kept(SAMPLES, readable_samples)?;
        Ok(Self { metrics, samples, folder: folder.to_owned(), remarks })
    }

    /// Appends an object to `metrics.jsonl`. It must have a key `step`: the optimiser steps done.
    pub fn metric(&mut self, metric: &impl Serialize) -> Result<(), FileError> {
        let path = self.folder.join(METRICS);
        let mut line = serde_json::to_vec(metric).map_err(|error| FileError {
            doing: "write",
            path: path.clone(),
            source: error.into(),
        })?;
        line.push(b'\n');
        self.metrics.write_all(&line).map_err(FileError::at("write", &path))
    }

    /// Appends what the model wrote after `step` steps to `samples.txt`.
    pub fn sample(&mut self, step: u64, text: &str) -> Result<(), FileError> {
        let block = format!("{SAMPLE_HEADER}{step}\n{text}\n\n");
        self.samples.write_all(block.as_bytes()).map_err(FileError::at("write", &self.folder.join(SAMPLES)))
    }

    /// Puts all on the disk, so that a checkpoint saved after this has its metrics.
    pub fn sync(&mut self) -> Result<(), FileError> {
        let synced = self.metrics.sync_data().and_then(|()| self.samples.sync_data());
        synced.map_err(FileError::at("write", &self.folder.join(METRICS)))
    }
}

/// All lines of the `metrics.jsonl` in `folder` that are whole.
pub fn read_metrics(folder: &Path) -> Result<Vec<Value>, FileError> {
    let path = folder.join(METRICS);
    let bytes = read_any(&path)?.unwrap_or_default();
    Ok(bytes.split(|&byte| byte == b'\n').filter_map(metric).collect())
}

/// A line of the metrics; `None` where it is no JSON object.
fn metric(line: &[u8]) -> Option<Value> {
    serde_json::from_slice(line).ok().filter(Value::is_object)
}

/// The whole lines of metrics up to `step`.
fn readable_metrics(bytes: &[u8], step: u64) -> (Vec<u8>, Option<String>) {
    let (mut left, mut damaged) = (Vec::with_capacity(bytes.len()), 0);
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        match metric(line) {
            Some(metric) if line.ends_with(b"\n") => {
                if metric["step"].as_u64().is_none_or(|of| of <= step) {
                    left.extend(line);
                }
            }
            // A process was killed as it wrote.
            _ if !line.ends_with(b"\n") && !line.contains(&0) => {}
            _ => damaged += 1,
        }
    }
    (left, (damaged > 0).then(|| format!("{damaged} lines that cannot be read were left out")))
}

const SAMPLE_HEADER: &str = "=== after step ";

/// The samples up to `step`.
fn readable_samples(bytes: &[u8], step: u64) -> (Vec<u8>, Option<String>) {
    // Where a disk was switched off, files end in zeros.
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let text: String = bytes[..end].utf8_chunks().map(|chunk| chunk.valid()).collect();
    let remark = (text.len() < bytes.len())
        .then(|| format!("{} bytes that cannot be read were left out", bytes.len() - text.len()));
    let of_later = |line: &str| {
        line.strip_prefix(SAMPLE_HEADER)
            .and_then(|rest| rest.trim_end().parse::<u64>().ok())
            .is_some_and(|number| number > step)
    };
    let kept = text.split_inclusive('\n').take_while(|line| !of_later(line)).collect::<String>();
    (kept.into_bytes(), remark)
}

#[cfg(test)]
mod tests;
