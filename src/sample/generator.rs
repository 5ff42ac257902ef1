//! Decoding: the prompt in one go, then a token at a time, with what the model remembers kept on the device.

use std::collections::HashMap;
use std::sync::Arc;

use crate::engine::device::{Device, DeviceError, HostData, PlanId};
use crate::engine::op::{OpError, Var};
use crate::engine::plan::Plan;
use crate::engine::step::Step;
use crate::engine::tape::{Class, Tape};
use crate::engine::tensor::Spec;
use crate::models::abilities::Inability;
use crate::models::config::{Architecture, ModelConfig};
use crate::models::{ModelInputs, backbone};
use crate::nn::Pass;
use crate::ops::draw_token::DrawToken;

/// Why decoding stopped.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error("the model does not fit together: {0}")]
    Model(#[from] OpError),
    #[error("{0}")]
    WritesNothing(#[from] Inability),
    #[error("there is no token to start from")]
    NoPrompt,
    #[error("there is no token {id}: the model has {vocab_size}, counted from 0")]
    UnknownToken { id: u32, vocab_size: usize },
    #[error("prompt {number} has {tokens} tokens, and the model sees {block_size} at once: shorten it")]
    TooLong { number: usize, tokens: usize, block_size: usize },
    #[error(
        "models of the architecture {0:?} write one text after the other: only Transformers write side by side"
    )]
    NotSideBySide(Architecture),
}

/// The state of one stream of text: the tokens so far, and what the model's memory holds of them.
pub struct Generator {
    config: ModelConfig,
    /// By the number of new tokens.
    plans: HashMap<usize, PlanId>,
    /// The plans that draw, by how.
    drawing: Vec<(DrawToken, PlanId)>,
    tokens: Vec<u32>,
    cached: usize,
    /// What a recurrent net carries from token to token, by name, with its length.
    carried: Vec<(String, usize)>,
}

/// How a model knows what came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Memory {
    /// By the keys and values of a block of tokens.
    Cache,
    /// By what it carries from token to token.
    Carried,
    /// By reading so many of the last tokens again.
    Window(usize),
}

fn memory(config: &ModelConfig) -> Memory {
    match config.architecture {
        Architecture::Transformer if config.causal => Memory::Cache,
        Architecture::Rnn | Architecture::Gru | Architecture::Lstm => Memory::Carried,
        Architecture::Mlp => Memory::Window(config.block_size),
        // A Transformer that sees both sides and word vectors write nothing: they are loaded to be looked into.
        Architecture::Bigram | Architecture::Skipgram | Architecture::Transformer => Memory::Window(1),
    }
}

/// The plan that reads `n` new tokens and gives the logits after the last of them: input `tokens`, phase
/// `decode`, result [logits (vocab_size)].
pub fn decode_plan(config: &ModelConfig, n: usize) -> Result<Plan, OpError> {
    let mut tape = Tape::new("decode");
    let (_, logits) = record(&mut tape, config, n)?;
    tape.fuse_single_rows(&[logits])?;
    Plan::new(&tape, &[logits])
}

/// The plan of one step of decoding that draws the next token by `rule`: inputs `tokens`, which moves along by one, and
/// `drawn` (most), phase `decode`, result \[drawn\].
pub fn drawing_plan(config: &ModelConfig, rule: DrawToken, most: usize) -> Result<Plan, OpError> {
    let mut tape = Tape::new("decode");
    let (tokens, logits) = record(&mut tape, config, decode_width(config))?;
    let drawn = tape.input("drawn", Spec::u32([most]));
    let outputs = tape.apply(rule, &[logits, tokens, drawn])?;
    tape.fuse_single_rows(&outputs)?;
    Plan::new(&tape, &outputs[1..])
}

/// Tokens, an input, and the logits after the last of them.
fn record(tape: &mut Tape, config: &ModelConfig, n: usize) -> Result<(Var, Var), OpError> {
    let tokens = tape.input("tokens", Spec::u32(config.tokens_shape(1, n)));
    let pass = if matches!(memory(config), Memory::Window(_)) { Pass::Evaluate } else { Pass::Decode };
    let backbone = backbone(tape, config, ModelInputs { tokens, segments: None }, pass)?;
    Ok((tokens, backbone.last_logits(tape)?))
}

/// The new tokens that the plan of one step of decoding reads.
pub fn decode_width(config: &ModelConfig) -> usize {
    match memory(config) {
        Memory::Window(width) => width,
        Memory::Cache | Memory::Carried => 1,
    }
}

/// Whether the model has a row for each of these tokens; past its tables a device would read anything.
pub(super) fn known(config: &ModelConfig, tokens: &[u32]) -> Result<(), GenerateError> {
    let vocab_size = config.vocab_size;
    match tokens.iter().find(|&&id| id as usize >= vocab_size) {
        Some(&id) => Err(GenerateError::UnknownToken { id, vocab_size }),
        None => Ok(()),
    }
}

impl Generator {
    /// A generator over the parameters that the device holds.
    pub fn new(config: ModelConfig) -> Self {
        let (plans, drawing) = (HashMap::new(), Vec::new());
        Self { config, plans, drawing, tokens: Vec::new(), cached: 0, carried: Vec::new() }
    }

    /// Forgets the text so far, reads `prompt`, and returns the logits of what comes next, (n_tokens).
    pub fn start(&mut self, device: &mut dyn Device, prompt: &[u32]) -> Result<Vec<f32>, GenerateError> {
        self.config.predicts_next()?;
        self.tokens.clear();
        self.cached = 0;
        if memory(&self.config) == Memory::Carried {
            self.plan(device, 1)?;
            for (name, len) in &self.carried {
                device.write(name, &vec![0.0; *len])?;
            }
            let (&last, before) = prompt.split_last().ok_or(GenerateError::NoPrompt)?;
            for &token in before {
                self.push(device, token)?;
            }
            return self.push(device, last);
        }
        self.tokens.extend_from_slice(prompt);
        self.read_last(device, self.config.block_size)
    }

    /// Appends a token and returns the logits of what comes next, (n_tokens).
    ///
    /// When a cache is full, the older half of the context is dropped and the rest read again: positions
    /// are learned, so keys cannot slide. A token thus sees between half a block and a block of context.
    pub fn push(&mut self, device: &mut dyn Device, token: u32) -> Result<Vec<f32>, GenerateError> {
        self.tokens.push(token);
        match memory(&self.config) {
            Memory::Cache if self.cached == self.config.block_size => {
                self.cached = 0;
                self.read_last(device, self.config.block_size.div_ceil(2))
            }
            _ => self.read_last(device, 1),
        }
    }

    /// Reads the last tokens, at most `most` of them, after those in the cache; a window is read whole.
    fn read_last(&mut self, device: &mut dyn Device, most: usize) -> Result<Vec<f32>, GenerateError> {
        if self.tokens.is_empty() {
            return Err(GenerateError::NoPrompt);
        }
        if let Memory::Window(width) = memory(&self.config) {
            return self.run(device, &self.last(width));
        }
        let n = most.min(self.tokens.len());
        let new = self.tokens[self.tokens.len() - n..].to_vec();
        let logits = self.run(device, &new)?;
        self.cached += n;
        Ok(logits)
    }

    /// The last `width` tokens; where there are fewer, the first comes several times.
    fn last(&self, width: usize) -> Vec<u32> {
        let have = &self.tokens[self.tokens.len().saturating_sub(width)..];
        let mut last = vec![self.tokens.first().copied().unwrap_or(0); width - have.len()];
        last.extend_from_slice(have);
        last
    }

    /// Has the device read a token and draw the next, read that, and so on: one by each random number. `first` is
    /// what it reads first, `None` where it has drawn that itself. What it draws comes by [`drawn`](Self::drawn).
    pub(super) fn draw(
        &mut self,
        device: &mut dyn Device,
        rule: DrawToken,
        first: Option<u32>,
        randoms: &[f32],
    ) -> Result<(), GenerateError> {
        let plan = match self.drawing.iter().find(|(of, _)| *of == rule) {
            Some(&(_, plan)) => plan,
            None => {
                let plan = drawing_plan(&self.config, rule, device.steps_at_once())?;
                let plan = device.load(&Arc::new(plan), 0)?;
                self.drawing.push((rule, plan));
                plan
            }
        };
        if let Some(token) = first {
            self.tokens.push(token);
            let tokens = self.last(decode_width(&self.config));
            known(&self.config, &tokens)?;
            device.set_input(plan, "tokens", HostData::U32(&tokens))?;
        }
        let is_window = matches!(memory(&self.config), Memory::Window(_));
        let step = |(place, &random): (usize, &f32)| {
            let position = if is_window { 0 } else { (self.cached + place) as u32 };
            Step { position, random, place: place as u32, ..Step::default() }
        };
        let steps: Vec<_> = randoms.iter().enumerate().map(step).collect();
        device.run_steps(plan, 0, &steps)?;
        self.cached += if is_window { 0 } else { steps.len() };
        Ok(())
    }

    /// What the device drew, the oldest `n` tokens. They are not part of the text before [`append`](Self::append).
    pub(super) fn drawn(&self, device: &mut dyn Device, n: usize) -> Result<Vec<u32>, GenerateError> {
        let mut results = device.results(true)?.unwrap_or_default();
        let drawn = results.pop().ok_or_else(|| DeviceError::Gpu("decoding drew no tokens".into()))?;
        Ok(drawn[..n.min(drawn.len())].iter().map(|&id| id as u32).collect())
    }

    /// Adds to the text a token that the device has drawn and read.
    pub(super) fn append(&mut self, token: u32) {
        self.tokens.push(token);
    }

    /// How many tokens can be read before something is forgotten.
    pub(super) fn room(&self) -> usize {
        match memory(&self.config) {
            Memory::Cache => self.config.block_size - self.cached,
            Memory::Carried | Memory::Window(_) => usize::MAX,
        }
    }

    /// The tokens so far.
    pub(super) fn text(&self) -> &[u32] {
        &self.tokens
    }

    /// How many tokens it writes with: the others of the vocabulary are padding.
    pub(super) fn n_tokens(&self) -> usize {
        self.config.n_tokens()
    }

    fn run(&mut self, device: &mut dyn Device, tokens: &[u32]) -> Result<Vec<f32>, GenerateError> {
        known(&self.config, tokens)?;
        let plan = self.plan(device, tokens.len())?;
        let step = Step { position: self.cached as u32, ..Step::default() };
        device.set_input(plan, "tokens", HostData::U32(tokens))?;
        device.run(plan, 0, &step)?;
        let mut results = device.results(true)?.unwrap_or_default();
        let mut logits = results.pop().ok_or_else(|| DeviceError::Gpu("decoding gave no logits".into()))?;
        logits.truncate(self.config.n_tokens());
        Ok(logits)
    }

    /// The plan for `n` new tokens, loaded when it is first needed.
    fn plan(&mut self, device: &mut dyn Device, n: usize) -> Result<PlanId, GenerateError> {
        if let Some(&plan) = self.plans.get(&n) {
            return Ok(plan);
        }
        let plan = Arc::new(decode_plan(&self.config, n)?);
        let id = device.load(&plan, 0)?;
        self.plans.insert(n, id);
        if memory(&self.config) == Memory::Carried {
            let states = plan.persistent().filter(|(.., class)| matches!(class, Class::State(_)));
            self.carried = states.map(|(name, shape, _)| (name.to_owned(), shape.len())).collect();
        }
        Ok(id)
    }
}
