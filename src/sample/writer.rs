//! One text, token after token: drawn by the device where it can, several to a submission, else by the host.
//!
//! The text is the same however many tokens a submission has. Which of the two draws depends on the strategy, the device
//! and what has been read: the host draws after a prompt, and wherever more than one token is read at once. Both go by
//! one rule and the same random numbers; only sums may be rounded apart.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;

use super::generator::{GenerateError, Generator};
use super::strategy::{Sampler, StrategyError, uniform};
use crate::engine::device::Device;
use crate::ops::draw_token::DrawToken;

/// Why a text ends early.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("{0}")]
    Generate(#[from] GenerateError),
    #[error("{0}")]
    Strategy(#[from] StrategyError),
}

/// How long a submission of several tokens may take: no reader sees them come in groups.
const MOMENT: Duration = Duration::from_millis(30);

/// Submissions at once: while the device writes one, the host prepares the next.
const AT_ONCE: usize = 2;

/// Writes a text.
pub struct Writer<'a> {
    device: &'a mut dyn Device,
    generator: &'a mut Generator,
    sampler: &'a mut Sampler,
    /// One number for each token so far.
    rng: &'a mut ChaCha8Rng,
    /// The same, but for those that are under way.
    ahead: ChaCha8Rng,
    /// How the device draws, if it does.
    rule: Option<DrawToken>,
    /// Tokens that may still be asked for, and those of them that are not under way.
    left: usize,
    /// What the host draws from.
    logits: Option<Vec<f32>>,
    /// The last token, which nothing has read.
    unread: Option<u32>,
    /// Drawn, and not yet given.
    ready: VecDeque<u32>,
    /// How many tokens each submission draws.
    flying: VecDeque<usize>,
    /// How many the next one draws.
    several: usize,
    /// When the oldest of those under way began.
    begun: Instant,
}

impl<'a> Writer<'a> {
    /// Reads the prompt. At most `most` tokens are to be written.
    pub fn new(
        device: &'a mut dyn Device,
        generator: &'a mut Generator,
        sampler: &'a mut Sampler,
        rng: &'a mut ChaCha8Rng,
        prompt: &[u32],
        most: usize,
    ) -> Result<Self, WriteError> {
        let logits = Some(generator.start(device, prompt)?);
        let rule = sampler.rule(generator.n_tokens()).filter(|_| device.steps_at_once() > 1);
        Ok(Self {
            ahead: rng.clone(),
            device,
            generator,
            sampler,
            rng,
            rule,
            left: most,
            logits,
            unread: None,
            ready: VecDeque::new(),
            flying: VecDeque::new(),
            several: 1,
            begun: Instant::now(),
        })
    }

    /// Has the host draw every token: after [`next`](Self::next) its sampler holds the candidates.
    pub fn by_host(mut self) -> Self {
        self.rule = None;
        self
    }

    /// The sampler that draws.
    pub fn sampler(&mut self) -> &mut Sampler {
        self.sampler
    }

    /// The next token; `recent` are those that the repetition penalty is for.
    pub fn next(&mut self, recent: &[u32]) -> Result<u32, WriteError> {
        if self.logits.is_none() && self.ready.is_empty() {
            self.receive()?;
        }
        if let Some(token) = self.ready.pop_front().filter(|&token| token != DrawToken::NONE) {
            uniform(self.rng);
            if self.ready.is_empty() && self.flying.is_empty() {
                self.unread = Some(token);
            } else {
                self.generator.append(token);
            }
            return Ok(token);
        }
        let logits = match self.logits.take() {
            Some(logits) => logits,
            None => self.read()?,
        };
        let token = self.sampler.next(&logits, recent, self.rng)?;
        self.left = self.left.saturating_sub(1);
        self.unread = Some(token);
        Ok(token)
    }

    /// Has the device draw, and takes what it drew first.
    fn receive(&mut self) -> Result<(), WriteError> {
        if self.flying.is_empty() {
            self.ahead = self.rng.clone();
            self.begun = Instant::now();
        }
        while self.flying.len() < AT_ONCE && self.submit()? {}
        let Some(tokens) = self.flying.pop_front() else { return Ok(()) };
        self.ready.extend(self.generator.drawn(self.device, tokens)?);
        let fits = MOMENT.as_secs_f64() / (self.begun.elapsed().as_secs_f64() / tokens as f64);
        self.several = (fits as usize).clamp(1, 2 * self.several);
        self.begun = Instant::now();
        Ok(())
    }

    /// Has the device draw a few more tokens; whether there are any to draw.
    fn submit(&mut self) -> Result<bool, WriteError> {
        let Some(rule) = self.rule else { return Ok(false) };
        let most = self.several.min(self.device.steps_at_once());
        let tokens = most.min(self.left).min(self.generator.room());
        if tokens == 0 {
            return Ok(false);
        }
        let randoms: Vec<f32> = (0..tokens).map(|_| uniform(&mut self.ahead)).collect();
        self.generator.draw(self.device, rule, self.unread.take(), &randoms)?;
        self.left -= tokens;
        self.flying.push_back(tokens);
        Ok(true)
    }

    /// The logits after the last token.
    fn read(&mut self) -> Result<Vec<f32>, WriteError> {
        if let Some(token) = self.unread.take() {
            return Ok(self.generator.push(self.device, token)?);
        }
        // The device met a logit that is no number: the host says which.
        self.rule = None;
        self.ready.clear();
        self.land();
        let text = self.generator.text().to_vec();
        Ok(self.generator.start(self.device, &text)?)
    }

    /// Drops what is under way.
    fn land(&mut self) {
        for _ in self.flying.drain(..) {
            // An error stays, and is met by whatever uses the device next.
            let _ = self.device.results(true);
        }
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        self.land();
    }
}
