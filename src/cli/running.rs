//! What runs of every kind share: kernels, the interrupt, and what a person sees.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};

use super::device::{Opened, tuning_file};
use super::failure::{Exit, Usage};
use super::output::Output;
use crate::engine::device::gpu::autotune::{Autotune, Choices};
use crate::files::{read_any, write_whole};
use crate::run::folder::{RunFolder, TUNING};
use crate::train::session::Event;
use crate::train::trainer::Trainer;

/// What the run took beside what its plan said it would.
pub fn memory_used(planned: u64, opened: &Opened) -> String {
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

/// Kernels as chosen for the run that is continued, else as kept for this machine.
pub fn autotune(resumed: Option<&RunFolder>, output: Output) -> anyhow::Result<Autotune> {
    let mut given = Choices::default();
    if let Some(path) = resumed.map(|folder| folder.path().join(TUNING))
        && let Some(text) = read_any(&path)?
    {
        match serde_json::from_slice(&text) {
            Ok(choices) => given = choices,
            Err(error) => output.remark(format!(
                "{} was damaged ({error}): kernels are chosen anew, so that the last bits of what follows may differ",
                path.display()
            )),
        }
    }
    Ok(Autotune::On { file: tuning_file(), given })
}

/// The kernels that were chosen, for the folder of the run.
pub fn choices(opened: &Opened) -> anyhow::Result<Option<String>> {
    match opened {
        Opened::Gpu(gpu) => Ok(Some(serde_json::to_string_pretty(gpu.choices())?)),
        Opened::Cpu(_) => Ok(None),
    }
}

pub fn keep_choices(choices: Option<&str>, folder: &RunFolder) -> anyhow::Result<()> {
    let path = folder.path().join(TUNING);
    Ok(choices.map_or(Ok(()), |text| write_whole(&path, text.as_bytes()))?)
}

/// A flag that Ctrl-C or a request to terminate sets; a second one ends the program at once.
pub fn stop_on_interrupt() -> anyhow::Result<Arc<AtomicBool>> {
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

/// The commands that a run points to when it ends.
#[derive(Clone, Copy, Debug)]
pub struct Verbs<'a> {
    /// What continues it.
    pub again: &'a str,
    /// What to do with the model, which is called RUN.
    pub next: &'static str,
}

/// What a person, or with `--json` a program, sees of the run.
pub struct Screen<'a> {
    output: Output,
    /// How far the run is, for a person at a terminal.
    pub bar: ProgressBar,
    verbs: Verbs<'a>,
    folder: &'a Path,
    tokens_per_step: f64,
    floor: Option<f64>,
    last_sample: String,
}

impl<'a> Screen<'a> {
    pub fn new(
        output: Output,
        trainer: &Trainer,
        folder: &'a Path,
        floor: Option<f64>,
        verbs: Verbs<'a>,
    ) -> Self {
        let bar = match output.draws() {
            true => ProgressBar::new(trainer.config.steps),
            false => ProgressBar::hidden(),
        };
        let template = "{bar:24} {pos}/{len}  {msg}  {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━╸─"));
        }
        let tokens_per_step = trainer.shape().tokens(&trainer.model) as f64;
        Self { output, bar, verbs, folder, tokens_per_step, floor, last_sample: String::new() }
    }

    pub fn tell(&mut self, event: &Event) -> anyhow::Result<()> {
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
            Event::Eval { step, train_loss, val_loss, measures } => {
                let mut more = self.floor.map_or(String::new(), |floor| format!(" (floor {floor:.4})"));
                measures.iter().for_each(|(name, value)| more += &format!("  {name} {value:.3}"));
                self.remark(&format!("step {step:>6}  train {train_loss:.4}  val {val_loss:.4}{more}"));
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
                        format!("continue: {} --resume {run}", self.verbs.again)
                    } else {
                        self.verbs.next.replace("RUN", run)
                    };
                    self.output.line(next)?;
                }
            }
        }
        Ok(())
    }

    pub fn remark(&self, text: &str) {
        self.bar.suspend(|| self.output.remark(text));
    }
}
