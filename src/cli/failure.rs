//! Exit codes, and errors as one readable line.

use std::io::ErrorKind;
use std::process::ExitCode;

use crate::engine::device::DeviceError;
use crate::finetune::base::BaseError;
use crate::finetune::constitution::ConstitutionError;
use crate::finetune::critique::CritiqueError;
use crate::finetune::pairs::PairsError;
use crate::finetune::sft::ConversationsError;
use crate::finetune::stage::StageError;
use crate::inspect::attention::InspectError;
use crate::models::abilities::Inability;
use crate::models::config::SizeError;
use crate::run::config::ConfigError;
use crate::run::folder::FolderError;
use crate::run::lock::LockError;
use crate::run::origin::OriginError;
use crate::run::resume::Kept;
use crate::sample::conversation::ConversationError;
use crate::sample::strategy::StrategyError;
use crate::text::chat::ChatError;
use crate::text::corpus::CorpusError;
use crate::text::dataset::DatasetError;
use crate::text::pack::TooLong;
use crate::text::tokenizer::TokenizerError;
use crate::train::session::SessionError;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    /// A run or a check failed.
    Failed = 1,
    /// What was asked for makes no sense, or names something that does not exist.
    Usage = 2,
    NoAdapter = 3,
    /// Stopped by Ctrl-C after saving.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Prints the error and what caused it, and says how the program ends.
pub fn report(error: &anyhow::Error) -> Exit {
    let exit = classify(error);
    if exit != Exit::Done {
        eprintln!("error: {}", told(error));
    }
    exit
}

/// The error and its causes in one line, without those that an error above them has already told.
fn told(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(|cause| cause.to_string()) {
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line += &format!(": {cause}");
        }
    }
    line
}

fn classify(error: &anyhow::Error) -> Exit {
    for cause in error.chain() {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            // The reader of a pipe has seen enough: no failure.
            if io.kind() == ErrorKind::BrokenPipe {
                return Exit::Done;
            }
        }
        match cause.downcast_ref::<DeviceError>() {
            Some(DeviceError::NoAdapter) => return Exit::NoAdapter,
            Some(DeviceError::UnknownAdapter { .. }) => return Exit::Usage,
            _ => {}
        }
        if let Some(
            BaseError::NoConversations(_)
            | BaseError::Differs { .. }
            | BaseError::Positions { .. }
            | BaseError::OtherTokenizer(_)
            | BaseError::NoRewards(_),
        ) = cause.downcast_ref()
        {
            return Exit::Usage;
        }
        if let Some(InspectError::TooLong { .. } | InspectError::Empty) = cause.downcast_ref() {
            return Exit::Usage;
        }
        if let Some(ConversationError::TooLong { .. }) = cause.downcast_ref() {
            return Exit::Usage;
        }
        if cause.is::<ConfigError>()
            || cause.is::<SizeError>()
            || cause.is::<Inability>()
            || cause.is::<StrategyError>()
            || cause.is::<CorpusError>()
            || cause.is::<DatasetError>()
            || cause.is::<ChatError>()
            || cause.is::<ConversationsError>()
            || cause.is::<ConstitutionError>()
            || matches!(cause.downcast_ref(), Some(CritiqueError::Chat(_)))
            || matches!(cause.downcast_ref(), Some(PairsError::TooFew(_)))
            || cause.is::<StageError>()
            || cause.is::<Kept>()
            || cause.is::<OriginError>()
            || matches!(cause.downcast_ref(), Some(SessionError::TooFewSteps { .. }))
            || cause.downcast_ref().is_some_and(is_usage)
            || cause.is::<TooLong>()
            || cause.is::<TokenizerError>()
            || cause.is::<Usage>()
        {
            return Exit::Usage;
        }
    }
    Exit::Failed
}

/// Whether a folder is not as it was asked for, and nothing failed.
fn is_usage(error: &FolderError) -> bool {
    use FolderError::{Config, Edited, Lock, NoRun, Taken, Used};
    matches!(
        error,
        Taken(_) | Used(..) | NoRun(..) | Edited { .. } | Config(_) | Lock(LockError::Held { .. })
    )
}

/// A request that makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);
