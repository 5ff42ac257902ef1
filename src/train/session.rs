//! A run from its first step to its last: steps, estimates, samples, checkpoints, and their events.

use std::collections::BTreeMap;
use std::f64::consts::LN_2;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::curves::curves;
use super::event::Event;
use super::source::REWARD;
use super::trainer::{Estimate, StepReport, TrainError, Trainer};
use crate::engine::device::Device;
use crate::files::FileError;
use crate::interop::container::ContainerError;
use crate::run::checkpoint::{self, Progress, Saved, Tensors};
use crate::run::folder::{FolderError, PLOT, REWARD_PLOT, RunFolder};
use crate::run::journal::{Journal, read_metrics};
use crate::run::model_file::{Layout, ModelError, TokenizerMark};
use crate::run::plot::{Curve, PlotError};
use crate::run::tensor_file::TensorError;
use crate::sample::generator::Generator;
use crate::sample::strategy::{Sampler, Strategy, StrategyError};
use crate::sample::writer::{WriteError, Writer};
use crate::text::dataset::Split;
use crate::text::tokenizer::Tokenizer;

/// Why a run ended early. What was saved before stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error(transparent)]
    Train(#[from] TrainError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Strategy(#[from] StrategyError),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Plot(#[from] PlotError),
    #[error(transparent)]
    Checkpoint(#[from] TensorError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(
        "{what}: the training diverged; {saved}. Take a lower --learning-rate, or look for a kernel that computes \
         wrong with `lal verify`"
    )]
    NotFinite { what: String, saved: String },
    #[error("--steps {steps} is too few: the run has done {done} already; give more, or start a new run")]
    TooFewSteps { steps: u64, done: u64 },
    #[error("cannot report progress: {0}")]
    Report(anyhow::Error),
}

/// A run: a model in training and everything around it.
pub struct Session<'a> {
    pub device: &'a mut dyn Device,
    pub trainer: Trainer,
    pub tokenizer: &'a Tokenizer,
    pub folder: &'a RunFolder,
    /// Set from outside to finish the step at hand, save, and end.
    pub stop: &'a AtomicBool,
    /// The layout of the folder's model.
    layout: Layout,
    progress: Progress,
    journal: Journal,
    curve: Curve,
    /// Of a policy, the rewards of its replies.
    rewards: Curve,
    generator: Generator,
    /// Milliseconds of each step since the start.
    times: Vec<f64>,
    last_tick: Instant,
    saved: Option<u64>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Finished,
    Stopped,
}

/// Receives events, for a person or a program.
pub type OnEvent<'a> = &'a mut dyn FnMut(&Event) -> anyhow::Result<()>;

impl<'a> Session<'a> {
    /// Starts a run in an empty folder, or continues the one that the folder holds: from its checkpoint, or from its
    /// first step where it died before it had one. The configuration of `trainer` is recorded.
    pub fn open(
        device: &'a mut dyn Device,
        mut trainer: Trainer,
        tokenizer: &'a Tokenizer,
        folder: &'a RunFolder,
        stop: &'a AtomicBool,
        resume: bool,
        floor: Option<f64>,
    ) -> Result<Self, SessionError> {
        let mark = TokenizerMark::of(tokenizer);
        let mut progress = Progress {
            step: 0,
            seed: trainer.config.seed,
            val_loss: None,
            best_val_loss: None,
            tokenizer: mark.clone(),
        };
        let mut layout = Layout::of(&trainer.model);
        let has_checkpoint = resume && folder.has_checkpoint();
        if has_checkpoint {
            let mut saved = Saved::open(folder.path())?;
            layout = Layout::stored(folder.path())?;
            let [parameters, adapters, states] = [trainer.parameters(), trainer.adapters(), trainer.states()];
            let tensors = Tensors {
                layout,
                parameters: &parameters,
                adapters: &adapters,
                exported: &[],
                states: &states,
            };
            saved.restore(tensors, &mark, |entry, elements| {
                let name = || entry.name.clone();
                device
                    .write(&entry.name, elements)
                    .map_err(|source| TensorError::Device { name: name(), source })
            })?;
            progress = saved.progress().clone();
            let (steps, done) = (trainer.config.steps, progress.step);
            if steps < done {
                return Err(SessionError::TooFewSteps { steps, done });
            }
            trainer.resume_at(done);
        }
        if resume {
            folder.record(&trainer.config)?;
        } else {
            folder.describe(&trainer.config, &trainer.model, tokenizer)?;
        }
        let journal = Journal::open(folder.path(), progress.step)?;
        let [curve, rewards] = curves(&trainer, floor, &read_metrics(folder.path())?);
        let generator = Generator::new(trainer.model.clone());
        Ok(Self {
            device,
            tokenizer,
            folder,
            stop,
            saved: has_checkpoint.then_some(progress.step),
            layout,
            progress,
            journal,
            curve,
            rewards,
            generator,
            times: Vec::new(),
            last_tick: Instant::now(),
            trainer,
        })
    }

    /// Damaged files of the folder, which are left out from here on.
    pub fn remarks(&self) -> &[String] {
        &self.journal.remarks
    }

    /// Trains to the last step, or until it is interrupted.
    pub fn run(&mut self, on_event: OnEvent) -> Result<Ending, SessionError> {
        let steps = self.trainer.config.steps;
        self.last_tick = Instant::now();
        while self.trainer.step < steps && !(self.trainer.may_stop() && self.stop.load(Ordering::Relaxed)) {
            if self.trainer.waits() {
                self.take_reports(true, on_event)?;
            }
            self.trainer.submit(self.device)?;
            self.take_reports(false, on_event)?;
            let step = self.trainer.step;
            let due = |every: u64| every > 0 && step.is_multiple_of(every);
            let evaluate = due(self.trainer.config.eval_every) || step == steps;
            let save = self.save_is_due() || step == steps;
            if evaluate || save {
                self.take_reports(true, on_event)?;
            }
            if evaluate {
                self.evaluate(on_event)?;
            }
            if save {
                self.save(on_event)?;
            }
            if evaluate || save {
                self.last_tick = Instant::now();
            }
        }
        self.take_reports(true, on_event)?;
        if self.saved != Some(self.trainer.step) {
            self.save(on_event)?;
        }
        self.draw()?;
        let interrupted = self.trainer.step < steps;
        self.times.sort_by(f64::total_cmp);
        let median_step_ms = self.times.get(self.times.len() / 2).copied().unwrap_or(0.0);
        let tokens = self.trainer.shape().tokens(&self.trainer.model) as f64;
        on_event(&Event::Done {
            step: self.trainer.step,
            val_loss: self.progress.val_loss,
            best_val_loss: self.progress.best_val_loss,
            median_step_ms,
            tokens_per_second: if median_step_ms > 0.0 { tokens * 1e3 / median_step_ms } else { 0.0 },
            run: self.folder.path().display().to_string(),
            interrupted,
        })
        .map_err(SessionError::Report)?;
        Ok(if interrupted { Ending::Stopped } else { Ending::Finished })
    }

    /// Whether a run that can stop here has come past the next multiple of `save_every`.
    fn save_is_due(&self) -> bool {
        let every = self.trainer.config.save_every;
        let periods = |step: u64| step.checked_div(every).unwrap_or(0);
        self.trainer.may_stop() && periods(self.trainer.step) > periods(self.saved.unwrap_or(0))
    }

    /// Reports finished steps; with `all`, waits for every step.
    fn take_reports(&mut self, all: bool, on_event: OnEvent) -> Result<(), SessionError> {
        while let Some(StepReport { step, loss, learning_rate, grad_norm, measures }) =
            self.trainer.report(self.device, all)?
        {
            let now = Instant::now();
            let ms = (now - self.last_tick).as_secs_f64() * 1e3;
            self.last_tick = now;
            self.times.push(ms);
            if !(loss.is_finite() && grad_norm.is_finite()) {
                let what = format!("the loss of step {step} is {loss}, the norm of its gradient {grad_norm}");
                return Err(self.not_finite(what));
            }
            let reward = measures.iter().find(|(name, _)| *name == REWARD);
            self.rewards.steps.extend(reward.map(|&(_, reward)| (step, reward)));
            let measures = measures.into_iter().collect();
            let event = Event::Step { step, loss, learning_rate, grad_norm, ms, measures };
            self.journal.metric(&event)?;
            self.curve.steps.push((step, loss.into()));
            on_event(&event).map_err(SessionError::Report)?;
        }
        Ok(())
    }

    fn evaluate(&mut self, on_event: OnEvent) -> Result<(), SessionError> {
        if self.trainer.source().is_estimated() {
            self.estimate(on_event)?;
        }
        let step = self.trainer.step;
        if self.trainer.config.sample_tokens > 0 && self.trainer.model.predicts_next().is_ok() {
            let text = self.sample()?;
            self.journal.sample(step, &text)?;
            on_event(&Event::Sample { step, text }).map_err(SessionError::Report)?;
        }
        self.draw()
    }

    fn estimate(&mut self, on_event: OnEvent) -> Result<(), SessionError> {
        let train_loss = self.trainer.estimate(self.device, Split::Train)?.loss;
        let Estimate { loss: val_loss, measures } = self.trainer.estimate(self.device, Split::Val)?;
        let step = self.trainer.step;
        if !(train_loss.is_finite() && val_loss.is_finite()) {
            let what = format!("after step {step} the loss is {train_loss} on train and {val_loss} on val");
            return Err(self.not_finite(what));
        }
        self.progress.val_loss = Some(val_loss);
        self.progress.best_val_loss =
            Some(self.progress.best_val_loss.map_or(val_loss, |best| best.min(val_loss)));
        let mut measures: BTreeMap<_, _> = measures.into_iter().collect();
        // Of bytes and most characters it is the loss itself, in another unit.
        let bytes = self.trainer.source().bytes_per_token().filter(|bytes| (bytes - 1.0).abs() > 0.01);
        measures.extend(bytes.map(|bytes| ("bits_per_byte", val_loss / bytes / LN_2)));
        let event = Event::Eval { step, train_loss, val_loss, measures };
        self.journal.metric(&event)?;
        self.curve.train.push((step, train_loss));
        self.curve.val.push((step, val_loss));
        on_event(&event).map_err(SessionError::Report)
    }

    /// What the model writes after the beginning of the validation text; an assistant's answer to the first question
    /// stops at its end token.
    fn sample(&mut self) -> Result<String, SessionError> {
        let prompt = self.trainer.source().prompt();
        let mut rng = ChaCha8Rng::seed_from_u64(self.trainer.config.seed);
        let mut sampler = Sampler::new(Strategy::default())?;
        let mut text = self.tokenizer.decode(prompt);
        let mut stream = self.tokenizer.stream();
        let stops = self.tokenizer.stops();
        let most = self.trainer.config.sample_tokens;
        let mut writer = Writer::new(self.device, &mut self.generator, &mut sampler, &mut rng, prompt, most)?;
        for _ in 0..most {
            let token = writer.next(&[])?;
            if stops.contains(&token) {
                break;
            }
            text += &stream.push(token);
        }
        text += &stream.finish();
        Ok(text)
    }

    /// Replaces the last checkpoint by one of the model as it is, if that is finite: the losses so far are of the model
    /// before its last update.
    fn save(&mut self, on_event: OnEvent) -> Result<(), SessionError> {
        let step = self.trainer.step;
        if self.trainer.source().is_estimated() {
            let loss = self.trainer.probe(self.device)?;
            if !loss.is_finite() {
                return Err(self.not_finite(format!("after step {step} the loss is {loss}")));
            }
        }
        self.journal.sync()?;
        self.progress.step = self.trainer.step;
        let layout = self.layout;
        let (device, trainer) = (&mut *self.device, &self.trainer);
        let [parameters, adapters, states] = [trainer.parameters(), trainer.adapters(), trainer.states()];
        let tensors = Tensors {
            layout,
            parameters: &parameters,
            adapters: &adapters,
            exported: &trainer.exported(),
            states: &states,
        };
        checkpoint::save(self.folder.path(), tensors, &self.progress, |entry, adapters, give| {
            trainer.read(device, entry, adapters, give)
        })
        .map_err(|error| match error {
            TensorError::Container(ContainerError::NotFinite { name, value, .. }) => {
                self.not_finite(format!("after step {step} {name} holds {value}"))
            }
            other => other.into(),
        })?;
        self.saved = Some(step);
        on_event(&Event::Saved { step }).map_err(SessionError::Report)
    }

    fn not_finite(&self, what: String) -> SessionError {
        let saved = match self.saved {
            Some(step) => format!("the checkpoint of step {step} is kept, whose numbers are finite"),
            None => "no checkpoint had been saved yet".into(),
        };
        SessionError::NotFinite { what, saved }
    }

    fn draw(&mut self) -> Result<(), SessionError> {
        if !self.rewards.steps.is_empty() {
            self.folder.write_plot(REWARD_PLOT, &self.rewards.to_svg()?)?;
        }
        Ok(self.folder.write_plot(PLOT, &self.curve.to_svg()?)?)
    }
}
