//! The batches of a run, and what gives them.

use crate::engine::device::Device;
use crate::objective::inputs::Input;
use crate::objective::{BatchShape, Objective};
use crate::text::dataset::{Purpose, Split};

/// One micro-step's worth of examples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// In the shape of [`ModelConfig::tokens_shape`](crate::models::config::ModelConfig::tokens_shape).
    pub tokens: Vec<u32>,
    /// One for each prediction; none where the objective has no targets.
    pub targets: Vec<u32>,
    /// One for each prediction or pair; they sum to 1.
    pub weights: Vec<f32>,
    /// Of all places in the rows those that a prediction is made at, where not at each.
    pub places: Option<Vec<u32>>,
    /// For each token the example it belongs to, where examples share a row.
    pub segments: Option<Vec<u32>>,
    /// The objective's other inputs.
    pub others: Vec<(Input, Vec<f32>)>,
}

impl Batch {
    /// Zeros for rows of `time` tokens and for every input that `objective` lists.
    pub fn zeros(objective: &Objective, shape: BatchShape, time: usize) -> Self {
        let mut batch = Self { tokens: vec![0; shape.sequences * time], ..Self::default() };
        for (input, spec) in objective.inputs(shape) {
            let len = spec.shape.len();
            match input {
                Input::Targets => batch.targets = vec![0; len],
                Input::Weights => batch.weights = vec![0.0; len],
                _ => batch.others.push((input, vec![0.0; len])),
            }
        }
        batch
    }

    /// One of the other inputs; `None` where the objective does not list it.
    pub fn get(&self, input: Input) -> Option<&[f32]> {
        self.others.iter().find(|(other, _)| *other == input).map(|(_, numbers)| numbers.as_slice())
    }

    /// Writes `numbers` from `first` on, where the objective lists the input.
    pub fn put(&mut self, input: Input, first: usize, numbers: &[f32]) {
        if let Some((_, all)) = self.others.iter_mut().find(|(other, _)| *other == input) {
            all[first..][..numbers.len()].copy_from_slice(numbers);
        }
    }
}

/// The measure of a policy: the mean reward of its replies.
pub const REWARD: &str = "reward";

/// Figures of a batch besides its loss, by name.
pub type Measures = Vec<(&'static str, f64)>;

/// Each measure's mean over the batches that have it.
pub(super) fn mean(batches: impl Iterator<Item = Measures>) -> Measures {
    let mut sums: Vec<(&'static str, f64, f64)> = Vec::new();
    for (name, value) in batches.flatten() {
        match sums.iter_mut().find(|(known, ..)| *known == name) {
            Some((_, sum, count)) => (*sum, *count) = (*sum + value, *count + 1.0),
            None => sums.push((name, value, 1.0)),
        }
    }
    sums.into_iter().map(|(name, sum, count)| (name, sum / count)).collect()
}

/// Why a source has no batches.
pub type SourceError = Box<dyn std::error::Error + Send + Sync>;

/// Batches as a function of step and micro-step, so that a resumed run continues where it stopped.
pub trait Source: Send {
    /// The name of the data, for titles.
    fn name(&self) -> &str;

    /// The batch of a micro-step.
    fn batch(&self, split: Split, purpose: Purpose, step: u64, micro: u64) -> Result<Batch, SourceError>;

    /// Tokens that a sample may start from.
    fn prompt(&self) -> &[u32];

    /// Whether batches name segments.
    fn has_segments(&self) -> bool {
        false
    }

    /// At how many places a batch predicts something, where not at each.
    fn places(&self) -> Option<usize> {
        None
    }

    /// The objective of its batches.
    fn objective(&self) -> Objective {
        Objective::Tokens
    }

    /// What the loss of its batches is, with its unit.
    fn quantity(&self) -> &'static str {
        self.objective().quantity()
    }

    /// Tokens of a sequence, where that is not a block.
    fn time(&self) -> Option<usize> {
        None
    }

    /// Bytes of text that a held-out token stands for, where tokens are what is predicted.
    fn bytes_per_token(&self) -> Option<f64> {
        None
    }

    /// Whether the loss over held-out batches can be estimated.
    fn is_estimated(&self) -> bool {
        true
    }

    /// Whether batches from `step` on need the model as it then is: see [`prepare`](Self::prepare). Only there can a
    /// run be stopped and continued.
    fn is_due(&self, _step: u64) -> bool {
        true
    }

    /// Whether [`prepare`](Self::prepare) does anything.
    fn prepares(&self) -> bool {
        false
    }

    /// Makes the batches from `step` on with the model in training: called where they are [due](Self::is_due), when
    /// nothing else is under way on the device.
    fn prepare(&mut self, _device: &mut dyn Device, _step: u64) -> Result<(), SourceError> {
        Ok(())
    }

    /// Figures of a batch from the outputs of its objective.
    fn measures(&self, _batch: &Batch, _outputs: &[Vec<f32>]) -> Measures {
        Vec::new()
    }
}
