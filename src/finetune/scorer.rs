//! A model that scores sequences and is not trained: a policy's reference, the policy before a step, a reward model.

use std::sync::Arc;

use crate::engine::device::{Device, HostData, PlanId, Results};
use crate::engine::op::OpError;
use crate::engine::plan::Plan;
use crate::engine::step::Step;
use crate::engine::tape::Tape;
use crate::engine::tensor::Spec;
use crate::models::config::ModelConfig;
use crate::models::{ModelInputs, backbone};
use crate::nn::Pass;
use crate::objective::inputs::Input;
use crate::objective::score::Score;
use crate::objective::tokens;
use crate::run::tensor_file::Entry;
use crate::sample::batch::Progress;
use crate::train::trainer::TrainError;

/// What a sequence is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// The log-probability of each token.
    Tokens,
    /// Also a value at each.
    Value,
    /// A reward at the end, and nothing else.
    Reward,
}

/// The scores of a sequence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    /// The negative log-probability of each token but the first.
    pub nll: Vec<f32>,
    /// What is expected at each token; none without a head for it.
    pub values: Vec<f32>,
}

/// A loaded model.
#[derive(Clone, Debug)]
pub struct Scorer {
    plan: PlanId,
    parameters: Vec<Entry>,
    sequences: usize,
    time: usize,
}

impl Scorer {
    /// Loads `config` on `device`, for up to `sequences` sequences of `time` tokens at once. Its parameters are those
    /// of that name under `scope`, or the ones in training if that is empty.
    pub fn load(
        device: &mut dyn Device,
        config: &ModelConfig,
        scope: &str,
        head: Head,
        [sequences, time]: [usize; 2],
    ) -> Result<Self, TrainError> {
        let mut tape = Tape::new("read");
        tape.freeze();
        let record = |tape: &mut Tape| -> Result<Plan, OpError> {
            let tokens = Input::Tokens.declare(tape, Spec::u32([sequences, time]));
            let backbone = backbone(tape, config, ModelInputs { tokens, segments: None }, Pass::Evaluate)?;
            if head == Head::Reward {
                let ends = Input::Places.declare(tape, Spec::u32([1, sequences]));
                let reward = Score::reward(tape, config.n_embd);
                let at_ends = backbone.at(tape, ends)?;
                let scores = reward.record(tape, at_ends.hidden)?;
                return Plan::new(tape, &[scores]);
            }
            let targets = Input::Targets.declare(tape, Spec::u32([sequences * time]));
            let value = (head == Head::Value).then(|| Score::value(tape, config.n_embd));
            let mut results = vec![tokens::nll(tape, &backbone, targets)?];
            if let Some(value) = value {
                results.push(value.record(tape, backbone.hidden)?);
            }
            Plan::new(tape, &results)
        };
        let plan = match scope {
            "" => record(&mut tape),
            scope => tape.scoped(scope, record),
        };
        let plan = Arc::new(plan?);
        let entry = |(name, shape, _): (&str, _, _)| Entry { name: name.to_owned(), shape };
        let parameters = plan.parameters().map(entry).collect();
        Ok(Self { plan: device.load(&plan, 0)?, parameters, sequences, time })
    }

    /// Its parameters as the device knows them.
    pub fn parameters(&self) -> &[Entry] {
        &self.parameters
    }

    /// The longest sequence, in tokens.
    pub fn time(&self) -> usize {
        self.time
    }

    /// The reward of each of `sequences`. Only the last `time` tokens of a longer one are read.
    ///
    /// # Errors
    /// When the device fails, or the model gives none. Nothing else may be under way on the device.
    pub fn rewards(
        &self,
        device: &mut dyn Device,
        sequences: &[impl AsRef<[u32]>],
    ) -> Result<Vec<f64>, TrainError> {
        let mut all = Vec::with_capacity(sequences.len());
        for some in sequences.chunks(self.sequences) {
            let some: Vec<&[u32]> = some.iter().map(AsRef::as_ref).collect();
            let some: Vec<_> = some.iter().map(|all| &all[all.len().saturating_sub(self.time)..]).collect();
            let mut ends = vec![0; self.sequences];
            for (row, sequence) in some.iter().enumerate() {
                ends[row] = (row * self.time + sequence.len().saturating_sub(1)) as u32;
            }
            device.set_input(self.plan, Input::Places.name(), HostData::U32(&ends))?;
            let results = self.run(device, &some)?;
            all.extend(results.iter().flatten().take(some.len()).map(|&score| f64::from(score)));
        }
        Ok(all)
    }

    /// The scores of sequences, each of one token to `time`.
    ///
    /// # Errors
    /// When the device fails, or the model gives rewards. Nothing else may be under way on the device.
    pub fn score(
        &self,
        device: &mut dyn Device,
        sequences: &[impl AsRef<[u32]>],
    ) -> Result<Vec<Scores>, TrainError> {
        self.score_with_progress(device, sequences, &mut |_, _| ())
    }

    /// The same, with a call of `progress` before each batch.
    pub fn score_with_progress(
        &self,
        device: &mut dyn Device,
        sequences: &[impl AsRef<[u32]>],
        progress: Progress,
    ) -> Result<Vec<Scores>, TrainError> {
        let mut all = Vec::with_capacity(sequences.len());
        for some in sequences.chunks(self.sequences) {
            progress(all.len(), sequences.len());
            let mut targets = vec![0; self.sequences * self.time];
            for (row, sequence) in some.iter().enumerate() {
                let next = &sequence.as_ref()[1..];
                targets[row * self.time..][..next.len()].copy_from_slice(next);
            }
            device.set_input(self.plan, Input::Targets.name(), HostData::U32(&targets))?;
            let results = self.run(device, some)?;
            for (row, sequence) in some.iter().enumerate() {
                let len = sequence.as_ref().len();
                let of_row = |result: &Vec<f32>, len: usize| result[row * self.time..][..len].to_vec();
                all.push(Scores {
                    nll: results.first().map_or(Vec::new(), |nll| of_row(nll, len - 1)),
                    values: results.get(1).map_or(Vec::new(), |values| of_row(values, len)),
                });
            }
        }
        Ok(all)
    }

    /// The plan's results, in rows of `time` tokens. Right-padding is harmless: attention is causal.
    fn run(&self, device: &mut dyn Device, sequences: &[impl AsRef<[u32]>]) -> Result<Results, TrainError> {
        let mut tokens = vec![0; self.sequences * self.time];
        for (row, sequence) in sequences.iter().enumerate() {
            let sequence = sequence.as_ref();
            tokens[row * self.time..][..sequence.len()].copy_from_slice(sequence);
        }
        device.set_input(self.plan, Input::Tokens.name(), HostData::U32(&tokens))?;
        device.run(self.plan, 0, &Step::default())?;
        Ok(device.results(true)?.unwrap_or_default())
    }
}
