//! Parts of every run: the choice of kernels, and what it prints.

use std::collections::BTreeMap;
use std::path::Path;

use indicatif::{HumanBytes, HumanCount};

use super::bars::Bar;
use super::device::{Opened, tuning_file};
use super::output::Output;
use crate::engine::device::gpu::autotune::{Autotune, Choices};
use crate::files::{read_any, write_whole};
use crate::run::folder::{RunFolder, TUNING};
use crate::train::event::Event;
use crate::train::source::REWARD;
use crate::train::trainer::Trainer;

/// The memory that the run used, next to the memory that its plan had.
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

/// Peak resident memory of this process in bytes, where the system reports it (Linux).
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

/// The commands that a run suggests when it ends.
#[derive(Clone, Copy, Debug)]
pub struct Verbs<'a> {
    /// What continues it.
    pub again: &'a str,
    /// What to do with the model, which is called RUN.
    pub next: &'a str,
}

/// Prints the events of a run, as text or with `--json` as JSON.
pub struct Screen<'a> {
    output: Output,
    /// How far the run is, for a person at a terminal.
    bar: Bar,
    verbs: Verbs<'a>,
    folder: &'a Path,
    tokens_per_step: f64,
    floor: Option<f64>,
    last_sample: String,
    steps: u64,
    eval_every: u64,
    /// Steps done before this part of the run.
    first: u64,
}

impl<'a> Screen<'a> {
    pub fn new(
        output: Output,
        trainer: &Trainer,
        folder: &'a Path,
        floor: Option<f64>,
        verbs: Verbs<'a>,
    ) -> Self {
        Self {
            output,
            bar: output.bar("{bar:14} {pos}/{len}  {msg}  {eta} left"),
            verbs,
            folder,
            tokens_per_step: trainer.shape().tokens(&trainer.model) as f64,
            floor,
            last_sample: String::new(),
            steps: trainer.config.steps,
            eval_every: trainer.config.eval_every,
            first: 0,
        }
    }

    /// Begins after `step` steps that were done before.
    pub fn begin(&mut self, step: u64) {
        self.first = step;
        self.bar.at(step, self.steps);
    }

    pub fn tell(&mut self, event: &Event) -> anyhow::Result<()> {
        if self.output.json && !matches!(event, Event::Sample { .. } | Event::Saved { .. }) {
            self.output.event(event)?;
        }
        match event {
            Event::Start {
                adapter,
                parameters,
                trainable_parameters,
                vocab_size,
                train_tokens,
                val_tokens,
                memory_bytes,
                ..
            } => {
                let trained = match trainable_parameters < parameters {
                    true => format!(", {} of them trained", HumanCount(*trainable_parameters as u64)),
                    false => String::new(),
                };
                self.remark(&format!(
                    "{} parameters{trained}, {vocab_size} tokens in the vocabulary",
                    HumanCount(*parameters as u64)
                ));
                self.remark(&format!(
                    "{} training tokens, {} validation tokens",
                    HumanCount(*train_tokens as u64),
                    HumanCount(*val_tokens as u64),
                ));
                self.remark(&format!(
                    "on {adapter}, {} of memory; in {}",
                    HumanBytes(*memory_bytes),
                    self.folder.display()
                ));
            }
            Event::Step { step, loss, ms, measures, .. } => {
                let rate = HumanCount((self.tokens_per_step * 1e3 / ms) as u64);
                let worth = worth(measures);
                self.bar.at(*step, self.steps);
                let loss = format!("loss {loss:.4}");
                // What a policy loses says little, and nothing is held out from it.
                let shown = if worth.is_empty() { &loss } else { worth.trim_start() };
                self.bar.say(format!("{shown}  {rate} tokens/s"));
                if !worth.is_empty() && (step.is_multiple_of(self.eval_every) || *step == self.steps) {
                    self.remark(&format!("step {step:>6}  {loss}{worth}"));
                }
            }
            Event::Eval { step, train_loss, val_loss, measures } => {
                let mut more = self.floor.map_or(String::new(), |floor| format!(" (floor {floor:.4})"));
                measures.iter().for_each(|(name, value)| more += &format!("  {name} {value:.3}"));
                self.remark(&format!("step {step:>6}  train {train_loss:.4}  val {val_loss:.4}{more}"));
            }
            Event::Sample { text, .. } => self.last_sample.clone_from(text),
            Event::Saved { step } => self.output.detail(format!("saved at step {step}")),
            Event::Done { step, val_loss, median_step_ms, tokens_per_second, interrupted, .. } => {
                self.bar.clear();
                if self.output.json {
                    return Ok(());
                }
                if !self.last_sample.is_empty() {
                    self.output.line(format!("{}\n", self.last_sample))?;
                }
                let run = quoted(&self.folder.display().to_string());
                let val = val_loss.map_or(String::new(), |loss| format!("val loss {loss:.4}, "));
                if *step == self.first && !interrupted {
                    self.output.line(format!("nothing to do: all {step} steps are done; {val}in {run}"))?;
                    let again = self.verbs.again;
                    self.output.line(format!("train longer: {again} --resume {run} --steps {}", 2 * step))?;
                } else {
                    self.output.line(format!(
                        "{} {step} steps: {val}{median_step_ms:.1} ms per step, {} tokens/s, in {run}",
                        if *interrupted { "stopped after" } else { "trained" },
                        HumanCount(*tokens_per_second as u64),
                    ))?;
                }
                self.output.line(match interrupted {
                    true => format!("continue: {} --resume {run}", self.verbs.again),
                    false => self.verbs.next.replace("RUN", &run),
                })?;
            }
        }
        Ok(())
    }

    pub fn remark(&self, text: &str) {
        self.output.remark(text);
    }
}

/// The reward of a policy's replies, and its divergence from the reference.
fn worth(measures: &BTreeMap<&'static str, f64>) -> String {
    let figure = |name: &str| Some(format!("  {name} {:.3}", measures.get(name)?));
    if measures.contains_key(REWARD) {
        [REWARD, "kl"].into_iter().filter_map(figure).collect()
    } else {
        String::new()
    }
}

/// A text as a shell takes it for one word.
pub fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-./\\:+=@%,".contains(c);
    match (!text.is_empty() && text.chars().all(plain), cfg!(windows)) {
        (true, _) => text.to_owned(),
        (false, true) => format!("\"{text}\""),
        (false, false) => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_text_is_one_word_of_a_shell() {
        for text in ["runs/a-1", "my run", "it's", "$HOME", "a;b", "", "O "] {
            let echoed = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", quoted(text))])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(echoed.stdout).unwrap(), text);
        }
    }
}
