//! Conversations to fine-tune on: those of a file, or about the Tales world.

use std::path::Path;

use rayon::prelude::*;

use super::constitution::Constitution;
use super::examples::hold_out;
use super::questions::{LONGEST_QUESTION, Questions};
use crate::text::chat::{Chat, ChatError, Example, encode, read};
use crate::text::corpus::{TALES, TALES_SEED};
use crate::text::tales::{Demonstration, Part, Tales, messages};
use crate::text::tokenizer::Tokenizer;

/// The name of questions about tales with imperfect answers: some are invented, and some are rude.
pub const FLAWED_TALES: &str = "tales-flawed";

/// Conversations about tales to train on.
const TALES_CONVERSATIONS: usize = 20_000;
/// The most questions of a conversation.
const MOST_QUESTIONS: usize = 16;
/// The most characters of a conversation about a tale: for each token of a block (a question has more than a tale), and
/// altogether.
const CHARS_PER_TOKEN: f64 = 2.6;
const LONGEST_CONVERSATION: usize = 650;

/// Conversations as tokens, in two parts.
#[derive(Clone, Debug)]
pub struct SftDataset {
    /// For errors and titles.
    pub name: String,
    pub train: Vec<Example>,
    pub held_out: Questions,
}

impl SftDataset {
    /// The conversations of `--data`: about tales, as they should be or flawed, or those of a file.
    pub fn load(
        data: &str,
        held_out: usize,
        block_size: usize,
        tokenizer: &Tokenizer,
    ) -> Result<Self, ChatError> {
        match data {
            TALES | FLAWED_TALES => {
                let flawed = data == FLAWED_TALES;
                Self::of_tales(flawed, TALES_CONVERSATIONS, held_out, block_size, tokenizer)
            }
            path => Self::of_file(Path::new(path), tokenizer),
        }
    }

    /// The conversations of a `.jsonl`, every tenth held out.
    pub fn of_file(path: &Path, tokenizer: &Tokenizer) -> Result<Self, ChatError> {
        let chats = read(path)?;
        let examples = chats.iter().map(|chat| encode(chat, tokenizer)).collect::<Result<_, _>>()?;
        let (train, examples) = hold_out(examples);
        let held_out = Questions { exchanges: Vec::new(), examples };
        Ok(Self { name: path.display().to_string(), train, held_out })
    }

    /// `train` conversations of several questions each about tales of the built-in world, and `held_out` single
    /// questions that are not in the training data. With `flawed`, the conversations are imperfect
    /// [demonstrations](Tales::demonstrations); the held-out questions never are.
    ///
    /// Conversations that a block of `block_size` tokens does not hold are left out, unless that is most of them:
    /// then it is for [`pack`](crate::text::pack::pack) to say so.
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
        let held_out = Questions::held_out(held_out, tokenizer)?;
        let fits = |example: &Example| example.tokens.len() <= block_size + 1;
        if 2 * train.iter().filter(|example| fits(example)).count() > train.len() {
            train.retain(fits);
        }
        Ok(Self { name: name.to_owned(), train, held_out })
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
        let dataset = SftDataset::of_file(&path, &tokenizer()).unwrap();
        assert_eq!((dataset.train.len(), dataset.held_out.examples.len()), (18, 2));
        assert!(dataset.name.ends_with("chats.jsonl") && dataset.train[0].place.ends_with(":1"));
    }

    /// In bytes, so that a token is a character: a few conversations are too long for the block, and left out.
    #[test]
    fn tales_are_asked_after_in_several_ways_and_fit_the_block() {
        let all = SftDataset::of_tales(false, 60, 20, 10_000, &tokenizer()).unwrap();
        assert_eq!((all.train.len(), all.held_out.examples.len()), (60, 20));
        let answers = |example: &Example| {
            (1..example.answer.len()).filter(|&i| example.answer[i] && !example.answer[i - 1]).count()
        };
        let mean = all.train.iter().map(answers).sum::<usize>() as f64 / 60.0;
        assert!(mean > 2.0 && all.held_out.examples.iter().all(|example| answers(example) == 1), "{mean}");
        let mut lengths: Vec<usize> = all.train.iter().map(|example| example.tokens.len()).collect();
        lengths.sort_unstable();
        let some = SftDataset::of_tales(false, 60, 20, lengths[50], &tokenizer()).unwrap();
        assert!((51..60).contains(&some.train.len()), "{}", some.train.len());
        assert_eq!(SftDataset::of_tales(false, 60, 20, 8, &tokenizer()).unwrap().train.len(), 60);
    }

    #[test]
    fn flawed_demonstrations_are_judged_by_what_is_right() {
        let [plain, flawed] =
            [false, true].map(|flawed| SftDataset::of_tales(flawed, 60, 20, 10_000, &tokenizer()).unwrap());
        assert_eq!(&plain.held_out, &flawed.held_out);
        assert_ne!(plain.train, flawed.train);
        assert_eq!((flawed.held_out.exchanges.len(), flawed.name.as_str()), (20, FLAWED_TALES));
    }
}
