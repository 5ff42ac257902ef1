//! Decoding with a key-value cache: the prompt in one go, then a token at a time.

use std::collections::HashMap;
use std::sync::Arc;

use crate::engine::device::{Device, DeviceError, HostData, PlanId};
use crate::engine::op::OpError;
use crate::engine::plan::Plan;
use crate::engine::step::Step;
use crate::engine::tape::Tape;
use crate::engine::tensor::Spec;
use crate::models::config::GptConfig;
use crate::models::gpt::{last_logits, trunk};
use crate::nn::Pass;

/// Why decoding stopped.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error("the model does not fit together: {0}")]
    Model(#[from] OpError),
    #[error("there is no token to start from")]
    NoPrompt,
}

/// The state of one stream of text: the tokens so far, of which the last are in the model's cache.
pub struct Generator {
    config: GptConfig,
    /// By the number of new tokens.
    plans: HashMap<usize, PlanId>,
    tokens: Vec<u32>,
    cached: usize,
}

/// The plan that reads `n` new tokens and gives the logits behind the last of them: input `tokens` (1, n),
/// segment `decode`, result [logits (vocab_size)].
///
/// # Errors
/// When the model's sizes do not fit together.
pub fn decode_plan(config: &GptConfig, n: usize) -> Result<Plan, OpError> {
    let mut tape = Tape::new("decode");
    let tokens = tape.input("tokens", Spec::u32([1, n]));
    let trunk = trunk(&mut tape, config, tokens, Pass::Decode)?;
    let logits = last_logits(&mut tape, &trunk)?;
    Plan::new(&tape, &[logits])
}

impl Generator {
    /// A generator over the parameters that the device holds.
    pub fn new(config: GptConfig) -> Self {
        Self { config, plans: HashMap::new(), tokens: Vec::new(), cached: 0 }
    }

    /// As [`new`](Self::new), with the plan for one token already loaded.
    pub fn with_decode_plan(config: GptConfig, plan: PlanId) -> Self {
        let mut generator = Self::new(config);
        generator.plans.insert(1, plan);
        generator
    }

    /// Forgets the text so far, reads `prompt`, and returns the logits of what comes next, (vocab_size).
    ///
    /// # Errors
    /// When the prompt is empty or the device fails.
    pub fn start(&mut self, device: &mut dyn Device, prompt: &[u32]) -> Result<Vec<f32>, GenerateError> {
        self.tokens.clear();
        self.tokens.extend_from_slice(prompt);
        self.read_again(device, self.config.block_size)
    }

    /// Appends a token and returns the logits of what comes next, (vocab_size).
    ///
    /// When the cache is full, the older half of the context is dropped and the rest read again: positions
    /// are learned, so keys cannot slide. A token thus sees between half a block and a block of context.
    ///
    /// # Errors
    /// When the device fails.
    pub fn push(&mut self, device: &mut dyn Device, token: u32) -> Result<Vec<f32>, GenerateError> {
        self.tokens.push(token);
        if self.cached == self.config.block_size {
            return self.read_again(device, self.config.block_size.div_ceil(2));
        }
        self.read(device, 1)
    }

    /// Fills the cache anew with at most `context` of the last tokens.
    fn read_again(&mut self, device: &mut dyn Device, context: usize) -> Result<Vec<f32>, GenerateError> {
        self.cached = 0;
        self.read(device, context.min(self.tokens.len()))
    }

    /// Reads the last `n` tokens behind those in the cache.
    fn read(&mut self, device: &mut dyn Device, n: usize) -> Result<Vec<f32>, GenerateError> {
        if n == 0 {
            return Err(GenerateError::NoPrompt);
        }
        let plan = match self.plans.get(&n) {
            Some(&plan) => plan,
            None => {
                let plan = device.load(&Arc::new(decode_plan(&self.config, n)?), 0)?;
                self.plans.insert(n, plan);
                plan
            }
        };
        let step = Step { position: self.cached as u32, ..Step::default() };
        device.set_input(plan, "tokens", HostData::U32(&self.tokens[self.tokens.len() - n..]))?;
        device.run(plan, 0, &step)?;
        self.cached += n;
        let mut results = device.results(true)?.unwrap_or_default();
        results.pop().ok_or_else(|| DeviceError::Gpu("decoding gave no logits".into()).into())
    }
}
