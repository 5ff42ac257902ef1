//! What the stages of fine-tuning have in common: a base, a run folder, and the run itself.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf, absolute};

use super::job;
use super::resume::{self, file_at, weights_at};
use crate::cli::data::lessons_at;
use crate::cli::device::DeviceArgs;
use crate::cli::failure::{Exit, Usage};
use crate::cli::interrupt::stop_on_interrupt;
use crate::cli::output::Output;
use crate::cli::running::{Screen, Verbs, autotune, choices, keep_choices, memory_used};
use crate::engine::device::Device;
use crate::finetune::base::Base;
use crate::finetune::lessons::FLAWED_TALES;
use crate::finetune::stage::{Method, Stage};
use crate::models::config::ModelConfig;
use crate::run::config::TrainConfig;
use crate::run::folder::RunFolder;
use crate::run::origin::{Origin, Piece};
use crate::run::settings::Settings;
use crate::sample::batch::Progress;
use crate::sample::load::described;
use crate::text::corpus::TALES;
use crate::text::tokenizer::Tokenizer;
use crate::train::event::Event;
use crate::train::session::{Ending, Session};
use crate::train::source::Source;
use crate::train::trainer::Trainer;

/// The model's sizes and its tokenizer are those of the base.
#[derive(Debug, clap::Args)]
pub struct StageArgs {
    /// The folder of the model to begin with
    #[arg(long, env = "LAL_MODEL", value_name = "DIR", required_unless_present = "resume")]
    pub model: Option<PathBuf>,
    /// Train low-rank adapters of this rank beside frozen weights; model.safetensors holds them merged. 0 trains
    /// every weight
    #[arg(long, visible_alias = "lora", env = "LAL_LORA_RANK", value_name = "R")]
    pub lora_rank: Option<usize>,
    #[command(flatten)]
    pub settings: Settings,
    #[command(flatten)]
    device: DeviceArgs,
    /// A TOML file of settings, such as another run's config.toml; flags and variables go before it
    #[arg(long, env = "LAL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder of the run [default: runs/PRESET-STAGE-N]
    #[arg(long, env = "LAL_OUT", value_name = "DIR", conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// Continue the run in this folder from its last checkpoint. --steps, --schedule, --learning-rate,
    /// --min-learning-rate, --warmup-steps, --eval-every, --eval-iters, --sample-tokens, --save-every and the device may
    /// change, and --model, --data, --reward and --principles name copies of the same; what changes is recorded. All
    /// else the run keeps
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    resume: Option<PathBuf>,
}

/// What one stage adds.
pub trait Job {
    /// What a run on this data does where nothing else is asked for.
    fn defaults(&self, data: Option<&str>) -> Settings;

    /// Reads what there is to learn, and says how many tokens that are, and how many to judge by. Everything that can
    /// be wrong with it is found here, before anything is loaded.
    ///
    /// # Errors
    /// When there is nothing to learn from.
    fn read(&mut self, data: &str, at: &Learner) -> anyhow::Result<[usize; 2]>;

    /// Leaves out all but so many examples of each part, where each is work before the first step.
    fn keep(&mut self, _examples: usize) {}

    /// Whether the base's weights are needed even where a run is continued.
    fn needs_base(&self) -> bool {
        false
    }

    /// The batches of what was read. Where replies or a reference come before them, `progress` is called.
    ///
    /// # Errors
    /// When it does not fit the model, or the device fails.
    fn source(
        &mut self,
        device: &mut dyn Device,
        base: Option<&mut Base>,
        at: &Learner,
        progress: Progress,
    ) -> anyhow::Result<Box<dyn Source>>;

    /// Tells how good the model in training is, before the first step and behind the last.
    ///
    /// # Errors
    /// When the device fails.
    fn judge(
        &mut self,
        device: &mut dyn Device,
        step: u64,
        at: &Learner,
        output: Output,
    ) -> anyhow::Result<()>;

    /// What to do with the model, which is called RUN.
    fn next(&self) -> &'static str {
        "ask: lal chat --model RUN"
    }
}

/// A model about to learn.
pub struct Learner {
    pub config: TrainConfig,
    pub model: ModelConfig,
    pub tokenizer: Tokenizer,
}

impl Learner {
    /// The model of a run that was begun.
    ///
    /// # Errors
    /// When a file of the run is missing or damaged.
    pub fn of_run(folder: &RunFolder, stage: &Stage, config: TrainConfig) -> anyhow::Result<Self> {
        let (model, tokenizer) = described(folder.path())?;
        let model = ModelConfig { dropout: config.model.dropout, lora_rank: stage.lora_rank, ..model };
        Ok(Self { config, model, tokenizer })
    }
}

/// A run before its first step.
pub struct Plan {
    pub resumed: Option<RunFolder>,
    pub job: Box<dyn Job>,
    pub base: Option<Base>,
    pub stage: Stage,
    pub learner: Learner,
    pub origin: Origin,
}

/// Runs a stage whose options, where they are other than by default, are those `given`.
pub fn run(
    args: &StageArgs,
    method: Method,
    given: &BTreeSet<String>,
    output: Output,
) -> anyhow::Result<Exit> {
    let output = output.outlasting();
    let Plan { resumed, mut job, mut base, stage, learner, mut origin } = match &args.resume {
        Some(path) => resume::plan(path, args, method, given)?,
        None => begin(args, method, output)?,
    };
    let counts = match learner.config.data.as_deref() {
        Some(data) => {
            let counts = job.read(data, &learner)?;
            if resumed.is_none() {
                origin.set("data", lessons_at(data)?);
            }
            counts
        }
        None => {
            let what = "there is nothing to learn from: give --data a .jsonl, or tales";
            return Err(Usage(what.into()).into());
        }
    };

    let mut opened = args.device.open_with(autotune(resumed.as_ref(), output)?, output)?;
    let mut bar = None;
    let mut progress = |done, of| {
        bar.get_or_insert_with(|| output.progress("prepared")).at(done as u64, of as u64);
    };
    let source = job.source(opened.device(), base.as_mut(), &learner, &mut progress)?;
    drop(bar);
    let trainer = Trainer::new(opened.device(), learner.config.clone(), learner.model.clone(), source)?;
    if let Some(base) = &mut base {
        base.write_to(opened.device(), &trainer.parameters(), learner.config.seed)?;
    }
    let is_resumed = resumed.is_some();
    let starts = resumed.as_ref().is_none_or(|folder| !folder.has_checkpoint());
    let name = stage.method.to_string();
    let folder = match (resumed, &args.out) {
        (Some(folder), _) => folder,
        (None, Some(path)) => RunFolder::create(path)?,
        (None, None) => RunFolder::create_numbered(Path::new("runs"), &learner.config.preset, &name)?,
    };
    let start = Event::start(opened.kind(), opened.device().describe(), &trainer, counts, folder.path());
    let choices = choices(&opened)?;
    let note = || -> anyhow::Result<()> {
        keep_choices(choices.as_deref(), &folder)?;
        stage.write(folder.path())?;
        Ok(origin.write(folder.path())?)
    };
    // A new run has all that describes it before it has settings; one that is refused is left as it was.
    if !is_resumed {
        note()?;
    }

    let stop = stop_on_interrupt(output, true)?;
    let again = format!("finetune {name}");
    let verbs = Verbs { again: &again, next: job.next() };
    let mut screen = Screen::new(output, &trainer, folder.path(), None, verbs);
    screen.tell(&start)?;
    let mut session =
        Session::open(opened.device(), trainer, &learner.tokenizer, &folder, &stop, is_resumed, None)?;
    if is_resumed {
        note()?;
    }
    session.remarks().iter().for_each(|remark| screen.remark(remark));
    screen.begin(session.trainer.step);
    let planned = session.trainer.memory().total();
    if starts {
        job.judge(session.device, session.trainer.step, &learner, output)?;
    }
    let mut done = None;
    let ending = session.run(&mut |event| match event {
        Event::Done { .. } => {
            done = Some(event.clone());
            Ok(())
        }
        _ => screen.tell(event),
    })?;
    if ending == Ending::Finished {
        job.judge(session.device, session.trainer.step, &learner, output)?;
    }
    done.iter().try_for_each(|done| screen.tell(done))?;
    screen.remark(&memory_used(planned, &opened));
    Ok(if ending == Ending::Stopped { Exit::Interrupted } else { Exit::Done })
}

/// A new run, all of it checked but the data.
fn begin(args: &StageArgs, mut method: Method, output: Output) -> anyhow::Result<Plan> {
    let mut origin = Origin::default();
    if let Some((part, place)) = method.named() {
        let find = if part == "reward" { weights_at } else { file_at };
        let piece = find(&place.to_string_lossy())?;
        *place = piece.place().into();
        origin.set(part, piece);
    }
    let job = job(&method)?;
    let Some(path) = args.model.clone() else { return Err(Usage("give a --model".into()).into()) };
    let asked = match &args.config {
        Some(file) => args.settings.over(&Settings::from_file(file)?)?,
        // Numbers outside their range must not be compared with the base's first.
        None => args.settings.over(&Settings::default())?,
    };
    let base = Base::open(&path)?;
    base.agrees(&asked)?;
    let data = TrainConfig::new(&asked.over(base.settings())?)?.data;
    let defaults = job.defaults(data.as_deref());
    let mut config = TrainConfig::new(&asked.over(&defaults)?.over(base.settings())?)?;
    if asked.dropout.is_none() && config.model.dropout != base.config.dropout {
        let (now, of_base) = (config.model.dropout, base.config.dropout);
        output.remark(format!("dropout is {now} in this stage, {of_base} in the base: see --help"));
    }
    // That holds wherever the run is continued from.
    config.data = config.data.map(|data| match data.as_str() {
        TALES | FLAWED_TALES => data,
        path => absolute(path).ok().and_then(|path| path.to_str().map(str::to_owned)).unwrap_or(data),
    });
    let lora_rank = args.lora_rank.unwrap_or(0);
    let model = base.for_chat(config.model.block_size, config.model.dropout, lora_rank)?;
    model.check()?;
    let tokenizer = base.chat_tokenizer();
    let weights = Piece::of_model(&path)?;
    let stage = Stage { model: weights.place().into(), lora_rank, method };
    origin.set("model", weights);
    let learner = Learner { config, model, tokenizer };
    Ok(Plan { resumed: None, job, base: Some(base), stage, learner, origin })
}
