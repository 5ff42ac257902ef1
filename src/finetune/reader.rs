//! A model that reads what was said and is not trained by it: the reference of a policy, the policy before a step, a
//! reward model.

use std::sync::Arc;

use crate::engine::device::{Device, DeviceError, HostData, PlanId, Results};
use crate::engine::op::OpError;
use crate::engine::plan::Plan;
use crate::engine::step::Step;
use crate::engine::tape::Tape;
use crate::engine::tensor::Spec;
use crate::models::config::ModelConfig;
use crate::models::{Reading, trunk};
use crate::nn::Pass;
use crate::objective::score::Score;
use crate::objective::tokens;
use crate::run::tensor_file::Entry;
use crate::sample::batch::Progress;

/// What is read off a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// How likely each token was.
    Tokens,
    /// Also a value at each.
    Value,
    /// A reward at the end, and nothing else.
    Reward,
}

/// What a model makes of a sequence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Read {
    /// The negative log-probability of each token but the first.
    pub nll: Vec<f32>,
    /// What is expected at each token; none without a head for it.
    pub values: Vec<f32>,
}

/// A loaded model.
#[derive(Clone, Debug)]
pub struct Reader {
    plan: PlanId,
    parameters: Vec<Entry>,
    sequences: usize,
    time: usize,
}

/// Why a model cannot read.
#[derive(Debug, thiserror::Error)]
pub enum ReaderError {
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error("the model does not fit together: {0}")]
    Model(#[from] OpError),
}

impl Reader {
    /// Loads `config` on `device`, to read up to `sequences` sequences of `time` tokens at once. Its parameters are
    /// those of that name under `scope`, or the ones in training if that is empty.
    ///
    /// # Errors
    /// When the device lacks memory, or a block is shorter than `time`.
    pub fn load(
        device: &mut dyn Device,
        config: &ModelConfig,
        scope: &str,
        head: Head,
        [sequences, time]: [usize; 2],
    ) -> Result<Self, ReaderError> {
        let mut tape = Tape::new("read");
        tape.freeze();
        let record = |tape: &mut Tape| -> Result<Plan, OpError> {
            let tokens = tape.input("tokens", Spec::u32([sequences, time]));
            let trunk = trunk(tape, config, Reading { tokens, segments: None }, Pass::Evaluate)?;
            if head == Head::Reward {
                let ends = tape.input("places", Spec::u32([1, sequences]));
                let reward = Score::reward(tape, config.n_embd);
                let at_ends = trunk.at(tape, ends)?;
                let scores = reward.record(tape, at_ends.hidden)?;
                return Plan::new(tape, &[scores]);
            }
            let targets = tape.input("targets", Spec::u32([sequences * time]));
            let value = (head == Head::Value).then(|| Score::value(tape, config.n_embd));
            let mut results = vec![tokens::nll(tape, &trunk, targets)?];
            if let Some(value) = value {
                results.push(value.record(tape, trunk.hidden)?);
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

    /// The most tokens that it reads at once.
    pub fn time(&self) -> usize {
        self.time
    }

    /// What each of `sequences` is worth to a model that gives rewards. Of one that is longer than `time` the end alone
    /// is read.
    ///
    /// # Errors
    /// When the device fails, or the model gives none. Nothing else may be under way on the device.
    pub fn rewards(
        &self,
        device: &mut dyn Device,
        sequences: &[impl AsRef<[u32]>],
    ) -> Result<Vec<f64>, ReaderError> {
        let mut all = Vec::with_capacity(sequences.len());
        for some in sequences.chunks(self.sequences) {
            let some: Vec<&[u32]> = some.iter().map(AsRef::as_ref).collect();
            let some: Vec<_> = some.iter().map(|all| &all[all.len().saturating_sub(self.time)..]).collect();
            let mut ends = vec![0; self.sequences];
            for (row, sequence) in some.iter().enumerate() {
                ends[row] = (row * self.time + sequence.len().saturating_sub(1)) as u32;
            }
            device.set_input(self.plan, "places", HostData::U32(&ends))?;
            let results = self.run(device, &some)?;
            all.extend(results.iter().flatten().take(some.len()).map(|&score| f64::from(score)));
        }
        Ok(all)
    }

    /// Reads sequences, each of one token to `time`.
    ///
    /// # Errors
    /// When the device fails, or the model gives rewards. Nothing else may be under way on the device.
    pub fn read(
        &self,
        device: &mut dyn Device,
        sequences: &[impl AsRef<[u32]>],
    ) -> Result<Vec<Read>, ReaderError> {
        self.read_with_progress(device, sequences, &mut |_, _| ())
    }

    /// The same, with a call of `progress` before each batch.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_with_progress(
        &self,
        device: &mut dyn Device,
        sequences: &[impl AsRef<[u32]>],
        progress: Progress,
    ) -> Result<Vec<Read>, ReaderError> {
        let mut all = Vec::with_capacity(sequences.len());
        for some in sequences.chunks(self.sequences) {
            progress(all.len(), sequences.len());
            let mut targets = vec![0; self.sequences * self.time];
            for (row, sequence) in some.iter().enumerate() {
                let next = &sequence.as_ref()[1..];
                targets[row * self.time..][..next.len()].copy_from_slice(next);
            }
            device.set_input(self.plan, "targets", HostData::U32(&targets))?;
            let results = self.run(device, some)?;
            for (row, sequence) in some.iter().enumerate() {
                let len = sequence.as_ref().len();
                let of_row = |result: &Vec<f32>, len: usize| result[row * self.time..][..len].to_vec();
                all.push(Read {
                    nll: results.first().map_or(Vec::new(), |nll| of_row(nll, len - 1)),
                    values: results.get(1).map_or(Vec::new(), |values| of_row(values, len)),
                });
            }
        }
        Ok(all)
    }

    /// The plan's results on these, in rows of `time` tokens: what stands behind a sequence is read by nobody before it.
    fn run(&self, device: &mut dyn Device, sequences: &[impl AsRef<[u32]>]) -> Result<Results, ReaderError> {
        let mut tokens = vec![0; self.sequences * self.time];
        for (row, sequence) in sequences.iter().enumerate() {
            let sequence = sequence.as_ref();
            tokens[row * self.time..][..sequence.len()].copy_from_slice(sequence);
        }
        device.set_input(self.plan, "tokens", HostData::U32(&tokens))?;
        device.run(self.plan, 0, &Step::default())?;
        Ok(device.results(true)?.unwrap_or_default())
    }
}
