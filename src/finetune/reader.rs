//! A model that reads what was said and is not trained by it: the reference of a policy, the policy before a step, a
//! reward model.

use std::sync::Arc;

use crate::engine::device::{Device, DeviceError, HostData, PlanId};
use crate::engine::op::OpError;
use crate::engine::plan::{Home, Plan};
use crate::engine::step::Step;
use crate::engine::tape::Tape;
use crate::engine::tensor::Spec;
use crate::models::config::ModelConfig;
use crate::models::{Reading, trunk};
use crate::nn::Pass;
use crate::objective::score::Score;
use crate::objective::tokens;
use crate::run::tensor_file::Entry;

/// What is read off each token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// Only how likely the next one was.
    Tokens,
    /// Also a value.
    Value,
    /// Also a reward.
    Reward,
}

/// What a model makes of a sequence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Read {
    /// The negative log-probability of each token but the first.
    pub nll: Vec<f32>,
    /// At each token what the head gives; none without one.
    pub scores: Vec<f32>,
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
            let targets = tape.input("targets", Spec::u32([sequences * time]));
            let trunk = trunk(tape, config, Reading { tokens, segments: None }, Pass::Evaluate)?;
            let score = match head {
                Head::Tokens => None,
                Head::Value => Some(Score::value(tape, config.n_embd)),
                Head::Reward => Some(Score::reward(tape, config.n_embd)),
            };
            let mut results = vec![tokens::nll(tape, &trunk, targets)?];
            if let Some(score) = score {
                results.push(score.record(tape, trunk.hidden)?);
            }
            Plan::new(tape, &results)
        };
        let plan = match scope {
            "" => record(&mut tape),
            scope => tape.scoped(scope, record),
        };
        let plan = Arc::new(plan?);
        let parameter = |(name, shape): (&String, _)| Entry { name: name.clone(), shape };
        let parameters = plan.places.iter().filter_map(|place| match &place.home {
            Home::Persistent { name, parameter: true, .. } => Some((name, place.spec.shape)),
            _ => None,
        });
        let parameters = parameters.map(parameter).collect();
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

    /// What each of `sequences` is worth to a model with a head for it: the score at its end. Of one that is longer
    /// than `time` the end alone is read.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn rewards(
        &self,
        device: &mut dyn Device,
        sequences: &[impl AsRef<[u32]>],
    ) -> Result<Vec<f64>, ReaderError> {
        let end = |sequence: &[u32]| sequence[sequence.len().saturating_sub(self.time)..].to_vec();
        let ends: Vec<Vec<u32>> = sequences.iter().map(|sequence| end(sequence.as_ref())).collect();
        let read = self.read(device, &ends)?;
        Ok(read.iter().map(|read| read.scores.last().map_or(0.0, |&score| score.into())).collect())
    }

    /// Reads sequences, each of one token to `time`.
    ///
    /// # Errors
    /// When the device fails. Nothing else may be under way on it.
    pub fn read(
        &self,
        device: &mut dyn Device,
        sequences: &[impl AsRef<[u32]>],
    ) -> Result<Vec<Read>, ReaderError> {
        let mut all = Vec::with_capacity(sequences.len());
        for some in sequences.chunks(self.sequences) {
            let (mut tokens, mut targets) = (Vec::new(), Vec::new());
            for row in 0..self.sequences {
                let sequence = some.get(row).map_or(&[][..], AsRef::as_ref);
                let start = tokens.len();
                tokens.extend_from_slice(sequence);
                targets.extend_from_slice(sequence.get(1..).unwrap_or(&[]));
                // What stands behind a sequence is read by nobody before it.
                tokens.resize(start + self.time, 0);
                targets.resize(start + self.time, 0);
            }
            device.set_input(self.plan, "tokens", HostData::U32(&tokens))?;
            device.set_input(self.plan, "targets", HostData::U32(&targets))?;
            device.run(self.plan, 0, &Step::default())?;
            let results = device.results(true)?.unwrap_or_default();
            for (row, sequence) in some.iter().enumerate() {
                let len = sequence.as_ref().len();
                let of_row = |result: &Vec<f32>, len: usize| result[row * self.time..][..len].to_vec();
                all.push(Read {
                    nll: results.first().map_or(Vec::new(), |nll| of_row(nll, len - 1)),
                    scores: results.get(1).map_or(Vec::new(), |scores| of_row(scores, len)),
                });
            }
        }
        Ok(all)
    }
}
