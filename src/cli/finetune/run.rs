//! What the stages of fine-tuning have in common: a base, a run folder, and the run itself.

use std::mem::discriminant;
use std::path::{Path, PathBuf};

use super::job;
use crate::cli::device::DeviceArgs;
use crate::cli::failure::{Exit, Usage};
use crate::cli::output::Output;
use crate::cli::running::{Screen, Verbs, autotune, keep_choices, memory_used, stop_on_interrupt};
use crate::engine::device::Device;
use crate::finetune::base::Base;
use crate::finetune::stage::{Method, Stage};
use crate::models::config::ModelConfig;
use crate::run::config::TrainConfig;
use crate::run::folder::RunFolder;
use crate::run::settings::Settings;
use crate::sample::load::described;
use crate::text::tokenizer::Tokenizer;
use crate::train::session::{Ending, Event, Session};
use crate::train::source::Source;
use crate::train::trainer::Trainer;

/// The model's sizes and its tokenizer are those of the base.
#[derive(Debug, clap::Args)]
pub struct StageArgs {
    /// The folder of the model to begin with
    #[arg(long, env = "LAL_MODEL", value_name = "DIR", required_unless_present = "resume")]
    model: Option<PathBuf>,
    /// Train low-rank adapters of this rank beside frozen weights; model.safetensors holds them merged. 0 trains
    /// every weight
    #[arg(long, visible_alias = "lora", env = "LAL_LORA_RANK", value_name = "R")]
    lora_rank: Option<usize>,
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    device: DeviceArgs,
    /// A TOML file of settings, such as another run's config.toml; flags and variables go before it
    #[arg(long, env = "LAL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder of the run [default: runs/PRESET-STAGE-N]
    #[arg(long, env = "LAL_OUT", value_name = "DIR", conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// Continue the run in this folder from its last checkpoint
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "lora_rank"])]
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

    /// The batches of what was read.
    ///
    /// # Errors
    /// When it does not fit the model, or the device fails.
    fn source(
        &mut self,
        device: &mut dyn Device,
        base: Option<&mut Base>,
        at: &Learner,
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
    /// The model of a run that was begun, with other settings where some are given.
    ///
    /// # Errors
    /// When a file of the run is missing or damaged.
    pub fn of_run(folder: &RunFolder, stage: &Stage, settings: &Settings) -> anyhow::Result<Self> {
        let config = TrainConfig::new(&settings.over(&folder.settings()?)?)?;
        let (model, tokenizer) = described(folder.path())?;
        let model = ModelConfig { dropout: config.dropout, lora_rank: stage.lora_rank, ..model };
        Ok(Self { config, model, tokenizer })
    }
}

/// A run before its first step.
struct Plan {
    resumed: Option<RunFolder>,
    job: Box<dyn Job>,
    base: Option<Base>,
    stage: Stage,
    learner: Learner,
}

pub fn run(args: &StageArgs, method: Method, output: Output) -> anyhow::Result<Exit> {
    let Plan { resumed, mut job, mut base, stage, learner } = plan(args, method, output)?;
    let counts = match learner.config.data.as_deref() {
        Some(data) => job.read(data, &learner)?,
        None => {
            let what = "there is nothing to learn from: give --data a .jsonl, or tales";
            return Err(Usage(what.into()).into());
        }
    };

    let mut opened = args.device.open(autotune(resumed.as_ref())?, output)?;
    let source = job.source(opened.device(), base.as_mut(), &learner)?;
    let trainer = Trainer::new(opened.device(), learner.config.clone(), learner.model.clone(), source)?;
    if let Some(base) = &mut base {
        base.write_to(opened.device(), &trainer.parameters(), learner.config.seed)?;
    }
    let start = Event::start(opened.kind(), opened.device().describe(), &trainer, counts);
    let is_resumed = resumed.is_some();
    let name = stage.method.to_string();
    let folder = match (resumed, &args.out) {
        (Some(folder), _) => folder,
        (None, Some(path)) => RunFolder::create(path)?,
        (None, None) => RunFolder::create_numbered(Path::new("runs"), &learner.config.preset, &name)?,
    };
    keep_choices(&opened, &folder)?;
    stage.write(folder.path())?;

    let stop = stop_on_interrupt()?;
    let again = format!("finetune {name}");
    let verbs = Verbs { again: &again, next: job.next() };
    let mut screen = Screen::new(output, &trainer, folder.path(), None, verbs);
    screen.tell(&start)?;
    let mut session =
        Session::open(opened.device(), trainer, &learner.tokenizer, &folder, &stop, is_resumed, None)?;
    screen.bar.set_position(session.trainer.step);
    let planned = session.trainer.memory().total();
    if !is_resumed {
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

/// What is to be done, all of it checked but the data.
fn plan(args: &StageArgs, method: Method, output: Output) -> anyhow::Result<Plan> {
    if let Some(path) = &args.resume {
        let folder = RunFolder::open(path)?;
        let stage = Stage::read(path)?;
        if discriminant(&stage.method) != discriminant(&method) {
            let method = stage.method;
            let what = format!("this is a run of {method}: continue it with finetune {method} --resume");
            return Err(Usage(what).into());
        }
        let job = job(&stage.method)?;
        let learner = Learner::of_run(&folder, &stage, &args.settings)?;
        let base = if job.needs_base() { Some(Base::open(&stage.model)?) } else { None };
        return Ok(Plan { resumed: Some(folder), job, base, stage, learner });
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
    let config = TrainConfig::new(&asked.over(&job.defaults(data.as_deref()))?.over(base.settings())?)?;
    if asked.dropout.is_none() && config.dropout != base.config.dropout {
        let (now, of_base) = (config.dropout, base.config.dropout);
        output.remark(format!("dropout is {now} in this stage, {of_base} in the base: see --help"));
    }
    let lora_rank = args.lora_rank.unwrap_or(0);
    let model = base.for_chat(config.block_size, config.dropout, lora_rank)?;
    model.check()?;
    let tokenizer = base.chat_tokenizer();
    let stage = Stage { model: path, lora_rank, method };
    Ok(Plan { resumed: None, job, base: Some(base), stage, learner: Learner { config, model, tokenizer } })
}
