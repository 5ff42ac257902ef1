//! Stages in memory on the Tales world. Each begins with the model that has learned from demonstrations, and is
//! compared with it.

use super::base::Base;
use super::constitution::Constitution;
use super::ppo_options::PpoOptions;
use super::questions::Questions;
use super::report::{Grades, Report};
use super::rollout::{REFERENCE, Rewards, Rollout, RolloutWorker};
use super::run::{Trained, run};
use super::scorer::{Head, Scorer};
use super::sft_dataset::FLAWED_TALES;
use super::stage::{Context, Setup};
use super::stages::Method;
use super::stages::sft::SftOptions;
use crate::engine::device::Device;
use crate::objective::Objective;
use crate::run::settings::Settings;
use crate::sample::batch::Progress;
use crate::text::corpus::TALES;
use crate::text::dataset::Split;
use crate::train::source::Measures;

/// Opens a device that holds no model yet, for each stage.
pub type OpenDevice = Box<dyn FnMut() -> anyhow::Result<Box<dyn Device>>>;

/// Stages that begin with one model.
pub struct Pipeline {
    open: OpenDevice,
    sft: Base,
    setup: Setup,
    held_out: Questions,
}

/// A stage and what came of it.
pub struct Outcome {
    pub name: &'static str,
    /// The figures of greedy replies; of a reward model, its calibration.
    pub report: Report,
    /// `None` for a reward model.
    pub sampled: Option<Sampled>,
    /// The figures of each step, and of pairs or rewards those of what is held out after the last.
    pub measures: Vec<Measures>,
    pub validation: Measures,
    /// The model; the base where nothing was trained.
    pub model: Option<Base>,
}

/// Replies sampled at temperature 1.
#[derive(Clone, Debug)]
pub struct Sampled {
    pub grades: Grades,
    /// The divergence from the model that learned from demonstrations, in nats per reply.
    pub kl: f64,
    /// One of the replies.
    pub reply: String,
}

impl Pipeline {
    /// Trains `base` on flawed demonstrations, and holds out so many `questions` and pairs.
    pub fn new(
        mut base: Base,
        settings: &Settings,
        questions: usize,
        mut open: OpenDevice,
    ) -> anyhow::Result<Self> {
        let asked = Settings { data: Some(FLAWED_TALES.into()), ..settings.clone() };
        let mut device = open()?;
        let method = Method::Sft(SftOptions {});
        let Trained { setup, trainer, .. } = run(&method, &mut base, None, &mut *device, &asked, questions)?;
        let sft = Base::of(&mut *device, &trainer, &setup.tokenizer)?;
        let held_out = Questions::held_out(questions, &setup.tokenizer)?;
        Ok(Self { open, sft, setup, held_out })
    }

    /// How the model is that learned from demonstrations.
    pub fn start(&mut self, name: &'static str) -> anyhow::Result<Outcome> {
        let mut device = (self.open)()?;
        let sizes = [1, self.setup.model.block_size];
        let scorer = Scorer::load(&mut *device, &self.setup.model, "", Head::Tokens, sizes)?;
        self.sft.write_to(&mut *device, scorer.parameters(), self.setup.config.seed)?;
        let (report, sampled) = self.evaluate(&mut *device)?;
        let (measures, validation) = Default::default();
        Ok(Outcome { name, report, sampled: Some(sampled), measures, validation, model: None })
    }

    /// Runs a stage from that model. `reward` rewards the replies of a policy; without it a program does.
    pub fn run(
        &mut self,
        name: &'static str,
        method: &Method,
        settings: &Settings,
        reward: Option<&mut Base>,
    ) -> anyhow::Result<Outcome> {
        let asked = Settings { data: Some(TALES.into()), ..settings.clone() };
        let (mut device, questions) = ((self.open)()?, self.setup.held_out);
        let Trained { mut stage, setup, mut trainer, measures } =
            run(method, &mut self.sft, reward, &mut *device, &asked, questions)?;
        let validation = match trainer.source().objective() {
            Objective::Preference(_) | Objective::Reward(_) => {
                trainer.estimate(&mut *device, Split::Val)?.measures
            }
            _ => Measures::new(),
        };
        let model = Base::of(&mut *device, &trainer, &setup.tokenizer)?;
        let (report, sampled) = if model.gives_rewards() {
            let progress: Progress = &mut |_, _| ();
            let mut context = Context { device: &mut *device, base: None, reward: None, progress };
            (stage.evaluate(&setup, &mut context)?, None)
        } else {
            let (report, sampled) = self.evaluate(&mut *device)?;
            (report, Some(sampled))
        };
        Ok(Outcome { name, report, sampled, measures, validation, model: Some(model) })
    }

    /// Judges the model that the device holds.
    fn evaluate(&mut self, device: &mut dyn Device) -> anyhow::Result<(Report, Sampled)> {
        let Setup { model, tokenizer, config, .. } = &self.setup;
        let constitution = Constitution::of_tales();
        let mut context = Context { device, base: None, reward: None, progress: &mut |_, _| () };
        let report = self.held_out.evaluate(&self.setup, Some(&constitution), &mut context)?;
        let device = context.device;
        let prompts = self.held_out.prompts();
        let most = PpoOptions::default().max_tokens;
        let time = prompts.iter().map(|prompt| prompt.tokens.len()).max().unwrap_or(0) + most;
        let mut worker =
            RolloutWorker::new(device, model, tokenizer, Rewards::Tales, false, 1.0, [time, most])?;
        self.sft.write_under(REFERENCE, device, worker.reference().parameters(), config.seed)?;
        let rollouts = worker.rollouts(device, &prompts.iter().collect::<Vec<_>>(), 1, config.seed)?;
        let kl = rollouts.iter().map(Rollout::kl).sum::<f64>() / rollouts.len().max(1) as f64;
        let texts: Vec<String> = rollouts.into_iter().map(|rollout| rollout.text).collect();
        let grades = Grades::of(&self.held_out.exchanges, &texts);
        let reply = texts.into_iter().next().unwrap_or_default();
        Ok((report, Sampled { grades, kl, reply }))
    }
}
