//! Checkpoints: everything a run needs to go on as if it had never stopped.
//!
//! `state.safetensors` alone is what a resumed run reads: weights, moments and progress in one file, so
//! that one rename changes all of them or none. `model.safetensors` is the same weights as others read
//! them. It is renamed first: a run killed between the two renames goes back to the older state, makes the
//! same steps again, and writes the same model again. The price is the weights' size once more on the disk.

use std::collections::HashMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::model_file::{self, Layout, ModelError, TokenizerMark};
use super::ranges::STEPS;
use super::tensor_file::{self, Entry, Give, TensorError, TensorFile};
use crate::files::{AtomicFile, FileError};
use crate::interop::peft::WEIGHTS;
use crate::interop::peft::export::Factor;

pub const STATE: &str = "state.safetensors";
/// The folder of the adapters alone, as PEFT reads them.
pub const ADAPTER: &str = "adapter";

/// The key of [`Progress`] in the metadata of the state.
const NOTE: &str = "lal";

/// The progress of a run. Batches, dropout and schedule are functions of seed and step, so these are the whole of the
/// random state and the data cursor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Optimiser steps done.
    pub step: u64,
    pub seed: u64,
    /// In the unit of the objective; `None` before the first estimate.
    pub val_loss: Option<f64>,
    pub best_val_loss: Option<f64>,
    pub tokenizer: TokenizerMark,
}

/// The tensors to save, by their names on the device.
#[derive(Clone, Copy, Debug)]
pub struct Tensors<'a> {
    /// How the model's file holds its parameters.
    pub layout: Layout,
    /// What the model consists of.
    pub parameters: &'a [Entry],
    /// Low-rank adapters, which the model's file holds merged into its parameters.
    pub adapters: &'a [Entry],
    /// Those of them that are written to a file of their own.
    pub exported: &'a [Factor],
    /// Optimizer moments, and all other states that persist from step to step.
    pub states: &'a [Entry],
}

/// How to read a tensor that has an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adapters {
    /// Added to the tensor.
    Merged,
    /// Left out: the tensor as it is on the device.
    Separate,
}

impl Tensors<'_> {
    /// All that a state holds.
    fn all(&self) -> Vec<Entry> {
        [self.parameters, self.adapters, self.states].concat()
    }
}

/// Saves a checkpoint into the folder of a run, replacing the one before. `read` gives the elements of a
/// parameter or state; one is in memory at a time.
///
/// # Errors
/// When `read` fails or gives a number that is not finite, or the disk is full or read-only; the checkpoint before
/// stays as it was.
pub fn save(
    folder: &Path,
    tensors: Tensors,
    progress: &Progress,
    mut read: impl FnMut(&Entry, Adapters, Give) -> Result<(), TensorError>,
) -> Result<(), TensorError> {
    let merged = |entry: &Entry, give: Give| read(entry, Adapters::Merged, give);
    let model = model_file::write(folder, tensors.layout, tensors.parameters, merged)?;
    let all = tensors.all();
    let note = serde_json::to_string(progress).expect("progress is numbers and strings under fixed keys");
    let as_trained = |entry: &Entry, give: Give| read(entry, Adapters::Separate, give);
    let state = tensor_file::write(&folder.join(STATE), &all, (NOTE, &note), as_trained)?;
    let adapter = write_adapter(&folder.join(ADAPTER), tensors.exported, read)?;
    model.commit()?;
    adapter.map_or(Ok(()), AtomicFile::commit)?;
    state.commit()?;
    Ok(())
}

/// Writes the file of adapters, if there are some; the caller commits it.
fn write_adapter(
    folder: &Path,
    factors: &[Factor],
    mut read: impl FnMut(&Entry, Adapters, Give) -> Result<(), TensorError>,
) -> Result<Option<AtomicFile>, TensorError> {
    if factors.is_empty() {
        return Ok(None);
    }
    std::fs::create_dir_all(folder).map_err(FileError::at("create", folder))?;
    let entry = |name: &str, factor: &Factor| Entry { name: name.to_owned(), shape: factor.shape };
    let entries: Vec<_> = factors.iter().map(|factor| entry(&factor.theirs, factor)).collect();
    let by_name: HashMap<_, _> = factors.iter().map(|factor| (factor.theirs.as_str(), factor)).collect();
    let file = tensor_file::write(&folder.join(WEIGHTS), &entries, ("format", "pt"), |theirs, give| {
        let factor = by_name[theirs.name.as_str()];
        let mut elements = Vec::with_capacity(factor.shape.len());
        let take: Give = &mut |part| elements.extend_from_slice(part);
        read(&entry(&factor.ours, factor), Adapters::Separate, take)?;
        give(&factor.stored(elements));
        Ok(())
    })?;
    Ok(Some(file))
}

/// A saved checkpoint, open for reading.
#[derive(Debug)]
pub struct Saved {
    file: TensorFile,
    progress: Progress,
}

impl Saved {
    /// Opens the checkpoint of a run.
    ///
    /// # Errors
    /// When there is none, or its file is cut short or no checkpoint.
    pub fn open(folder: &Path) -> Result<Self, TensorError> {
        let file = TensorFile::open(&folder.join(STATE))?;
        let progress = match file.note(NOTE).map(serde_json::from_str) {
            Some(Ok(Progress { step, .. })) if step > STEPS => {
                return Err(not_a_state(&file, format!("it claims {step} steps")));
            }
            Some(Ok(progress)) => progress,
            Some(Err(error)) => return Err(not_a_state(&file, format!("its progress: {error}"))),
            None => return Err(not_a_state(&file, "it does not say how far the run is".into())),
        };
        Ok(Self { file, progress })
    }

    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Gives every tensor to `write`, one at a time.
    ///
    /// # Errors
    /// When the tokenizer is another, a tensor is missing, of another shape, or there are more of them than
    /// `tensors` names; or when `write` fails. All is checked before the first `write`, except reading.
    pub fn restore(
        &mut self,
        tensors: Tensors,
        tokenizer: &TokenizerMark,
        mut write: impl FnMut(&Entry, &[f32]) -> Result<(), TensorError>,
    ) -> Result<(), ModelError> {
        self.progress.tokenizer.check(tokenizer, self.file.path())?;
        let all = tensors.all();
        for entry in &all {
            self.file.check(entry)?;
        }
        if let Some(name) = self.file.names().iter().find(|name| all.iter().all(|entry| entry.name != **name))
        {
            let what = format!("it has a tensor {name}, which this model has not");
            return Err(not_a_state(&self.file, what).into());
        }
        for entry in &all {
            write(entry, &self.file.read(entry)?)?;
        }
        Ok(())
    }
}

fn not_a_state(file: &TensorFile, what: String) -> TensorError {
    TensorError::NotACheckpoint { path: file.path().to_owned(), what }
}

#[cfg(test)]
mod tests;
