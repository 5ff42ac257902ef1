//! Constitutional AI (Bai et al. 2022): a model's own replies, criticised and revised by principles, become what it
//! learns from next.
//!
//! Stage one: replies that violate a principle are revised, and the revisions are conversations for supervised
//! fine-tuning. Stage two: of two replies to one prompt, the one that violates fewer principles is the better; such
//! pairs are preferences that no person has given (RLAIF), for direct preference optimisation or a reward model.
//!
//! Programs judge, or the model itself, reminded of the principles by a system message. Its revision is then its reply
//! with the reminder (context distillation, Askell et al. 2021), and the better of two replies the
//! one whose likelihood the reminder raises more: ln π(reply | principles, prompt) − ln π(reply | prompt) is the
//! higher.

use serde::Serialize;

use super::constitution::Constitution;
use super::scorer::{Scorer, Scores};
use crate::engine::device::Device;
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

/// How many replies violate the principles.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Violations {
    pub replies: usize,
    /// Replies that violate at least one.
    pub violating: usize,
    /// How often each principle, by name, is violated.
    pub by_principle: Vec<(String, usize)>,
}

impl Violations {
    /// The share of replies that violate a principle.
    pub fn share(&self) -> f64 {
        self.violating as f64 / self.replies.max(1) as f64
    }
}

impl Replies<'_> {
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

    /// Stage one: the conversations with each reply as programs revise it.
    pub fn revised(&self) -> Result<Vec<Example>, ChatError> {
        let revise = |(exchange, text): &(&Exchange, String)| {
            chat(self.tokenizer, None, exchange, self.constitution.revise(exchange, text))
        };
        self.said.iter().map(revise).collect()
    }

    /// The conversations as they are.
    pub fn unrevised(&self) -> Result<Vec<Example>, ChatError> {
        self.said.iter().map(|(exchange, text)| chat(self.tokenizer, None, exchange, text.clone())).collect()
    }

    /// How many principles each reply violates, by the programs.
    pub fn faults(&self) -> Vec<f64> {
        let faults =
            |(exchange, text): &(&Exchange, String)| self.constitution.violations(exchange, text).len();
        self.said.iter().map(|said| faults(said) as f64).collect()
    }

    /// How many nats a reminder of the principles takes off the log-probability of each reply, by `scorer`.
    pub fn doubts(&self, device: &mut dyn Device, scorer: &Scorer) -> anyhow::Result<Vec<f64>> {
        let mut both = Vec::with_capacity(2 * self.said.len());
        let reminder = self.constitution.reminder();
        for (exchange, text) in &self.said {
            for reminder in [None, Some(&reminder)] {
                let example = chat(self.tokenizer, reminder, exchange, text.clone())?;
                let (tokens, block_size) = (example.tokens.len(), scorer.time());
                if tokens > block_size {
                    let place = example.place;
                    return Err(ChatError::TooLong { place, answer: "reminded", tokens, block_size }.into());
                }
                both.push(example);
            }
        }
        let tokens: Vec<&[u32]> = both.iter().map(|example| example.tokens.as_slice()).collect();
        let scores = scorer.score(device, &tokens)?;
        let nll = |(example, scores): (&Example, &Scores)| -> f64 {
            example.answer_places().map(|at| f64::from(scores.nll[at - 1])).sum()
        };
        let nll: Vec<f64> = both.iter().zip(&scores).map(nll).collect();
        Ok(nll.chunks(2).map(|pair| pair[1] - pair[0]).collect())
    }

    /// Stage two: of the replies to each question, `samples` one after the other, the one with the fewest of `faults`
    /// against the one with the most; none where no two are at least one apart.
    pub fn preferences(
        &self,
        faults: &[f64],
        samples: usize,
        block_size: usize,
    ) -> Result<Vec<EncodedPair>, ChatError> {
        let mut pairs = Vec::new();
        let of_questions = self.said.chunks(samples).zip(faults.chunks(samples));
        for (number, (replies, faults)) in of_questions.enumerate() {
            let by_fault = |a: &usize, b: &usize| faults[*a].total_cmp(&faults[*b]);
            let (Some(best), Some(worst)) =
                ((0..replies.len()).min_by(by_fault), (0..replies.len()).max_by(by_fault))
            else {
                continue;
            };
            if faults[worst] - faults[best] < 1.0 || replies[best].1 == replies[worst].1 {
                continue;
            }
            let pair = Pair {
                prompt: vec![message(Role::User, replies[best].0.prompt())],
                chosen: replies[best].1.clone(),
                rejected: replies[worst].1.clone(),
                place: format!("comparison {}", number + 1),
            };
            pairs.push(encode_pair(&pair, self.tokenizer, block_size)?);
        }
        Ok(pairs)
    }
}

/// A question and a reply to it, perhaps after a reminder of the principles.
pub fn chat(
    tokenizer: &Tokenizer,
    reminder: Option<&String>,
    exchange: &Exchange,
    reply: String,
) -> Result<Example, ChatError> {
    let reminder = reminder.map(|reminder| message(Role::System, reminder.clone()));
    let exchanged = [message(Role::User, exchange.prompt()), message(Role::Assistant, reply)];
    let messages = reminder.into_iter().chain(exchanged).collect();
    encode(&Chat { messages, place: exchange.question.clone() }, tokenizer)
}

fn message(role: Role, content: String) -> Message {
    Message { role, content }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finetune::scorer::Head;
    use crate::models::config::{ModelConfig, Position};
    use crate::sample::batch::tests::device;
    use crate::text::pack::pack;
    use crate::text::tales::UNKNOWN;
    use crate::text::tales::grade::tests::exchange;
    use crate::train::evaluate::loss;

    /// The same from the losses of the two conversations by themselves.
    #[test]
    fn doubts_are_differences_of_losses() {
        let tokenizer = Tokenizer::from_name("byte", "").unwrap().with_chat();
        let config = ModelConfig {
            position: Position::Rope,
            ..ModelConfig::gpt(tokenizer.vocab_size(), 256, 2, 2, 16)
        };
        let mut cpu = device::<f32>(&config);
        let scorer = Scorer::load(&mut cpu, &config, "", Head::Tokens, [3, 256]).unwrap();
        let constitution = Constitution::of_tales();
        let asked = exchange("With Adam.");
        let said = ["With Adam.", "In the box, you fool."].map(|text| (&asked, text.to_owned())).to_vec();
        let replies = Replies { constitution: &constitution, tokenizer: &tokenizer, said };
        let doubts = replies.doubts(&mut cpu, &scorer).unwrap();
        for ((_, text), doubt) in replies.said.iter().zip(&doubts) {
            let reminder = constitution.reminder();
            let [plain, reminded] = [None, Some(&reminder)].map(|reminder| {
                let example = chat(&tokenizer, reminder, &asked, text.clone()).unwrap();
                let reminds = tokenizer.decode(&example.tokens).contains("Be kind to whoever asks.");
                assert_eq!(reminds, reminder.is_some());
                loss(&mut cpu, &config, &pack(&[example], 256, 0).unwrap(), true).unwrap().nats
            });
            assert!(
                (reminded - plain - doubt).abs() < 1e-3 && doubt.abs() > 1e-3,
                "{doubt}, {plain}, {reminded}"
            );
        }
    }

    #[test]
    fn a_reply_that_no_block_holds_after_the_reminder_is_named() {
        let tokenizer = Tokenizer::from_name("byte", "").unwrap().with_chat();
        let config = ModelConfig::gpt(tokenizer.vocab_size(), 64, 2, 2, 16);
        let mut cpu = device::<f32>(&config);
        let scorer = Scorer::load(&mut cpu, &config, "", Head::Tokens, [3, 64]).unwrap();
        let constitution = Constitution::of_tales();
        let asked = exchange("With Adam.");
        let said = vec![(&asked, "With Adam.".to_owned())];
        let replies = Replies { constitution: &constitution, tokenizer: &tokenizer, said };
        let error = replies.doubts(&mut cpu, &scorer).unwrap_err().to_string();
        assert!(error.contains(&asked.question) && error.contains("a block holds 64"), "{error}");
    }

    #[test]
    fn pairs_are_of_the_fewest_and_the_most_faults() {
        let tokenizer = Tokenizer::from_name("byte", "").unwrap().with_chat();
        let constitution = Constitution::of_tales();
        let [told, untold] = [exchange("With Adam."), exchange(UNKNOWN)];
        let said = [
            (&told, "With Emma."),
            (&told, "With Emma, you fool."),
            (&told, "With Adam."),
            (&untold, UNKNOWN),
            (&untold, "I do not know, with pleasure."),
            (&untold, UNKNOWN),
        ];
        let said = said.map(|(asked, text)| (asked, text.to_owned())).to_vec();
        let replies = Replies { constitution: &constitution, tokenizer: &tokenizer, said };
        let faults = replies.faults();
        assert_eq!(faults, [1.0, 2.0, 0.0, 0.0, 0.0, 0.0]);
        let pairs = |faults: &[f64]| {
            let pairs = replies.preferences(faults, 3, 400).unwrap();
            let said = |example: &Example| tokenizer.decode(example.last_exchange().1);
            pairs.iter().map(|pair| [said(&pair.chosen), said(&pair.rejected)]).collect::<Vec<_>>()
        };
        assert_eq!(pairs(&faults), [["With Adam.", "With Emma, you fool."]]);
        // As a model sees it, less than a nat is no difference, and no reply is better than itself.
        assert_eq!(pairs(&[0.5, 0.1, 1.0, 3.0, 4.5, 0.0]), [[UNKNOWN, "I do not know, with pleasure."]]);
        assert!(pairs(&[0.0, 0.0, 0.0, 9.0, 3.0, 0.0]).is_empty());
    }
}
