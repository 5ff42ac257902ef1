//! `lal finetune ppo`: a model learns by what its own answers are worth.

use std::path::Path;

use super::run::{Job, Learner, StageArgs};
use super::tally;
use crate::cli::failure::Usage;
use crate::cli::given::Given;
use crate::cli::output::Output;
use crate::engine::device::Device;
use crate::finetune::base::Base;
use crate::finetune::lessons::{Lessons, TALES_HELD_OUT, TALES_PROMPTS};
use crate::finetune::policy::PolicySource;
use crate::finetune::policy_options::PolicyOptions;
use crate::finetune::recipes;
use crate::finetune::rollout::{Judge, Prompt, REFERENCE, Roller};
use crate::run::settings::Settings;
use crate::sample::batch::Progress;
use crate::text::chat::Example;
use crate::text::corpus::TALES;
use crate::text::tales::{Exchange, Part};
use crate::train::source::Source;

/// `--data` is a .jsonl of conversations, whose last answers are left out, or `tales` for questions about the built-in
/// world. Replies are judged by the program that knows that world, or by the model of `--reward`. The base's dropout is off
/// unless --dropout turns it on, as replies are drawn without it.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub stage: StageArgs,
    #[command(flatten)]
    pub options: Given<PolicyOptions>,
}

pub struct Ppo {
    options: PolicyOptions,
    name: String,
    prompts: Vec<Prompt>,
    time: usize,
    questions: (Vec<Exchange>, Vec<Example>),
}

impl Ppo {
    pub fn new(options: PolicyOptions) -> Self {
        Self { options, name: String::new(), prompts: Vec::new(), time: 0, questions: Default::default() }
    }
}

impl Job for Ppo {
    fn defaults(&self, _data: Option<&str>) -> Settings {
        recipes::policy()
    }

    fn read(&mut self, data: &str, at: &Learner) -> anyhow::Result<[usize; 2]> {
        self.options.check(&at.config).map_err(|error| Usage(error.to_string()))?;
        if data == TALES {
            let (asked, examples) = Lessons::questions_of(Part::Train, TALES_PROMPTS, &at.tokenizer)?;
            self.prompts = Prompt::of_questions(&asked, &examples);
            self.questions = Lessons::questions(TALES_HELD_OUT, &at.tokenizer)?;
        } else if self.options.reward.is_none() {
            let what = "no program can judge replies to prompts of one's own: give --reward the folder of a reward \
                        model, which finetune reward makes";
            return Err(Usage(what.into()).into());
        } else {
            let Lessons { train, held_out, .. } = Lessons::of_file(Path::new(data), &at.tokenizer)?;
            self.prompts = Prompt::of_conversations(&[train, held_out].concat());
        }
        self.name = data.to_owned();
        let block_size = at.config.model.block_size;
        let time = self.options.time(data, &self.prompts, block_size);
        self.time = time.map_err(|error| Usage(error.to_string()))?;
        let tokens = self.prompts.iter().map(|prompt| prompt.tokens.len()).sum();
        Ok([tokens, self.questions.1.iter().map(|example| example.tokens.len()).sum()])
    }

    /// The reference is the base, not what became of it.
    fn needs_base(&self) -> bool {
        true
    }

    fn source(
        &mut self,
        device: &mut dyn Device,
        base: Option<&mut Base>,
        at: &Learner,
        _progress: Progress,
    ) -> anyhow::Result<Box<dyn Source>> {
        let Learner { config, model, tokenizer } = at;
        let judge = match &self.options.reward {
            None => Judge::Tales,
            Some(folder) => {
                let mut judge = Base::open_reward(folder, tokenizer).map_err(|e| Usage(e.to_string()))?;
                // A reply that did not end is given its end.
                Judge::Model(judge.reward_reader(device, [self.options.samples, self.time + 1])?)
            }
        };
        let objective = self.options.objective();
        let temperature = self.options.temperature;
        let sizes = [self.time, self.options.max_tokens];
        let roller =
            Roller::new(device, model, tokenizer, judge, objective.value.is_some(), temperature, sizes)?;
        if let Some(base) = base.filter(|_| model.lora_rank == 0) {
            base.write_under(REFERENCE, device, roller.reference().parameters(), config.seed)?;
        }
        let prompts = std::mem::take(&mut self.prompts);
        let options = self.options.clone();
        Ok(Box::new(PolicySource::new(&self.name, options, prompts, roller, self.time, config)))
    }

    fn judge(
        &mut self,
        device: &mut dyn Device,
        step: u64,
        at: &Learner,
        output: Output,
    ) -> anyhow::Result<()> {
        let (questions, examples) = &self.questions;
        tally::tell(device, step, at, questions, examples, output)
    }
}
