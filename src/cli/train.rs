//! `lal train`: pretraining, from settings to a run folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};

use super::data::DataPlaces;
use super::device::{DeviceArgs, Opened, tuning_file};
use super::failure::{Exit, Usage};
use super::output::Output;
use crate::engine::device::gpu::autotune::{Autotune, Choices};
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

/// Where a run folder keeps the kernels that were chosen for it.
const TUNING: &str = "tuning.json";

pub fn run(args: Args, output: Output) -> anyhow::Result<Exit> {
    let resumed = args.resume.as_deref().map(RunFolder::open).transpose()?;
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
    let floor = floor(&corpus, &tokenizer);

    let mut opened = args.device.open(autotune(resumed.as_ref())?, output)?;
    let (train_tokens, val_tokens) = (dataset.train.len(), dataset.val.len());
    let source = source::pretraining(&config, &model, dataset);
    let trainer = Trainer::new(opened.device(), config, model, source)?;
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
        (None, None) => RunFolder::create_numbered(Path::new("runs"), &trainer.config.preset, &corpus.name)?,
    };
    keep_choices(&opened, &folder)?;

    let stop = stop_on_interrupt()?;
    let mut screen = Screen::new(output, &trainer.config, folder.path(), floor);
    screen.tell(&start)?;
    let mut session = Session::open(opened.device(), trainer, &tokenizer, &folder, &stop, is_resumed, floor)?;
    screen.bar.set_position(session.trainer.step);
    let planned = session.trainer.memory().total();
    let ending = session.run(&mut |event| screen.tell(event))?;
    screen.remark(&memory_used(planned, &opened));
    Ok(if ending == Ending::Stopped { Exit::Interrupted } else { Exit::Done })
}

/// What the run took beside what its plan said it would.
fn memory_used(planned: u64, opened: &Opened) -> String {
    let mut used = format!("memory: {} planned for tensors", HumanBytes(planned));
    if let Opened::Gpu(gpu) = opened
        && let Some(bytes) = gpu.reserved_bytes()
    {
        used += &format!(", {} taken on the device", HumanBytes(bytes));
    }
    if let Some(bytes) = peak_memory() {
        used += &format!(", {} by the process at its peak", HumanBytes(bytes));
    }
    used
}

/// The most bytes that this process has had resident, where the system tells (Linux).
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(1024 * line.trim().trim_end_matches(" kB").parse::<u64>().ok()?)
}

/// The lowest loss that any model can reach, in nats per token, where the text tells.
fn floor(corpus: &Corpus, tokenizer: &Tokenizer) -> Option<f64> {
    match (&corpus.source, tokenizer) {
        (Source::Tales { floor, .. }, Tokenizer::Char(_)) => Some(*floor),
        _ => None,
    }
}

/// Kernels as chosen for the run that is continued, else as kept for this machine.
fn autotune(resumed: Option<&RunFolder>) -> anyhow::Result<Autotune> {
    let mut given = Choices::default();
    if let Some(path) = resumed.map(|folder| folder.path().join(TUNING)).filter(|path| path.exists()) {
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        given = serde_json::from_str(&text)
            .with_context(|| format!("{} holds no kernel choices: delete it", path.display()))?;
    }
    Ok(Autotune::On { file: tuning_file(), given })
}

fn keep_choices(opened: &Opened, folder: &RunFolder) -> anyhow::Result<()> {
    if let Opened::Gpu(gpu) = opened {
        let text = serde_json::to_string_pretty(gpu.choices())?;
        crate::run::aside::write_whole(&folder.path().join(TUNING), text.as_bytes())?;
    }
    Ok(())
}

/// A flag that Ctrl-C or a request to terminate sets; a second one ends the program at once.
fn stop_on_interrupt() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let seen = stop.clone();
    ctrlc::set_handler(move || {
        if seen.swap(true, Ordering::Relaxed) {
            std::process::exit(Exit::Interrupted as i32);
        }
    })
    .map_err(|e| Usage(format!("cannot listen for Ctrl-C: {e}")))?;
    Ok(stop)
}

/// What a person, or with `--json` a program, sees of the run.
struct Screen<'a> {
    output: Output,
    bar: ProgressBar,
    folder: &'a Path,
    tokens_per_step: f64,
    floor: Option<f64>,
    last_sample: String,
}

impl<'a> Screen<'a> {
    fn new(output: Output, config: &TrainConfig, folder: &'a Path, floor: Option<f64>) -> Self {
        let bar = match output.draws() {
            true => ProgressBar::new(config.steps),
            false => ProgressBar::hidden(),
        };
        let template = "{bar:24} {pos}/{len}  {msg}  {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━╸─"));
        }
        let tokens_per_step = config.tokens_per_step() as f64;
        Self { output, bar, folder, tokens_per_step, floor, last_sample: String::new() }
    }

    fn tell(&mut self, event: &Event) -> anyhow::Result<()> {
        if self.output.json && !matches!(event, Event::Sample { .. } | Event::Saved { .. }) {
            self.output.event(event)?;
        }
        match event {
            Event::Start {
                adapter, parameters, vocab_size, train_tokens, val_tokens, memory_bytes, ..
            } => {
                self.remark(&format!(
                    "{} parameters, {vocab_size} tokens in the vocabulary; {} to learn from, {} to judge by",
                    HumanCount(*parameters as u64),
                    HumanCount(*train_tokens as u64),
                    HumanCount(*val_tokens as u64),
                ));
                self.remark(&format!(
                    "on {adapter}, {} of memory; in {}",
                    HumanBytes(*memory_bytes),
                    self.folder.display()
                ));
            }
            Event::Step { step, loss, ms, .. } => {
                self.bar.set_position(*step);
                let rate = self.tokens_per_step * 1e3 / ms;
                self.bar.set_message(format!("loss {loss:.4}  {} tokens/s", HumanCount(rate as u64)));
            }
            Event::Eval { step, train_loss, val_loss } => {
                let floor = self.floor.map_or(String::new(), |floor| format!(" (floor {floor:.4})"));
                self.remark(&format!("step {step:>6}  train {train_loss:.4}  val {val_loss:.4}{floor}"));
            }
            Event::Sample { text, .. } => self.last_sample.clone_from(text),
            Event::Saved { step } => {
                if self.output.verbose {
                    self.remark(&format!("saved at step {step}"));
                }
            }
            Event::Done { step, val_loss, median_step_ms, tokens_per_second, run, interrupted, .. } => {
                self.bar.finish_and_clear();
                if !self.output.json {
                    if !self.last_sample.is_empty() {
                        self.output.line(format!("{}\n", self.last_sample))?;
                    }
                    let val = val_loss.map_or(String::new(), |loss| format!("val loss {loss:.4}, "));
                    self.output.line(format!(
                        "{} {step} steps: {val}{median_step_ms:.1} ms per step, {} tokens/s, in {run}",
                        if *interrupted { "stopped after" } else { "trained" },
                        HumanCount(*tokens_per_second as u64),
                    ))?;
                    let next = if *interrupted {
                        format!("continue: train --resume {run}")
                    } else {
                        format!("write: sample --model {run} --prompt \"O \"")
                    };
                    self.output.line(next)?;
                }
            }
        }
        Ok(())
    }

    fn remark(&self, text: &str) {
        self.bar.suspend(|| self.output.remark(text));
    }
}
