//! Constitutional AI (Bai et al. 2022): a model's own replies, criticised and revised by principles, become what it
//! learns from next.
//!
//! Stage one: replies that violate a principle are revised, and the revisions are conversations for supervised
//! fine-tuning. Stage two: of two replies to one prompt, the one that violates fewer principles is the better; such
//! pairs are preferences that no person has given (RLAIF), for direct preference optimisation or a reward model.

use super::constitution::Constitution;
use super::rollout::Prompt;
use crate::text::chat::{Chat, ChatError, Example, Message, Role, encode};
use crate::text::preferences::{EncodedPair, Pair, encode_pair};
use crate::text::tales::Exchange;
use crate::text::tokenizer::Tokenizer;

/// Replies to questions about tales.
pub struct Replies<'a> {
    pub constitution: &'a Constitution,
    pub tokenizer: &'a Tokenizer,
    /// What was asked, and what was said.
    pub said: Vec<(&'a Exchange, String)>,
}

/// How replies stand to the principles.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Violations {
    pub replies: usize,
    /// Replies that violate at least one.
    pub violating: usize,
    /// Of each principle, by name, how often it is violated.
    pub by_principle: Vec<(String, usize)>,
}

impl Violations {
    /// The share of replies that violate a principle.
    pub fn share(&self) -> f64 {
        self.violating as f64 / self.replies.max(1) as f64
    }
}

impl<'a> Replies<'a> {
    /// What was said to the questions among `prompts`.
    pub fn new(
        constitution: &'a Constitution,
        tokenizer: &'a Tokenizer,
        prompts: impl IntoIterator<Item = &'a Prompt>,
        texts: impl IntoIterator<Item = String>,
    ) -> Self {
        let asked = prompts.into_iter().zip(texts);
        let said = asked.filter_map(|(prompt, text)| Some((prompt.exchange.as_ref()?, text))).collect();
        Self { constitution, tokenizer, said }
    }

    /// How often each principle is violated.
    pub fn violations(&self) -> Violations {
        let names = self.constitution.principles.iter().map(|principle| (principle.name.clone(), 0));
        let mut violations =
            Violations { replies: self.said.len(), by_principle: names.collect(), ..Violations::default() };
        for (exchange, text) in &self.said {
            let violated = self.constitution.violations(exchange, text);
            violations.violating += usize::from(!violated.is_empty());
            for (name, count) in &mut violations.by_principle {
                *count += usize::from(violated.iter().any(|principle| principle.name == *name));
            }
        }
        violations
    }

    /// Stage one: the conversations with each reply as it should have been.
    ///
    /// # Errors
    /// When the tokenizer lacks the chat tokens or a character.
    pub fn revised(&self) -> Result<Vec<Example>, ChatError> {
        let revise = |(number, (exchange, text)): (usize, &(&Exchange, String))| {
            let better = self.constitution.revise(exchange, text);
            let messages = vec![message(Role::User, exchange.prompt()), message(Role::Assistant, better)];
            encode(&Chat { messages, place: format!("revision {}", number + 1) }, self.tokenizer)
        };
        self.said.iter().enumerate().map(revise).collect()
    }

    /// Stage two: of the replies to each question, `samples` one after the other, the one that violates the fewest
    /// principles against the one that violates the most; none where all are equally good.
    ///
    /// # Errors
    /// When a pair is longer than a block, or the tokenizer lacks a character.
    pub fn preferences(&self, samples: usize, block_size: usize) -> Result<Vec<EncodedPair>, ChatError> {
        let mut pairs = Vec::new();
        for (number, replies) in self.said.chunks(samples).enumerate() {
            let faults = |reply: &&(&Exchange, String)| self.constitution.violations(reply.0, &reply.1).len();
            let (Some(best), Some(worst)) =
                (replies.iter().min_by_key(faults), replies.iter().max_by_key(faults))
            else {
                continue;
            };
            if faults(&best) == faults(&worst) {
                continue;
            }
            let pair = Pair {
                prompt: vec![message(Role::User, best.0.prompt())],
                chosen: best.1.clone(),
                rejected: worst.1.clone(),
                place: format!("comparison {}", number + 1),
            };
            pairs.push(encode_pair(&pair, self.tokenizer, block_size)?);
        }
        Ok(pairs)
    }
}

fn message(role: Role, content: String) -> Message {
    Message { role, content }
}
