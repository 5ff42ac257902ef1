//! Questions about the Tales world, whose replies a program can judge.

use std::slice::from_ref;

use super::answers::{exact_match, replies};
use super::constitution::Constitution;
use super::critique::Replies;
use super::report::{Answers, Grades, Report};
use super::rollout::Prompt;
use super::stage::{Context, Setup};
use crate::sample::strategy::Strategy;
use crate::text::chat::{Chat, ChatError, Example, encode};
use crate::text::corpus::{TALES, TALES_SEED};
use crate::text::tales::{Exchange, Part, Tales, messages};
use crate::text::tokenizer::Tokenizer;

/// Questions that a model replies to, and learns from what its replies are worth.
pub const TALES_PROMPTS: usize = 4000;
/// The most characters of a tale with one question.
pub const LONGEST_QUESTION: usize = 300;

/// Conversations, and what was asked in each if a program can judge the replies.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Questions {
    /// Empty where no program can judge.
    pub exchanges: Vec<Exchange>,
    pub examples: Vec<Example>,
}

impl Questions {
    pub fn for_training(count: usize, tokenizer: &Tokenizer) -> Result<Self, ChatError> {
        Self::of(Part::Train, count, tokenizer)
    }

    /// Questions that are in no training data.
    pub fn held_out(count: usize, tokenizer: &Tokenizer) -> Result<Self, ChatError> {
        Self::of(Part::HeldOut, count, tokenizer)
    }

    fn of(part: Part, count: usize, tokenizer: &Tokenizer) -> Result<Self, ChatError> {
        let exchanges = Tales::new().questions(TALES_SEED, count, part, LONGEST_QUESTION);
        let example = |(number, exchange): (usize, &Exchange)| {
            let place = format!("question {} of {TALES}", number + 1);
            encode(&Chat { messages: messages(from_ref(exchange)), place }, tokenizer)
        };
        let examples = exchanges.iter().enumerate().map(example).collect::<Result<_, _>>()?;
        Ok(Self { exchanges, examples })
    }

    pub fn tokens(&self) -> usize {
        self.examples.iter().map(|example| example.tokens.len()).sum()
    }

    /// The questions as prompts for a policy.
    pub fn prompts(&self) -> Vec<Prompt> {
        let prompts = Prompt::of_conversations(&self.examples).into_iter().zip(&self.exchanges);
        prompts.map(|(prompt, asked)| Prompt { exchange: Some(asked.clone()), ..prompt }).collect()
    }

    /// Grades greedy replies of the model on the device, and counts those that violate a constitution if one is given.
    /// Questions that no program can grade have no figures.
    pub fn evaluate(
        &self,
        Setup { model, tokenizer, .. }: &Setup,
        constitution: Option<&Constitution>,
        Context { device, progress, .. }: &mut Context,
    ) -> anyhow::Result<Report> {
        if self.exchanges.is_empty() {
            return Ok(Report::default());
        }
        let said =
            replies(*device, model, tokenizer, &self.examples, &Strategy::greedy(), 0, &mut **progress)?;
        let grades = Some(Grades::of(&self.exchanges, &said));
        let exact_match = exact_match(&self.examples, &said, tokenizer);
        let answers = Answers { questions: said.len(), exact_match, grades };
        let violations = constitution.map(|constitution| {
            let said = self.exchanges.iter().zip(said).collect();
            Replies { constitution, tokenizer, said }.violations()
        });
        Ok(Report { answers: Some(answers), violations, calibration: None })
    }
}
