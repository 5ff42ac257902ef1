//! `lal finetune sft`: a model that continues text learns to answer.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::device::DeviceArgs;
use crate::cli::failure::{Exit, Usage};
use crate::cli::output::Output;
use crate::cli::running::{Screen, Verbs, autotune, keep_choices, memory_used, stop_on_interrupt};
use crate::engine::device::Device;
use crate::finetune::answers::{exact_match, replies};
use crate::finetune::base::Base;
use crate::finetune::lessons::{FLAWED_TALES, Lessons, TALES_CONVERSATIONS, TALES_HELD_OUT};
use crate::finetune::sft::{Conversations, defaults, defaults_for_tales};
use crate::finetune::stage::{Kind, Stage};
use crate::models::config::ModelConfig;
use crate::run::config::TrainConfig;
use crate::run::folder::RunFolder;
use crate::run::model_file::read_config;
use crate::run::settings::Settings;
use crate::sample::generator::Generator;
use crate::sample::load::Model;
use crate::sample::strategy::Strategy;
use crate::text::chat::Example;
use crate::text::corpus::TALES;
use crate::text::tales::judge::{Tally, judge};
use crate::text::tokenizer::Tokenizer;
use crate::train::session::{Ending, Event, Session};
use crate::train::trainer::Trainer;

/// `--data` is a .jsonl of conversations; or `tales` for questions about the built-in world, rightly answered, or
/// `tales-flawed` for the same as people answer them who invent what they do not know and are rude to some. The
/// model's sizes and its tokenizer are those of the base.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder of the pretrained model
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
    /// The folder of the run [default: runs/PRESET-sft-N]
    #[arg(long, env = "LAL_OUT", value_name = "DIR", conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// Continue the run in this folder from its last checkpoint
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "lora_rank"])]
    resume: Option<PathBuf>,
}

const VERBS: Verbs = Verbs { again: "finetune sft", next: "ask: chat --model RUN" };

/// How held-out questions about tales are answered: to the letter, and as the world's [judge] sees it.
#[derive(Serialize)]
#[serde(tag = "event", rename = "answers")]
struct Answers {
    step: u64,
    questions: usize,
    exact_match: f64,
    accuracy: f64,
    honesty: f64,
    kindness: f64,
}

/// Where a run starts: from a base, or from a checkpoint of its own.
enum Start {
    Fresh(Box<Base>),
    Resumed(RunFolder),
}

/// A run before its first step.
struct Plan {
    start: Start,
    stage: Stage,
    config: TrainConfig,
    model: ModelConfig,
    tokenizer: Tokenizer,
}

pub fn run(args: Args, output: Output) -> anyhow::Result<Exit> {
    let Plan { start, stage, config, model, tokenizer } = plan(&args)?;
    let lessons = lessons(&config, &tokenizer)?;
    let source = Conversations::new(&lessons.name, &lessons.train, &lessons.held_out, &config, &model)?;

    let (resumed, base) = match start {
        Start::Fresh(base) => (None, Some(base)),
        Start::Resumed(folder) => (Some(folder), None),
    };
    let mut opened = args.device.open(autotune(resumed.as_ref())?, output)?;
    let tokens = |examples: &[Example]| examples.iter().map(|example| example.tokens.len()).sum();
    let (train_tokens, val_tokens) = (tokens(&lessons.train), tokens(&lessons.held_out));
    let trainer = Trainer::new(opened.device(), config, model, Box::new(source))?;
    if let Some(mut base) = base {
        base.write_to(opened.device(), &trainer.parameters(), trainer.config.seed)?;
    }
    let start = Event::Start {
        device: opened.kind(),
        adapter: opened.device().describe(),
        parameters: trainer.model.n_parameters()?,
        vocab_size: trainer.model.vocab_size,
        train_tokens,
        val_tokens,
        memory_bytes: trainer.memory().total(),
    };
    let is_resumed = resumed.is_some();
    let folder = match (resumed, &args.out) {
        (Some(folder), _) => folder,
        (None, Some(path)) => RunFolder::create(path)?,
        (None, None) => RunFolder::create_numbered(Path::new("runs"), &trainer.config.preset, "sft")?,
    };
    keep_choices(&opened, &folder)?;
    stage.write(folder.path())?;

    let stop = stop_on_interrupt()?;
    let mut screen = Screen::new(output, &trainer.config, folder.path(), None, VERBS);
    screen.tell(&start)?;
    let mut session = Session::open(opened.device(), trainer, &tokenizer, &folder, &stop, is_resumed, None)?;
    screen.bar.set_position(session.trainer.step);
    let planned = session.trainer.memory().total();
    if !is_resumed {
        count(session.device, &session.trainer, &tokenizer, &lessons, output)?;
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
        count(session.device, &session.trainer, &tokenizer, &lessons, output)?;
    }
    done.iter().try_for_each(|done| screen.tell(done))?;
    screen.remark(&memory_used(planned, &opened));
    Ok(if ending == Ending::Stopped { Exit::Interrupted } else { Exit::Done })
}

/// What is to be done, all of it checked but the lessons.
fn plan(args: &Args) -> anyhow::Result<Plan> {
    if let Some(path) = &args.resume {
        let folder = RunFolder::open(path)?;
        let stage = Stage::read(path)?;
        let config = TrainConfig::new(&args.settings.over(&folder.settings()?)?)?;
        let (model, _) = read_config(path)?;
        let model = ModelConfig { dropout: config.dropout, lora_rank: stage.lora_rank, ..model };
        let tokenizer = Tokenizer::load(path)?;
        return Ok(Plan { start: Start::Resumed(folder), stage, config, model, tokenizer });
    }
    let Some(path) = args.model.clone() else { return Err(Usage("give a --model".into()).into()) };
    let asked = match &args.config {
        Some(file) => args.settings.over(&Settings::from_file(file)?)?,
        None => args.settings.clone(),
    };
    let base = Base::open(&path)?;
    base.agrees(&asked)?;
    let data = TrainConfig::new(&asked.over(base.settings())?)?.data;
    let defaults = match data.as_deref() {
        Some(TALES | FLAWED_TALES) => defaults_for_tales(),
        _ => defaults(),
    };
    let config = TrainConfig::new(&asked.over(&defaults)?.over(base.settings())?)?;
    let lora_rank = args.lora_rank.unwrap_or(0);
    let model = base.for_chat(config.block_size, config.dropout, lora_rank)?;
    model.check()?;
    let tokenizer = base.chat_tokenizer();
    let stage = Stage { kind: Kind::Sft, model: path, lora_rank };
    Ok(Plan { start: Start::Fresh(Box::new(base)), stage, config, model, tokenizer })
}

fn lessons(config: &TrainConfig, tokenizer: &Tokenizer) -> anyhow::Result<Lessons> {
    Ok(match config.data.as_deref() {
        Some(name @ (TALES | FLAWED_TALES)) => {
            let flawed = name == FLAWED_TALES;
            Lessons::of_tales(flawed, TALES_CONVERSATIONS, TALES_HELD_OUT, config.block_size, tokenizer)?
        }
        Some(path) => Lessons::of_file(Path::new(path), tokenizer)?,
        None => {
            let what = "there is nothing to learn from: give --data a .jsonl of conversations, or tales";
            return Err(Usage(what.into()).into());
        }
    })
}

/// Tells how the model in training answers the held-out questions, where a program can judge that.
fn count(
    device: &mut dyn Device,
    trainer: &Trainer,
    tokenizer: &Tokenizer,
    lessons: &Lessons,
    output: Output,
) -> anyhow::Result<()> {
    if lessons.questions.is_empty() {
        return Ok(());
    }
    let (config, tokenizer) = (trainer.model.clone(), tokenizer.clone());
    let mut model = Model { generator: Generator::new(config.clone()), config, tokenizer };
    let replies = replies(device, &mut model, &lessons.held_out, &Strategy::greedy(), 0)?;
    let exact_match = exact_match(&lessons.held_out, &replies, &model.tokenizer);
    let tally: Tally =
        lessons.questions.iter().zip(&replies).map(|(asked, reply)| judge(asked, reply)).collect();
    let (step, questions) = (trainer.step, tally.questions);
    let (accuracy, honesty, kindness) = (tally.accuracy(), tally.honesty(), tally.kindness());
    if output.json {
        return output.event(&Answers { step, questions, exact_match, accuracy, honesty, kindness });
    }
    let percent = |share: f64| format!("{:.1}%", 100.0 * share);
    Ok(output.line(format!(
        "step {step}: {} of {questions} held-out questions answered to the letter; accuracy {}, honesty {}, kindness {}",
        percent(exact_match),
        percent(accuracy),
        percent(honesty),
        percent(kindness)
    ))?)
}
