//! A conversation with a model, of which the model sees as much as fits its block.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::load::Model;
use super::reply::ReplyError;
use super::strategy::Sampler;
use crate::engine::device::Device;
use crate::text::chat::{ChatError, Message, Role, encode_prompt};

/// Messages in turn: the user's and the assistant's, perhaps after one of the system.
#[derive(Clone, Debug)]
pub struct Conversation {
    messages: Vec<Message>,
    /// Exchanges at the beginning that the model no longer sees.
    forgotten: usize,
    /// The most tokens of an answer.
    most: usize,
    rng: ChaCha8Rng,
}

/// Why there is no answer; earlier messages stay.
#[derive(Debug, thiserror::Error)]
pub enum ConversationError {
    #[error(transparent)]
    Chat(#[from] ChatError),
    #[error(transparent)]
    Reply(#[from] ReplyError),
    #[error("this message has {tokens} tokens, and the model sees {block_size} at once: shorten it")]
    TooLong { tokens: usize, block_size: usize },
}

impl Conversation {
    /// An empty conversation, perhaps with a system message. Answers have at most `most` tokens.
    pub fn new(system: Option<String>, most: usize, seed: u64) -> Self {
        let messages = system.map(|content| Message { role: Role::System, content }).into_iter().collect();
        Self { messages, forgotten: 0, most, rng: ChaCha8Rng::seed_from_u64(seed) }
    }

    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Exchanges at the beginning that the model no longer sees.
    pub fn forgotten(&self) -> usize {
        self.forgotten
    }

    /// Forgets all but the system message.
    pub fn reset(&mut self) {
        self.messages.retain(|message| message.role == Role::System);
        self.forgotten = 0;
    }

    /// Sends `text` to the model and returns its answer; `tell` gets each piece as soon as it is whole. Where a block
    /// does not hold the whole conversation, the oldest exchanges are left out.
    pub fn say(
        &mut self,
        device: &mut dyn Device,
        model: &mut Model,
        text: &str,
        sampler: &mut Sampler,
        tell: &mut dyn FnMut(&str) -> std::io::Result<()>,
    ) -> Result<String, ConversationError> {
        let said = Message { role: Role::User, content: text.to_owned() };
        let (prompt, forgotten) = self.prompt(model, &said)?;
        // What the model no longer sees would be dropped in the middle of the answer: it ends before.
        let most = self.most.min(model.config.block_size + 1 - prompt.len());
        let answer = model.reply(device, &prompt, most, sampler, &mut self.rng, tell)?;
        let content = model.tokenizer.decode(&answer);
        self.forgotten = forgotten;
        self.messages.extend([said, Message { role: Role::Assistant, content: content.clone() }]);
        Ok(content)
    }

    /// The tokens after which the assistant speaks, with as many of the latest exchanges as a block holds, and how
    /// many are left out.
    fn prompt(&self, model: &Model, said: &Message) -> Result<(Vec<u32>, usize), ConversationError> {
        let block_size = model.config.block_size;
        let system = usize::from(self.messages.first().is_some_and(|first| first.role == Role::System));
        let exchanges = (self.messages.len() - system) / 2;
        let mut forgotten = self.forgotten;
        loop {
            let latest = self.messages[system + 2 * forgotten..].iter().chain([said]);
            let seen: Vec<Message> = self.messages[..system].iter().chain(latest).cloned().collect();
            let prompt = encode_prompt(&seen, &model.tokenizer)?;
            let tokens = prompt.len();
            if tokens <= block_size {
                return Ok((prompt, forgotten));
            }
            if forgotten == exchanges {
                return Err(ConversationError::TooLong { tokens, block_size });
            }
            forgotten += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::config::ModelConfig;
    use crate::sample::generator::Generator;
    use crate::text::tokenizer::Tokenizer;

    /// Characters ! a b are 1, 2, 3 after the newline; user, assistant, end are 4, 5, 6.
    fn model(block_size: usize) -> Model {
        let tokenizer = Tokenizer::from_name("char", "!ab\n").unwrap().with_chat();
        let config = ModelConfig::gpt(7, block_size, 1, 1, 2);
        Model { generator: Generator::new(config.clone()), config, tokenizer }
    }

    fn user(content: &str) -> Message {
        Message { role: Role::User, content: content.to_owned() }
    }

    fn talk() -> Conversation {
        let mut talk = Conversation::new(Some("!".to_owned()), 9, 0);
        for (asked, answered) in [("a", "bb"), ("b", "a")] {
            let answer = Message { role: Role::Assistant, content: answered.to_owned() };
            talk.messages.extend([user(asked), answer]);
        }
        talk
    }

    #[test]
    fn the_model_sees_every_turn_by_hand() {
        let (prompt, forgotten) = talk().prompt(&model(99), &user("ab")).unwrap();
        let turns =
            [[4, 1, 0, 0, 2, 6].as_slice(), &[5, 3, 3, 6], &[4, 3, 6], &[5, 2, 6], &[4, 2, 3, 6], &[5]];
        assert_eq!((prompt, forgotten), (turns.concat(), 0));
    }

    #[test]
    fn the_oldest_exchanges_go_where_a_block_is_full_but_not_the_system() {
        let seen = |block_size| talk().prompt(&model(block_size), &user("ab"));
        assert_eq!(seen(21).unwrap().1, 0);
        let (prompt, forgotten) = seen(20).unwrap();
        let turns = [[4, 1, 0, 0, 3, 6].as_slice(), &[5, 2, 6], &[4, 2, 3, 6], &[5]];
        assert_eq!((prompt, forgotten), (turns.concat(), 1));
        let (prompt, forgotten) = seen(8).unwrap();
        assert_eq!((prompt, forgotten), (vec![4, 1, 0, 0, 2, 3, 6, 5], 2));
        let error = seen(7).unwrap_err().to_string();
        assert!(error.contains("8 tokens") && error.contains("sees 7"), "{error}");
    }

    #[test]
    fn a_reset_forgets_all_but_the_system() {
        let mut talk = talk();
        talk.forgotten = 1;
        talk.reset();
        assert_eq!((talk.messages().len(), talk.messages()[0].role, talk.forgotten()), (1, Role::System, 0));
    }
}
