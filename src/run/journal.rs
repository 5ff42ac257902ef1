//! What a run tells of itself on the way: `metrics.jsonl` and `samples.txt`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::aside::{FileError, write_whole};

pub const METRICS: &str = "metrics.jsonl";
pub const SAMPLES: &str = "samples.txt";

/// `metrics.jsonl` and `samples.txt`, open at their ends.
#[derive(Debug)]
pub struct Journal {
    metrics: File,
    samples: File,
    folder: PathBuf,
}

/// Why a journal cannot be kept, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{path}, line {line}: {what}; it is written by `lal train` and should not be edited")]
    BadLine { path: PathBuf, line: usize, what: String },
}

impl Journal {
    /// Opens the journal in `folder`, made if need be, without what it says of steps after `step`, nor the
    /// half line of a killed run.
    ///
    /// # Errors
    /// When its files cannot be read or written, or a line of the metrics is no JSON object.
    pub fn open(folder: &Path, step: u64) -> Result<Self, JournalError> {
        let (metrics, samples) = (folder.join(METRICS), folder.join(SAMPLES));
        let text = read_if_any(&metrics)?;
        cut(&metrics, &text, metrics_until(&text, step, &metrics)?)?;
        let text = read_if_any(&samples)?;
        cut(&samples, &text, samples_until(&text, step))?;
        Ok(Self { metrics: append(&metrics)?, samples: append(&samples)?, folder: folder.to_owned() })
    }

    /// Appends an object to `metrics.jsonl`. It must have a key `step`: the optimiser steps done.
    ///
    /// # Errors
    /// When the disk is full or fails.
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
    ///
    /// # Errors
    /// When the disk is full or fails.
    pub fn sample(&mut self, step: u64, text: &str) -> Result<(), FileError> {
        let block = format!("{SAMPLE_HEADER}{step}\n{text}\n\n");
        self.samples.write_all(block.as_bytes()).map_err(FileError::at("write", &self.folder.join(SAMPLES)))
    }

    /// Puts all on the disk, so that a checkpoint saved after this has its metrics.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(&mut self) -> Result<(), FileError> {
        let synced = self.metrics.sync_data().and_then(|()| self.samples.sync_data());
        synced.map_err(FileError::at("write", &self.folder.join(METRICS)))
    }
}

/// All lines of the `metrics.jsonl` in `folder`.
///
/// # Errors
/// When it cannot be read, or a line is no JSON object.
pub fn read_metrics(folder: &Path) -> Result<Vec<Value>, JournalError> {
    let path = folder.join(METRICS);
    let text = fs::read_to_string(&path).map_err(FileError::at("read", &path))?;
    let lines = text.lines().enumerate();
    lines.map(|(i, line)| parsed(line).map_err(|what| bad_line(&path, i, what))).collect()
}

fn read_if_any(path: &Path) -> Result<String, FileError> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        read => read.map_err(FileError::at("read", path)),
    }
}

/// Leaves the first `length` bytes of a file that holds `text`.
fn cut(path: &Path, text: &str, length: usize) -> Result<(), FileError> {
    if length == text.len() { Ok(()) } else { write_whole(path, &text.as_bytes()[..length]) }
}

fn append(path: &Path) -> Result<File, FileError> {
    OpenOptions::new().create(true).append(true).open(path).map_err(FileError::at("write", path))
}

const SAMPLE_HEADER: &str = "=== after step ";

/// How many bytes of `samples.txt` are of steps up to `step`.
fn samples_until(text: &str, step: u64) -> usize {
    let mut length = 0;
    for line in text.split_inclusive('\n') {
        let number = line.strip_prefix(SAMPLE_HEADER).and_then(|rest| rest.trim_end().parse::<u64>().ok());
        if number.is_some_and(|number| number > step) {
            break;
        }
        length += line.len();
    }
    length
}

/// How many bytes of `metrics.jsonl` are whole lines of steps up to `step`.
fn metrics_until(text: &str, step: u64, path: &Path) -> Result<usize, JournalError> {
    let mut length = 0;
    for (i, line) in text.split_inclusive('\n').enumerate() {
        if !line.ends_with('\n') {
            break;
        }
        let metric = parsed(line).map_err(|what| bad_line(path, i, what))?;
        if metric["step"].as_u64().is_some_and(|of| of > step) {
            break;
        }
        length += line.len();
    }
    Ok(length)
}

fn parsed(line: &str) -> Result<Value, String> {
    match serde_json::from_str(line) {
        Ok(Value::Object(object)) => Ok(Value::Object(object)),
        Ok(_) => Err("it is no JSON object".into()),
        Err(error) => Err(error.to_string()),
    }
}

fn bad_line(path: &Path, index: usize, what: String) -> JournalError {
    JournalError::BadLine { path: path.to_owned(), line: index + 1, what }
}

#[cfg(test)]
mod tests;
