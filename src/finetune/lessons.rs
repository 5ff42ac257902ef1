//! What there is to learn from: the conversations of a file, or questions about the Tales world.

use std::path::Path;
use std::slice::from_ref;

use rayon::prelude::*;

use super::constitution::Constitution;
use super::sft::hold_out;
use crate::text::chat::{Chat, ChatError, Example, encode, read};
use crate::text::corpus::{TALES, TALES_SEED};
use crate::text::tales::{Demonstration, Exchange, Part, Tales, messages};
use crate::text::tokenizer::Tokenizer;

/// The name of questions about tales as people answer them who invent what they do not know, and are rude to some.
pub const FLAWED_TALES: &str = "tales-flawed";

/// Conversations about tales to learn from, and single questions to judge by.
pub const TALES_CONVERSATIONS: usize = 20_000;
pub const TALES_HELD_OUT: usize = 300;
/// Single questions for a model to reply to, and to learn from what its replies are worth.
pub const TALES_PROMPTS: usize = 4000;
/// The most questions of a conversation.
const MOST_QUESTIONS: usize = 16;
/// The most characters of a conversation about a tale for each token of a block, which are more in what is asked than
/// in the tale, and all in all; and of a tale with one question.
const CHARS_PER_TOKEN: f64 = 2.6;
const LONGEST_CONVERSATION: usize = 650;
pub const LONGEST_QUESTION: usize = 300;

/// Conversations as tokens, in two parts.
#[derive(Clone, Debug)]
pub struct Lessons {
    /// What errors and titles call them.
    pub name: String,
    pub train: Vec<Example>,
    pub held_out: Vec<Example>,
    /// What was asked in `held_out`, if a program can judge the replies.
    pub questions: Vec<Exchange>,
}

impl Lessons {
    /// The conversations of a `.jsonl`, every tenth held out.
    ///
    /// # Errors
    /// When the file cannot be read, a line is no conversation, or the tokenizer lacks a character of it.
    pub fn of_file(path: &Path, tokenizer: &Tokenizer) -> Result<Self, ChatError> {
        let chats = read(path)?;
        let examples = chats.iter().map(|chat| encode(chat, tokenizer)).collect::<Result<_, _>>()?;
        let (train, held_out) = hold_out(examples);
        Ok(Self { name: path.display().to_string(), train, held_out, questions: Vec::new() })
    }

    /// `train` conversations of several questions each about tales of the built-in world, and `held_out` single
    /// questions that nobody who learns from these has met with their answers. With `flawed`, the conversations are
    /// [demonstrations](Tales::demonstrations) of people who err; what is held out never is.
    ///
    /// Conversations that a block of `block_size` tokens does not hold are left out, unless that is most of them:
    /// then it is for [`pack`](crate::text::pack::pack) to say so.
    ///
    /// # Errors
    /// When the tokenizer lacks the chat tokens, or a character.
    pub fn of_tales(
        flawed: bool,
        train: usize,
        held_out: usize,
        block_size: usize,
        tokenizer: &Tokenizer,
    ) -> Result<Self, ChatError> {
        let world = Tales::new();
        let longest = (CHARS_PER_TOKEN * block_size as f64) as usize;
        let longest = longest.clamp(LONGEST_QUESTION, LONGEST_CONVERSATION);
        let (seed, part, most) = (TALES_SEED, Part::Train, MOST_QUESTIONS);
        let (name, conversations): (_, Vec<_>) = if flawed {
            let reminder = Constitution::of_tales().reminder();
            let shown = world.demonstrations(seed, train, part, longest, most, &reminder);
            (FLAWED_TALES, shown.iter().map(Demonstration::messages).collect())
        } else {
            let told = world.conversations(seed, train, part, longest, most);
            (TALES, told.iter().map(|exchanges| messages(exchanges)).collect())
        };
        let example = |(number, messages)| {
            let place = format!("conversation {} of {name}", number + 1);
            encode(&Chat { messages, place }, tokenizer)
        };
        let train: Vec<_> = conversations.into_par_iter().enumerate().map(example).collect();
        let mut train = train.into_iter().collect::<Result<Vec<Example>, _>>()?;
        let (questions, held_out) = Self::questions(held_out, tokenizer)?;
        let fits = |example: &Example| example.tokens.len() <= block_size + 1;
        if 2 * train.iter().filter(|example| fits(example)).count() > train.len() {
            train.retain(fits);
        }
        Ok(Self { name: name.to_owned(), train, held_out, questions })
    }

    /// `count` held-out questions about tales, and the same as conversations.
    ///
    /// # Errors
    /// As [`of_tales`](Self::of_tales).
    pub fn questions(
        count: usize,
        tokenizer: &Tokenizer,
    ) -> Result<(Vec<Exchange>, Vec<Example>), ChatError> {
        Self::questions_of(Part::HeldOut, count, tokenizer)
    }

    /// The same of another part.
    ///
    /// # Errors
    /// As [`of_tales`](Self::of_tales).
    pub fn questions_of(
        part: Part,
        count: usize,
        tokenizer: &Tokenizer,
    ) -> Result<(Vec<Exchange>, Vec<Example>), ChatError> {
        let questions = Tales::new().questions(TALES_SEED, count, part, LONGEST_QUESTION);
        let example = |(number, exchange): (usize, &Exchange)| {
            let place = format!("question {} of {TALES}", number + 1);
            encode(&Chat { messages: messages(from_ref(exchange)), place }, tokenizer)
        };
        let examples = questions.iter().enumerate().map(example).collect::<Result<_, _>>()?;
        Ok((questions, examples))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer() -> Tokenizer {
        Tokenizer::from_name("byte", "").unwrap().with_chat()
    }

    #[test]
    fn a_file_gives_every_tenth_to_judge_by() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chats.jsonl");
        std::fs::write(&path, "{\"prompt\": \"a\", \"response\": \"b\"}\n".repeat(20)).unwrap();
        let lessons = Lessons::of_file(&path, &tokenizer()).unwrap();
        assert_eq!((lessons.train.len(), lessons.held_out.len()), (18, 2));
        assert!(lessons.name.ends_with("chats.jsonl") && lessons.train[0].place.ends_with(":1"));
    }

    /// In bytes, so that a token is a character: a few conversations are too long for the block, and left out.
    #[test]
    fn tales_are_asked_after_in_several_ways_and_fit_the_block() {
        let all = Lessons::of_tales(false, 60, 20, 10_000, &tokenizer()).unwrap();
        assert_eq!((all.train.len(), all.held_out.len()), (60, 20));
        let answers = |example: &Example| {
            (1..example.answer.len()).filter(|&i| example.answer[i] && !example.answer[i - 1]).count()
        };
        let mean = all.train.iter().map(answers).sum::<usize>() as f64 / 60.0;
        assert!(mean > 2.0 && all.held_out.iter().all(|example| answers(example) == 1), "{mean}");
        let mut lengths: Vec<usize> = all.train.iter().map(|example| example.tokens.len()).collect();
        lengths.sort_unstable();
        let some = Lessons::of_tales(false, 60, 20, lengths[50], &tokenizer()).unwrap();
        assert!((51..60).contains(&some.train.len()), "{}", some.train.len());
        assert_eq!(Lessons::of_tales(false, 60, 20, 8, &tokenizer()).unwrap().train.len(), 60);
    }

    #[test]
    fn flawed_demonstrations_are_judged_by_what_is_right() {
        let [plain, flawed] =
            [false, true].map(|flawed| Lessons::of_tales(flawed, 60, 20, 10_000, &tokenizer()).unwrap());
        assert_eq!((plain.held_out, plain.questions), (flawed.held_out, flawed.questions.clone()));
        assert_ne!(plain.train, flawed.train);
        assert_eq!((flawed.questions.len(), flawed.name.as_str()), (20, FLAWED_TALES));
    }
}
