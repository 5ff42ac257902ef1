//! `lal train`: pretraining, from settings to a run folder.

use std::path::{Path, PathBuf};

use super::device::DeviceArgs;
use super::failure::{Exit, Usage};
use super::hub::located_if;
use super::launch::Launch;
use super::learned;
use super::output::Output;
use super::places::DataPlaces;
use super::running::{Verbs, autotune, quoted};
use crate::finetune::base::Base;
use crate::finetune::config::{STAGE, StageConfig};
use crate::inspect::embeddings::word;
use crate::inspect::masked::restored;
use crate::models::abilities::Inability;
use crate::models::config::ModelConfig;
use crate::run::config::TrainConfig;
use crate::run::folder::RunFolder;
use crate::run::model_file::read_config_for;
use crate::run::origin::{Origin, Piece};
use crate::run::resume::Kept;
use crate::run::settings::Settings;
use crate::text::corpus::Source;
use crate::text::data::Data;
use crate::text::tokenizer::Tokenizer;
use crate::text::tokens::TokensError;
use crate::train::evaluate::floor;
use crate::train::pretraining::pretraining;
use crate::train::trainer::Trainer;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    places: DataPlaces,
    /// Continue the pretraining of this model, the folder of a run or of a published one or its org/name: begin with
    /// its weights and its tokenizer. It keeps its sizes; --dropout may change, and --block-size up to the tokens that
    /// it can read
    #[arg(long, env = "LAL_INIT", value_name = "MODEL")]
    init: Option<PathBuf>,
    /// A TOML file of settings, such as another run's config.toml; flags and variables override it
    #[arg(long, env = "LAL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of the run [default: runs/PRESET-DATA-N]
    #[arg(long, env = "LAL_OUT", value_name = "DIR", conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// Continue the run in this folder from its last checkpoint. --steps, --schedule, --learning-rate,
    /// --min-learning-rate, --warmup-steps, --eval-every, --eval-iters, --sample-tokens, --save-every and the device
    /// may change, and --data and --val-data may name copies of
    /// the same files. Changes are recorded; all other settings are kept
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    resume: Option<PathBuf>,
}

/// Windows over which a model that fills in hidden characters is measured.
const MASKED_WINDOWS: usize = 400;

/// The command to try next with a model, which is called RUN.
fn next(model: &ModelConfig, tokenizer: &Tokenizer) -> String {
    match model.predicts_next() {
        Ok(()) => "next: sample --model RUN".into(),
        Err(Inability::PredictsNeighbours) => {
            let known = example(tokenizer, "the", |text| word(tokenizer, text).is_ok());
            format!("next: lal inspect embeddings --model RUN --word {}", quoted(&known))
        }
        Err(_) => {
            let known = example(tokenizer, "O ", |text| tokenizer.encode(text).is_ok());
            format!("next: lal inspect attention --model RUN --prompt {}", quoted(&known))
        }
    }
}

/// This text if it is `known` to the tokenizer, or else a token that is, of letters if there is one.
fn example(tokenizer: &Tokenizer, text: &str, known: impl Fn(&str) -> bool) -> String {
    if known(text) {
        return text.to_owned();
    }
    let tokens =
        (0..tokenizer.vocab_size() as u32).map(|id| tokenizer.decode(&[id])).filter(|text| known(text));
    let mut tokens = tokens.collect::<Vec<_>>().into_iter();
    let first = tokens.clone().next();
    tokens.find(|text| text.chars().all(char::is_alphabetic)).or(first).unwrap_or_default()
}

/// A run before its first step.
struct Plan {
    resumed: Option<RunFolder>,
    config: TrainConfig,
    data: Data,
    /// What to validate on, if that is no part of the data.
    val: Option<Data>,
    origin: Origin,
    /// The model to begin with, before a first checkpoint.
    base: Option<Base>,
}

/// The weights of a model to begin with.
fn init_piece(folder: &str) -> anyhow::Result<Piece> {
    Ok(Piece::of_model(Path::new(folder))?)
}

fn begin(args: &Args, output: Output) -> anyhow::Result<Plan> {
    let settings = match &args.config {
        Some(file) => args.settings.over(&Settings::from_file(file)?)?,
        None => args.settings.clone(),
    };
    let mut origin = Origin::default();
    let base = args.init.as_deref().map(Base::open_any).transpose()?;
    let mut config = match (&base, &args.init) {
        (Some(base), Some(folder)) => {
            // Numbers outside their range must not be compared.
            let settings = settings.over(&Settings::default())?;
            base.agrees(&settings)?;
            origin.set("init", Piece::of_model(folder)?);
            settings.over(base.settings())?.resolve()?
        }
        _ => settings.resolve()?,
    };
    let reading = config.reading();
    let data = args.places.locate(config.data.as_deref(), &reading, output)?;
    let piece = Piece::of_data(&data)?;
    config.data = Some(piece.place());
    origin.set("data", piece);
    let mut val = None;
    if let Some(name) = &config.val_data {
        let found = args.places.locate(Some(name), &reading, output)?;
        let piece = Piece::of_data(&found)?;
        config.val_data = Some(piece.place());
        origin.set("val-data", piece);
        val = Some(found);
    }
    Ok(Plan { resumed: None, config, data, val, origin, base })
}

fn resume(path: &Path, args: &Args, output: Output) -> anyhow::Result<Plan> {
    if path.join(STAGE).exists() {
        let (method, folder) = (StageConfig::read(path)?.method, path.display());
        let what = format!("{folder} is a run of fine-tuning: finetune {} --resume {folder}", method.name());
        return Err(Usage(what).into());
    }
    let folder = RunFolder::resume(path)?;
    let (mut config, differences) = folder.settings()?.resumed(&args.settings)?;
    Kept::unless_none(path, differences)?;
    let (mut origin, asked) = (Origin::read(path)?, args.settings.data.as_deref());
    let reading = config.reading();
    let (data, place) = args.places.of_run(&mut origin, config.data.as_deref(), asked, &reading, output)?;
    config.data = Some(place);
    let mut val = None;
    match (&config.val_data, args.settings.val_data.as_deref()) {
        (Some(was), asked) => {
            let (found, place) = args.places.val_of_run(&mut origin, was, asked, &reading, output)?;
            (val, config.val_data) = (Some(found), Some(place));
        }
        (None, Some(asked)) => {
            let what =
                format!("--val-data is {asked}, and this run validates on a part of its data: leave it out");
            return Err(Usage(what).into());
        }
        (None, None) => {}
    }
    let mut base = None;
    let asked = args.init.as_ref().map(|folder| folder.to_string_lossy().into_owned());
    match (origin.part("init").map(Piece::place), asked) {
        (Some(was), asked) => {
            let needed = !folder.has_checkpoint();
            let place = origin.again("init", &was, asked.as_deref(), needed, init_piece)?;
            base = needed.then(|| Base::open_any(Path::new(&place))).transpose()?;
        }
        (None, Some(asked)) => {
            let what = format!("--init is {asked}, and this run began with new weights: leave it out");
            return Err(Usage(what).into());
        }
        (None, None) => {}
    }
    Ok(Plan { resumed: Some(folder), config, data, val, origin, base })
}

pub fn run(mut args: Args, output: Output) -> anyhow::Result<Exit> {
    let output = output.outlasting();
    args.init = located_if(args.init, output)?;
    let Plan { resumed, config, data, val, origin, mut base } = match &args.resume {
        Some(path) => resume(path, &args, output)?,
        None => begin(&args, output)?,
    };
    let tokenizer = match (&resumed, &base) {
        (Some(folder), _) => Tokenizer::load(folder.path())?,
        (None, Some(base)) => base.tokenizer.clone(),
        (None, None) => learned::tokenizer(&config, &data, &args.places, output)?,
    };
    let dataset = learned::dataset(&data, val.as_ref(), &tokenizer, &args.places, output)?;
    dataset.check(config.model.block_size)?;
    let mut model = config.model(tokenizer.vocab_size());
    resumed.as_ref().map_or(Ok(()), |folder| folder.check_model(&model))?;
    // What no setting has a word for.
    if let Some(folder) = resumed.as_ref().filter(|_| origin.part("init").is_some()) {
        model = ModelConfig { dropout: model.dropout, ..read_config_for(folder.path(), &tokenizer)? };
    } else if let Some(base) = &base {
        model = base.for_pretraining(model.block_size, model.dropout)?;
    }
    model.check()?;
    let corpus = data.corpus().filter(|_| val.is_none());
    let floor = corpus.and_then(|corpus| floor(corpus, &dataset, &model));

    let mut opened = args.device.open_with(autotune(resumed.as_ref(), output)?, output)?;
    let counts = [dataset.train.len(), dataset.val.len()];
    let tales = corpus.filter(|corpus| matches!(corpus.source, Source::Tales { .. }));
    let filled_in = tales.filter(|_| !model.causal && tokenizer.name() == "char");
    let hidden = filled_in.map(|tales| Ok::<_, TokensError>((tales, dataset.val.all()?.into_owned())));
    let hidden = hidden.transpose()?;
    let source = pretraining(&config, &model, dataset)?;
    let trainer = Trainer::new(opened.device(), config, model.clone(), source)?;
    if let Some(base) = &mut base {
        base.write_to(opened.device(), &trainer.parameters(), trainer.config.seed)?;
    }
    let steps = trainer.config.steps;
    let next = next(&model, &tokenizer);
    let launch = Launch {
        output,
        resumed,
        out: args.out.as_deref(),
        name: data.title(),
        tokens: counts,
        tokenizer: &tokenizer,
        floor,
        verbs: Verbs { again: "train", next: &next },
        describe: &|folder| Ok(origin.write(folder)?),
    };
    launch.run(&mut opened, trainer, &mut |device, step| {
        let Some((tales, val)) = hidden.as_ref().filter(|_| step == steps) else { return Ok(()) };
        let found = restored(device, &model, &tokenizer, &tales.text, val, MASKED_WINDOWS)?;
        output.remark(format!(
            "masked characters restored: {:.1}% of {}; upper bound by the grammar: {:.1}%",
            100.0 * found.model,
            found.asked,
            100.0 * found.optimum
        ));
        Ok(())
    })
}
