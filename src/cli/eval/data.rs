//! What a model is asked: the held-out part of its own data, or another file.

use std::path::Path;

use crate::cli::failure::Usage;
use crate::finetune::config::{STAGE, StageConfig};
use crate::finetune::job::data_piece;
use crate::finetune::questions::Questions;
use crate::finetune::sft_dataset::{FLAWED_TALES, SftDataset};
use crate::models::config::ModelConfig;
use crate::run::config::TrainConfig;
use crate::run::folder::SETTINGS;
use crate::run::origin::Origin;
use crate::run::settings::Settings;
use crate::text::chat::{self, ChatError, Example};
use crate::text::corpus::TALES;
use crate::text::documents::Reading;
use crate::text::tokenizer::Tokenizer;

/// What a run learned from; of a model from elsewhere nothing is known.
#[derive(Default)]
pub struct Own {
    pub data: Option<String>,
    pub val_data: Option<String>,
    pub reading: Reading,
    /// Whether it was tuned to answer.
    pub tuned: bool,
    pub origin: Origin,
    /// Whether that are pairs of answers.
    pairs: bool,
}

impl Own {
    pub fn of(folder: &Path) -> anyhow::Result<Self> {
        if !folder.join(SETTINGS).exists() {
            return Ok(Self::default());
        }
        let config = Settings::from_file(&folder.join(SETTINGS))?.resolve()?;
        let tuned = folder.join(STAGE).exists();
        let method = if tuned { Some(StageConfig::read(folder)?.method) } else { None };
        let pairs = method.is_some_and(|method| method.learns_pairs());
        let reading = config.reading();
        let TrainConfig { data, val_data, .. } = config;
        Ok(Self { data, val_data, reading, tuned, origin: Origin::read(folder)?, pairs })
    }
}

/// What a model is asked.
#[derive(Clone, Copy)]
pub struct Data<'a> {
    pub name: &'a str,
    /// How many questions about tales.
    pub questions: usize,
    /// What the run learned from, if that is what it is asked about.
    pub own: Option<&'a Own>,
}

impl Data<'_> {
    /// In the tokens of a model; of a file all of it, as nothing is learned, but of the file that the run learned from
    /// only what was held out.
    pub fn dataset(&self, model: &ModelConfig, tokenizer: &Tokenizer) -> anyhow::Result<SftDataset> {
        let Self { name: data, questions, own } = *self;
        if !tokenizer.has_chat() {
            model.answers()?;
            return Err(ChatError::NoChatTokens(tokenizer.name()).into());
        }
        if data == TALES || data == FLAWED_TALES {
            let held_out = Questions::held_out(questions, tokenizer)?;
            return Ok(SftDataset { name: TALES.into(), train: Vec::new(), held_out });
        }
        if let Some(own) = own {
            if own.pairs {
                let what =
                    "this run learned from pairs of answers: give --data a text, conversations, or tales";
                return Err(Usage(what.into()).into());
            }
            own.origin.clone().again("data", data, None, true, data_piece)?;
            return Ok(SftDataset { train: Vec::new(), ..SftDataset::of_file(Path::new(data), tokenizer)? });
        }
        let chats = chat::read(Path::new(data))?;
        let examples = chats.iter().map(|chat| chat::encode(chat, tokenizer));
        let examples = examples.collect::<Result<Vec<Example>, _>>()?;
        let held_out = Questions { exchanges: Vec::new(), examples };
        Ok(SftDataset { name: data.to_owned(), train: Vec::new(), held_out })
    }
}
