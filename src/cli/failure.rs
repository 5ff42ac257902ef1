//! Exit codes, and errors as one readable line.

use std::io::{ErrorKind, IsTerminal};
use std::process::ExitCode;

use super::output::tell;
use super::visible::is_steering;
use crate::embed::EmbedError;
use crate::engine::device::DeviceError;
use crate::finetune::base::BaseError;
use crate::finetune::config::StageConfigError;
use crate::finetune::constitution::ConstitutionError;
use crate::finetune::lora::LoraError;
use crate::finetune::stage::OptionsError;
use crate::hub::HubError;
use crate::inspect::attention::InspectError;
use crate::models::abilities::Inability;
use crate::models::config::SizeError;
use crate::run::config_error::ConfigError;
use crate::run::convert::ConvertError;
use crate::run::folder::FolderError;
use crate::run::lock::LockError;
use crate::run::model_file::ModelError;
use crate::run::origin::OriginError;
use crate::run::resume::Kept;
use crate::sample::conversation::ConversationError;
use crate::sample::generator::GenerateError;
use crate::sample::load::LoadError;
use crate::sample::strategy::StrategyError;
use crate::text::chat::ChatError;
use crate::text::corpus::CorpusError;
use crate::text::dataset::{DatasetError, needed};
use crate::text::documents::DocumentsError;
use crate::text::pack::TooLong;
use crate::text::store::StoreError;
use crate::text::tokenizer::TokenizerError;
use crate::text::tokens::TokensError;
use crate::train::session::SessionError;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    /// A run or a check failed.
    Failed = 1,
    /// Invalid arguments or settings, or a file that does not exist.
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
        tell(&format!("error: {}", one_line(error)));
    }
    exit
}

/// Ends the program where its arguments make no sense, or ask for help.
pub fn refuse(error: clap::Error) -> ! {
    let ours = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LAL_"));
    let mut given = std::env::args_os().chain(ours.map(|(_, value)| value));
    // What clap prints has colours of its own and quotes what was given: where that would steer the terminal, without.
    if error.use_stderr()
        && std::io::stderr().is_terminal()
        && given.any(|text| is_steering(&text.to_string_lossy()))
    {
        tell(error.render().to_string().trim_end());
        std::process::exit(error.exit_code());
    }
    error.exit()
}

/// The error and its causes in one line, without those that an error before them already includes.
fn one_line(error: &anyhow::Error) -> String {
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
    // What goes missing while a run is under way was there when it was asked for.
    let is_run = error.chain().any(|cause| cause.is::<SessionError>());
    for cause in error.chain() {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            match io.kind() {
                // The reader of a pipe has seen enough: no failure.
                ErrorKind::BrokenPipe => return Exit::Done,
                ErrorKind::NotFound
                | ErrorKind::AlreadyExists
                | ErrorKind::NotADirectory
                | ErrorKind::IsADirectory
                    if !is_run =>
                {
                    return Exit::Usage;
                }
                _ => {}
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
            | BaseError::TooLong { .. }
            | BaseError::Window { .. }
            | BaseError::OtherTokenizer(_)
            | BaseError::Inability(_)
            | BaseError::NoRewards(_),
        ) = cause.downcast_ref()
        {
            return Exit::Usage;
        }
        if let Some(
            InspectError::TooLong { .. }
            | InspectError::Empty
            | InspectError::UnknownToken { .. }
            | InspectError::Inability(_),
        ) = cause.downcast_ref()
        {
            return Exit::Usage;
        }
        if let Some(EmbedError::Inability(_) | EmbedError::Empty { .. } | EmbedError::Recipe { .. }) =
            cause.downcast_ref()
        {
            return Exit::Usage;
        }
        if let Some(GenerateError::UnknownToken { .. }) = cause.downcast_ref() {
            return Exit::Usage;
        }
        if let Some(LoadError::Positions { .. } | LoadError::NoContext(_)) = cause.downcast_ref() {
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
            || cause.is::<DocumentsError>()
            || matches!(
                cause.downcast_ref(),
                Some(StoreError::Documents(_) | StoreError::Learned(_) | StoreError::Tokenizer { .. })
            )
            || matches!(cause.downcast_ref(), Some(TokensError::Unknown { .. }))
            || cause.is::<ChatError>()
            || cause.is::<ConstitutionError>()
            || cause.is::<StageConfigError>()
            || cause.downcast_ref().is_some_and(|error| !matches!(error, LoraError::Adapter(_)))
            || cause.is::<OptionsError>()
            || cause.is::<Kept>()
            || cause.is::<OriginError>()
            || matches!(cause.downcast_ref(), Some(SessionError::TooFewSteps { .. }))
            || cause.downcast_ref().is_some_and(is_usage)
            || cause.downcast_ref().is_some_and(is_asked_wrong)
            || cause.is::<TooLong>()
            || cause.is::<TokenizerError>()
            || matches!(cause.downcast_ref(), Some(ModelError::NoTokenizer(_) | ModelError::NoFolder(_)))
            || matches!(
                cause.downcast_ref(),
                Some(ConvertError::Taken(_) | ConvertError::NoCounterpart { .. })
            )
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

/// Whether what was asked of the hub is not there, and nothing failed.
fn is_asked_wrong(error: &HubError) -> bool {
    use HubError::{NoFile, NoWeights, Offline, Several, Unknown};
    matches!(error, Offline { .. } | Unknown { .. } | NoFile { .. } | NoWeights { .. } | Several { .. })
}

/// What a text is too short for, where the verb has no flag that would change the model's block.
pub fn of_a_model(error: DatasetError) -> anyhow::Error {
    match error {
        DatasetError::TooShort { name, part, have, block, text_needed } => Usage(format!(
            "the {part} of {name} is too short: {have} tokens, and the model reads {} at a time; give {}",
            block + 1,
            needed(text_needed)
        ))
        .into(),
        other => other.into(),
    }
}

/// Invalid arguments.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);
