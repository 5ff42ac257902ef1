//! Constitutional AI: a model learns from its own replies, revised or compared by principles.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{dpo, sft};
use crate::finetune::answers::{answers, text};
use crate::finetune::constitution::Constitution;
use crate::finetune::critique::{Replies, chat};
use crate::finetune::examples::hold_out;
use crate::finetune::pair_source::PairSource;
use crate::finetune::preference_dataset::PreferenceDataset;
use crate::finetune::questions::{Questions, TALES_PROMPTS};
use crate::finetune::report::Report;
use crate::finetune::sft_source::SftSource;
use crate::finetune::stage::{Context, Options, OptionsError, Setup, Stage, check_beta};
use crate::objective::Objective;
use crate::objective::preference::Preference;
use crate::optim::Optimizer;
use crate::run::settings::Settings;
use crate::sample::strategy::Strategy;
use crate::text::chat::Example;
use crate::text::corpus::TALES;
use crate::text::tales::Exchange;
use crate::train::source::Source;

/// What a model learns from its own answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Feedback {
    /// Revisions, which are learned like demonstrations
    #[default]
    Revise,
    /// Preferences among several answers
    Prefer,
}

/// What decides which replies violate principles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Judging {
    /// The programs that the principles name
    #[default]
    Program,
    /// The model itself, with the principles as a system message
    Model,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, clap::Args)]
pub struct ConstitutionOptions {
    /// File of principles, in the format of data/constitution.toml [default: the principles of that file]
    #[arg(long, value_name = "FILE")]
    pub principles: Option<PathBuf>,
    /// What the model learns from its own answers
    #[arg(long, value_enum, default_value = "revise", value_name = "KIND")]
    pub feedback: Feedback,
    /// What decides which answers violate the principles
    #[arg(long, value_enum, default_value = "program", value_name = "WHO")]
    pub judge: Judging,
    /// Questions that the model answers
    #[arg(long, default_value_t = TALES_PROMPTS, value_name = "N")]
    pub questions: usize,
    /// Answers per question, with --feedback prefer
    #[arg(long, default_value_t = 4, value_name = "N")]
    pub samples: usize,
    /// β of the loss: a higher one keeps the model closer to the reference
    #[arg(long, default_value_t = Preference::default().beta, value_name = "X")]
    pub beta: f32,
}

impl Default for ConstitutionOptions {
    fn default() -> Self {
        crate::finetune::stage::defaults()
    }
}

impl Options for ConstitutionOptions {
    fn name(&self) -> &'static str {
        "constitution"
    }

    fn check(&self) -> Result<(), OptionsError> {
        for (flag, value, [least, most]) in
            [("--questions", self.questions, [1, 1_000_000]), ("--samples", self.samples, [2, 1000])]
        {
            let is_good = (least..=most).contains(&value);
            OptionsError::unless(is_good, flag, value, format!("{least} to {most}"))?;
        }
        check_beta(self.beta)
    }

    fn defaults(&self, _data: Option<&str>) -> Settings {
        match self.feedback {
            Feedback::Prefer => dpo::defaults(),
            Feedback::Revise => Settings {
                steps: Some(800),
                optimizer: Some(Optimizer::Muon),
                learning_rate: Some(1.5e-3),
                ..sft::defaults()
            },
        }
    }

    fn recipes(&self) -> Vec<(String, Settings)> {
        let of = |feedback| Self { feedback, ..self.clone() }.defaults(None);
        vec![(String::new(), of(Feedback::Revise)), (" with --feedback prefer".into(), of(Feedback::Prefer))]
    }

    fn path(&mut self) -> Option<(&'static str, &mut PathBuf)> {
        self.principles.as_mut().map(|path| ("principles", path))
    }

    /// The replies are those of the base, not of the model in training.
    fn needs_base(&self) -> bool {
        true
    }

    fn load(&self, data: &str, setup: &Setup) -> anyhow::Result<Box<dyn Stage>> {
        let constitution = match &self.principles {
            Some(path) => Constitution::read(path)?,
            None => Constitution::of_tales(),
        };
        if data != TALES {
            return Err(OptionsError::NotTales.into());
        }
        let asked = Questions::for_training(self.questions, &setup.tokenizer)?;
        let held_out = Questions::held_out(setup.held_out, &setup.tokenizer)?;
        Ok(Box::new(ConstitutionStage { options: self.clone(), constitution, asked, held_out }))
    }
}

struct ConstitutionStage {
    options: ConstitutionOptions,
    constitution: Constitution,
    asked: Questions,
    held_out: Questions,
}

impl ConstitutionStage {
    /// What the model replies to `examples`, `samples` times each: the exchange with the text. Replies that did not end
    /// are dropped where only `ended` ones are wanted.
    fn replies<'a>(
        &'a self,
        setup: &'a Setup,
        examples: &[Example],
        samples: usize,
        ended: bool,
        context: &mut Context,
    ) -> anyhow::Result<Replies<'a>> {
        let (tokenizer, constitution) = (&setup.tokenizer, &self.constitution);
        let each: Vec<Example> =
            examples.iter().flat_map(|example| std::iter::repeat_n(example.clone(), samples)).collect();
        let (strategy, seed) = (Strategy::default(), setup.config.seed);
        let Context { device, progress, .. } = context;
        let replies = answers(*device, &setup.bare(), tokenizer, &each, &strategy, seed, &mut **progress)?;
        let exchanges =
            self.asked.exchanges.iter().flat_map(|exchange| std::iter::repeat_n(exchange, samples));
        let wanted = exchanges.zip(&replies).filter(|(_, reply)| reply.ended || !ended);
        let said = wanted.map(|(exchange, reply)| (exchange, text(reply, tokenizer))).collect();
        Ok(Replies { constitution, tokenizer, said })
    }
}

impl Stage for ConstitutionStage {
    fn tokens(&self) -> [usize; 2] {
        [&self.asked, &self.held_out].map(Questions::tokens)
    }

    fn source(&mut self, setup: &Setup, context: &mut Context) -> anyhow::Result<Box<dyn Source>> {
        let Setup { config, model, tokenizer, .. } = setup;
        let sizes = [2 * config.batch_size, model.block_size];
        let scorer = setup.reference(sizes, context)?;

        let ConstitutionOptions { feedback, judge, samples, beta, .. } = self.options;
        if feedback == Feedback::Revise {
            let examples = match judge {
                Judging::Program => {
                    self.replies(setup, &self.asked.examples, 1, false, context)?.revised()?
                }
                // The revision is what the model replies when it is reminded (context distillation).
                Judging::Model => {
                    let reminder = self.constitution.reminder();
                    let ask =
                        |asked: &Exchange| chat(tokenizer, Some(&reminder), asked, asked.answer.clone());
                    let reminded = self.asked.exchanges.iter().map(ask).collect::<Result<Vec<_>, _>>()?;
                    self.replies(setup, &reminded, 1, true, context)?.unrevised()?
                }
            };
            let (train, val) = hold_out(examples);
            return Ok(Box::new(SftSource::new(TALES, &train, &val, config, model)?));
        }
        let replies = self.replies(setup, &self.asked.examples, samples, false, context)?;
        let faults = match judge {
            Judging::Program => replies.faults(),
            Judging::Model => replies.doubts(context.device, &scorer)?,
        };
        let pairs = replies.preferences(&faults, samples, model.block_size)?;
        let dataset = PreferenceDataset::hold_out(TALES, pairs);
        let objective = Objective::Preference(Preference { beta, ..Preference::default() });
        Ok(Box::new(PairSource::against_base(objective, dataset, setup, context)?))
    }

    fn evaluate(&mut self, setup: &Setup, context: &mut Context) -> anyhow::Result<Report> {
        self.held_out.evaluate(setup, Some(&self.constitution), context)
    }
}
