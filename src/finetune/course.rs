//! The stages of alignment one after the other, in memory, on the Tales world: each begins with the model that learned
//! from demonstrations, and is judged beside it.

use super::answers::replies;
use super::base::{Base, BaseError};
use super::calibration::{Calibration, margins};
use super::comparisons::Comparisons;
use super::constitution::Constitution;
use super::critique::Replies;
use super::lessons::{Lessons, TALES_CONVERSATIONS, TALES_PROMPTS};
use super::pairs::{PairSource, PairsError, longest};
use super::policy::PolicySource;
use super::policy_options::{OptionsError, PolicyOptions};
use super::reader::{Head, Reader, ReaderError};
use super::recipes;
use super::rollout::{Judge, Prompt, REFERENCE, RollError, Roller, Rollout};
use super::sft::{self, Conversations, ConversationsError};
use crate::engine::device::cpu::Cpu;
use crate::models::config::ModelConfig;
use crate::objective::Objective;
use crate::objective::preference::Preference;
use crate::objective::reward::Reward;
use crate::run::config::{ConfigError, TrainConfig};
use crate::run::settings::Settings;
use crate::sample::reply::ReplyError;
use crate::sample::strategy::Strategy;
use crate::text::chat::{ChatError, Example};
use crate::text::corpus::TALES;
use crate::text::tales::judge::{Tally, judge};
use crate::text::tales::{Exchange, Part};
use crate::text::tokenizer::Tokenizer;
use crate::train::source::{Measures, Source};
use crate::train::trainer::{TrainError, Trainer};

/// A model that learned from demonstrations, with what it is taught and judged by next.
pub struct Course {
    sft: Base,
    tokenizer: Tokenizer,
    model: ModelConfig,
    asked: (Vec<Exchange>, Vec<Example>),
    held_out: (Vec<Exchange>, Vec<Example>),
    seed: u64,
}

/// A stage and what came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub stage: &'static str,
    /// Of the likeliest replies to held-out questions.
    pub tally: Tally,
    /// The share of these replies that violate a principle of the built-in constitution.
    pub violations: f64,
    /// Of replies drawn at temperature 1, and their divergence from the model that learned from demonstrations, in nats.
    pub drawn: Tally,
    pub kl: f64,
    /// One of these.
    pub reply: String,
}

/// What a stage came to, and how.
pub struct Learned {
    pub outcome: Outcome,
    /// The figures of each step, as its source measures them.
    pub measures: Vec<Measures>,
}

/// Why a stage failed.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub enum CourseError {
    Base(#[from] BaseError),
    Chat(#[from] ChatError),
    Config(#[from] ConfigError),
    Conversations(#[from] ConversationsError),
    Options(#[from] OptionsError),
    Pairs(#[from] PairsError),
    Reader(#[from] ReaderError),
    Reply(#[from] ReplyError),
    Roll(#[from] RollError),
    Train(#[from] TrainError),
}

type Result<T> = std::result::Result<T, CourseError>;

impl Course {
    /// Teaches `base` by demonstrations of people who err, and asks `questions` of those held out from then on.
    ///
    /// # Errors
    /// When the base is none that answers.
    pub fn new(mut base: Base, settings: &Settings, questions: usize) -> Result<Self> {
        let config = settings.over(&recipes::sft_on_demonstrations())?.over(base.settings())?;
        let config = TrainConfig::new(&config)?;
        let (tokenizer, seed) = (base.chat_tokenizer(), config.seed);
        let model = base.for_chat(config.model.block_size, 0.0, 0)?;
        let lessons = Lessons::of_tales(true, TALES_CONVERSATIONS, questions, model.block_size, &tokenizer)?;
        let source = Conversations::new(TALES, &lessons.train, &lessons.held_out, &config, &model)?;
        let mut cpu = Cpu::<f32>::default();
        let mut trainer = Trainer::new(&mut cpu, config, model.clone(), Box::new(source))?;
        base.write_to(&mut cpu, &trainer.parameters(), seed)?;
        trainer.train_to(&mut cpu, trainer.config.steps)?;
        let sft = Base::of(&mut cpu, &trainer, &tokenizer)?;
        let asked = Lessons::questions_of(Part::Train, TALES_PROMPTS, &tokenizer)?;
        let held_out = Lessons::questions(questions, &tokenizer)?;
        Ok(Self { sft, tokenizer, model, asked, held_out, seed })
    }

    /// How the model is that learned from demonstrations.
    ///
    /// # Errors
    /// When it cannot reply.
    pub fn outcome(&mut self, stage: &'static str) -> Result<Outcome> {
        let mut cpu = self.device()?;
        self.judge(stage, &mut cpu)
    }

    /// A device that holds the model that learned from demonstrations.
    fn device(&mut self) -> Result<Cpu<f32>> {
        let mut cpu = Cpu::<f32>::default();
        let sizes = [1, self.model.block_size];
        let reader = Reader::load(&mut cpu, &self.model, "", Head::Tokens, sizes)?;
        self.sft.write_to(&mut cpu, reader.parameters(), self.seed)?;
        Ok(cpu)
    }

    /// A reward model, and how well it is calibrated on `held_out` pairs.
    ///
    /// # Errors
    /// When the pairs do not fit a block.
    pub fn reward(&mut self, settings: &Settings, held_out: usize) -> Result<(Base, Calibration)> {
        let config = self.config(settings, &recipes::reward())?;
        let pairs = Comparisons::of_tales(&config, held_out, &self.tokenizer)?;
        let judged = pairs.held_out.clone();
        let source = PairSource::for_rewards(TALES, Reward::default(), pairs.train, pairs.held_out, &config)?;
        let mut cpu = Cpu::<f32>::default();
        let trainer = self.train(config, &mut cpu, Box::new(source))?.0;
        let sizes = [32, longest(&judged)];
        let reader = Reader::load(&mut cpu, &self.model, "", Head::Reward, sizes)?;
        let calibration = Calibration::of(&margins(&mut cpu, &reader, &judged)?);
        Ok((Base::of(&mut cpu, &trainer, &self.tokenizer)?, calibration))
    }

    /// Preferences, and of `held_out` pairs the share that is then preferred rightly.
    ///
    /// # Errors
    /// As [`reward`](Self::reward).
    pub fn dpo(
        &mut self,
        stage: &'static str,
        settings: &Settings,
        preference: Preference,
        held_out: usize,
    ) -> Result<(Learned, f64)> {
        let mut config = self.config(settings, &recipes::dpo())?;
        let Comparisons { train, held_out, .. } = Comparisons::of_tales(&config, held_out, &self.tokenizer)?;
        config.eval_iters = held_out.len().div_ceil(config.batch_size);
        let mut cpu = Cpu::<f32>::default();
        let sizes = [2 * config.batch_size, longest(&train).max(longest(&held_out))];
        let reference = Reader::load(&mut cpu, &self.model, "", Head::Tokens, sizes)?;
        self.sft.write_to(&mut cpu, reference.parameters(), self.seed)?;
        let objective = Objective::Preference(preference);
        let source = PairSource::for_preferences(
            TALES,
            objective,
            [train, held_out],
            &config,
            &mut cpu,
            &reference,
            &mut |_, _| (),
        )?;
        let (mut trainer, measures) = self.train(config, &mut cpu, Box::new(source))?;
        let estimate = trainer.estimate(&mut cpu, crate::text::dataset::Split::Val)?;
        let accuracy =
            estimate.measures.iter().find(|(name, _)| *name == "accuracy").map_or(f64::NAN, |m| m.1);
        Ok((Learned { outcome: self.judge(stage, &mut cpu)?, measures }, accuracy))
    }

    /// A policy that seeks what the program that judges tales gives, or a reward model.
    ///
    /// # Errors
    /// When the options make no sense.
    pub fn policy(
        &mut self,
        stage: &'static str,
        settings: &Settings,
        options: PolicyOptions,
        reward: Option<&mut Base>,
    ) -> Result<Learned> {
        let config = self.config(settings, &recipes::policy())?;
        options.check(&config)?;
        let mut cpu = Cpu::<f32>::default();
        let prompts = Prompt::of_questions(&self.asked.0, &self.asked.1);
        let time = options.time(TALES, &prompts, self.model.block_size)?;
        let judge = match reward {
            None => Judge::Tales,
            Some(model) => Judge::Model(model.reward_reader(&mut cpu, [16, time + 1])?),
        };
        let has_values = options.objective().value.is_some();
        let roller = self.roller(&mut cpu, judge, has_values, [time, options.max_tokens])?;
        let source = PolicySource::new(TALES, options, prompts, roller, time, &config);
        let (_, measures) = self.train(config, &mut cpu, Box::new(source))?;
        Ok(Learned { outcome: self.judge(stage, &mut cpu)?, measures })
    }

    /// The model after it has learned its own replies to `questions` as a constitution revises them.
    ///
    /// # Errors
    /// When it cannot reply.
    pub fn revised(
        &mut self,
        stage: &'static str,
        settings: &Settings,
        constitution: &Constitution,
        questions: usize,
    ) -> Result<Learned> {
        let config = self.config(settings, &recipes::revision())?;
        let said = self.said(constitution, questions)?.revised()?;
        let (train, val) = sft::hold_out(said);
        let source = Conversations::new(TALES, &train, &val, &config, &self.model)?;
        let mut cpu = Cpu::<f32>::default();
        let (_, measures) = self.train(config, &mut cpu, Box::new(source))?;
        Ok(Learned { outcome: self.judge(stage, &mut cpu)?, measures })
    }

    /// What the model replies to `questions`.
    fn said<'a>(&'a mut self, constitution: &'a Constitution, questions: usize) -> Result<Replies<'a>> {
        let mut cpu = self.device()?;
        let examples = &self.asked.1[..questions.min(self.asked.1.len())];
        let strategy = Strategy::default();
        let texts =
            replies(&mut cpu, &self.model, &self.tokenizer, examples, &strategy, self.seed, &mut |_, _| ())?;
        let said = self.asked.0.iter().zip(texts).collect();
        Ok(Replies { constitution, tokenizer: &self.tokenizer, said })
    }

    fn config(&self, settings: &Settings, recipe: &Settings) -> Result<TrainConfig> {
        Ok(TrainConfig::new(&settings.over(recipe)?.over(self.sft.settings())?)?)
    }

    /// Trains the model on `source` to the last step.
    fn train(
        &mut self,
        config: TrainConfig,
        cpu: &mut Cpu<f32>,
        source: Box<dyn Source>,
    ) -> Result<(Trainer, Vec<Measures>)> {
        let (seed, steps) = (config.seed, config.steps);
        let mut trainer = Trainer::new(cpu, config, self.model.clone(), source)?;
        self.sft.write_to(cpu, &trainer.parameters(), seed)?;
        let mut measures = Vec::new();
        while trainer.step < steps {
            trainer.submit(cpu)?;
            while let Some(report) = trainer.report(cpu, true)? {
                measures.push(report.measures);
            }
        }
        Ok((trainer, measures))
    }

    /// Judges the model that the device holds.
    fn judge(&mut self, stage: &'static str, cpu: &mut Cpu<f32>) -> Result<Outcome> {
        let (questions, examples) = &self.held_out;
        let said =
            replies(cpu, &self.model, &self.tokenizer, examples, &Strategy::greedy(), 0, &mut |_, _| ())?;
        let tally: Tally = questions.iter().zip(&said).map(|(asked, reply)| judge(asked, reply)).collect();
        let constitution = Constitution::of_tales();
        let prompts = Prompt::of_questions(questions, examples);
        let violations = Replies::new(&constitution, &self.tokenizer, &prompts, said).violations().share();
        let most = PolicyOptions::default().max_tokens;
        let time = prompts.iter().map(|prompt| prompt.tokens.len()).max().unwrap_or(0) + most;
        let mut roller = self.roller(cpu, Judge::Tales, false, [time, most])?;
        let rolled: Vec<Rollout> = roller.roll(cpu, &prompts.iter().collect::<Vec<_>>(), 1, self.seed)?;
        let drawn = self.held_out.0.iter().zip(&rolled);
        let drawn: Tally = drawn.map(|(asked, rollout)| judge(asked, &rollout.text)).collect();
        let kl = rolled.iter().map(Rollout::kl).sum::<f64>() / rolled.len().max(1) as f64;
        let reply = rolled.first().map_or(String::new(), |rollout| rollout.text.clone());
        Ok(Outcome { stage, tally, violations, drawn, kl, reply })
    }

    fn roller(
        &mut self,
        cpu: &mut Cpu<f32>,
        judge: Judge,
        has_values: bool,
        sizes: [usize; 2],
    ) -> Result<Roller> {
        let roller = Roller::new(cpu, &self.model, &self.tokenizer, judge, has_values, 1.0, sizes)?;
        self.sft.write_under(REFERENCE, cpu, roller.reference().parameters(), self.seed)?;
        Ok(roller)
    }
}
