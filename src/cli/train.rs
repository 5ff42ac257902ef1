//! `lal train`: pretraining, from settings to a run folder.

use std::path::{Path, PathBuf};

use super::data::DataPlaces;
use super::device::DeviceArgs;
use super::failure::{Exit, Usage};
use super::output::Output;
use super::running::{Screen, Verbs, autotune, keep_choices, memory_used, stop_on_interrupt};
use crate::finetune::stage::STAGE;
use crate::inspect::masked::restored;
use crate::models::abilities::Inability;
use crate::models::config::ModelConfig;
use crate::run::config::TrainConfig;
use crate::run::folder::RunFolder;
use crate::run::settings::Settings;
use crate::text::corpus::{Corpus, Source};
use crate::text::dataset::Dataset;
use crate::text::tokenizer::Tokenizer;
use crate::train::session::{Ending, Event, Session};
use crate::train::source;
use crate::train::trainer::Trainer;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    places: DataPlaces,
    /// A TOML file of settings, such as another run's config.toml; flags and variables go before it
    #[arg(long, env = "LAL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder of the run [default: runs/PRESET-DATA-N]
    #[arg(long, env = "LAL_OUT", value_name = "DIR", conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// Continue the run in this folder from its last checkpoint
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    resume: Option<PathBuf>,
}

/// Windows over which a model that fills in hidden characters is measured.
const MASKED_WINDOWS: usize = 400;

/// What goes on with such a model, and what to do with it.
fn verbs(model: &ModelConfig) -> Verbs<'static> {
    let next = match model.predicts_next() {
        Ok(()) => "write: sample --model RUN --prompt \"O \"",
        Err(Inability::PredictsNeighbours) => "look: lal inspect embeddings --model RUN --word the",
        Err(_) => "look: lal inspect attention --model RUN --prompt \"O \"",
    };
    Verbs { again: "train", next }
}

pub fn run(args: Args, output: Output) -> anyhow::Result<Exit> {
    let resumed = args.resume.as_deref().map(RunFolder::open).transpose()?;
    if let Some(folder) = args.resume.as_deref().filter(|folder| folder.join(STAGE).exists()) {
        let folder = folder.display();
        return Err(Usage(format!("{folder} is a run of fine-tuning: finetune sft --resume {folder}")).into());
    }
    let settings = match (&resumed, &args.config) {
        (Some(folder), _) => args.settings.over(&folder.settings()?)?,
        (None, Some(file)) => args.settings.over(&Settings::from_file(file)?)?,
        (None, None) => args.settings.clone(),
    };
    let config = TrainConfig::new(&settings)?;
    let corpus = args.places.locate(config.data.as_deref(), output)?;
    let tokenizer = match &resumed {
        Some(folder) => Tokenizer::load(folder.path())?,
        None => config.tokenizer(&corpus.text)?,
    };
    let dataset = Dataset::new(&corpus.name, &corpus.text, &tokenizer)?;
    dataset.check(config.block_size)?;
    let model = config.model(tokenizer.vocab_size());
    model.check()?;
    let floor = floor(&corpus, &dataset, &model);

    let mut opened = args.device.open(autotune(resumed.as_ref())?, output)?;
    let counts = [dataset.train.len(), dataset.val.len()];
    let fills_in_tales =
        !model.causal && matches!(corpus.source, Source::Tales { .. }) && tokenizer.name() == "char";
    let hidden = fills_in_tales.then(|| dataset.val.clone());
    let source = source::pretraining(&config, &model, dataset);
    let trainer = Trainer::new(opened.device(), config, model.clone(), source)?;
    let start = Event::start(opened.kind(), opened.device().describe(), &trainer, counts);
    let is_resumed = resumed.is_some();
    let folder = match (resumed, &args.out) {
        (Some(folder), _) => folder,
        (None, Some(path)) => RunFolder::create(path)?,
        (None, None) => RunFolder::create_numbered(Path::new("runs"), &trainer.config.preset, &corpus.name)?,
    };
    keep_choices(&opened, &folder)?;

    let stop = stop_on_interrupt()?;
    let mut screen = Screen::new(output, &trainer, folder.path(), floor, verbs(&trainer.model));
    screen.tell(&start)?;
    let mut session = Session::open(opened.device(), trainer, &tokenizer, &folder, &stop, is_resumed, floor)?;
    screen.bar.set_position(session.trainer.step);
    let planned = session.trainer.memory().total();
    let ending = session.run(&mut |event| screen.tell(event))?;
    if let (Some(val), Ending::Finished) = (&hidden, ending) {
        let found = restored(opened.device(), &model, &tokenizer, &corpus.text, val, MASKED_WINDOWS)?;
        screen.remark(&format!(
            "{:.1}% of {} hidden characters restored; who knows the grammar restores {:.1}% at most",
            100.0 * found.model,
            found.asked,
            100.0 * found.optimum
        ));
    }
    screen.remark(&memory_used(planned, &opened));
    Ok(if ending == Ending::Stopped { Exit::Interrupted } else { Exit::Done })
}

/// The lowest loss that any model which reads from left to right can reach, in nats per token, where the text tells. One
/// that sees both sides, or whose loss is of something else, has no such floor.
pub fn floor(corpus: &Corpus, dataset: &Dataset, model: &ModelConfig) -> Option<f64> {
    if model.predicts_next().is_err() {
        return None;
    }
    // A text has one spelling in tokens: they carry together what its characters do.
    let chars_per_token = corpus.text[corpus.text.len() - dataset.val_bytes..].chars().count() as f64
        / dataset.val.len() as f64;
    match &corpus.source {
        Source::Tales { floor, .. } => Some(floor * chars_per_token),
        _ => None,
    }
}
