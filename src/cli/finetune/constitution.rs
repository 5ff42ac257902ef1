//! `lal finetune constitution`: a model learns by principles that its own answers are judged and revised by.

use serde::Serialize;

use super::dpo::check_beta;
use super::run::{Job, Learner, StageArgs};
use super::tally;
use crate::cli::failure::Usage;
use crate::cli::given::Given;
use crate::cli::output::Output;
use crate::cli::values::MOST;
use crate::engine::device::Device;
use crate::finetune::answers::{answers, replies, text};
use crate::finetune::base::Base;
use crate::finetune::constitution::Constitution;
use crate::finetune::critique::{Replies, Violations, chat};
use crate::finetune::lessons::{Lessons, TALES_HELD_OUT};
use crate::finetune::pairs::{PairSource, hold_out, longest};
use crate::finetune::reader::{Head, Reader};
use crate::finetune::recipes;
use crate::finetune::rollout::Prompt;
use crate::finetune::sft::{self, Conversations};
use crate::finetune::stage::{ConstitutionOptions, Feedback, Judging};
use crate::models::config::ModelConfig;
use crate::objective::Objective;
use crate::objective::preference::Preference;
use crate::run::settings::Settings;
use crate::sample::batch::Progress;
use crate::sample::strategy::Strategy;
use crate::text::chat::Example;
use crate::text::corpus::TALES;
use crate::text::tales::{Exchange, Part};
use crate::train::source::Source;

/// `--data` is `tales`: its questions are what programs can judge replies to. First the model's own replies are
/// revised by the principles, and the revisions learned; then, from that model on and with `--feedback prefer`, the
/// better of its replies are preferred, with dropout off unless --dropout turns it on.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub stage: StageArgs,
    #[command(flatten)]
    pub options: Given<ConstitutionOptions>,
}

pub struct Constitutional {
    options: ConstitutionOptions,
    constitution: Constitution,
    asked: (Vec<Exchange>, Vec<Example>),
    questions: (Vec<Exchange>, Vec<Example>),
}

/// What held-out replies violate.
#[derive(Serialize)]
#[serde(tag = "event", rename = "violations")]
struct Violated {
    step: u64,
    replies: usize,
    violating: usize,
    by_principle: Vec<(String, usize)>,
}

/// # Errors
/// When a number is outside its range.
pub fn check_ranges(options: &ConstitutionOptions) -> anyhow::Result<()> {
    let ConstitutionOptions { questions, samples, beta, .. } = *options;
    for (flag, value, range) in [("--questions", questions, 1..=MOST), ("--samples", samples, 2..=1000)] {
        if !range.contains(&(value as u64)) {
            let (least, most) = (range.start(), range.end());
            return Err(Usage(format!("{flag} {value} is outside its range: {least} to {most}")).into());
        }
    }
    Ok(check_beta(beta)?)
}

impl Constitutional {
    pub fn new(options: ConstitutionOptions) -> anyhow::Result<Self> {
        check_ranges(&options)?;
        let constitution = match &options.principles {
            Some(path) => Constitution::read(path)?,
            None => Constitution::of_tales(),
        };
        let [asked, questions] = [(); 2].map(|()| Default::default());
        Ok(Self { options, constitution, asked, questions })
    }
}

impl Job for Constitutional {
    fn defaults(&self, _data: Option<&str>) -> Settings {
        match self.options.feedback {
            Feedback::Revise => recipes::revision(),
            Feedback::Prefer => recipes::dpo(),
        }
    }

    fn read(&mut self, data: &str, at: &Learner) -> anyhow::Result<[usize; 2]> {
        if data != TALES {
            let what = "programs judge replies to questions about tales alone: give --data tales";
            return Err(Usage(what.into()).into());
        }
        self.asked = Lessons::questions_of(Part::Train, self.options.questions, &at.tokenizer)?;
        self.questions = Lessons::questions(TALES_HELD_OUT, &at.tokenizer)?;
        let tokens = |examples: &[Example]| examples.iter().map(|example| example.tokens.len()).sum();
        Ok([tokens(&self.asked.1), tokens(&self.questions.1)])
    }

    /// The replies are the base's, not those of what became of it.
    fn needs_base(&self) -> bool {
        true
    }

    fn source(
        &mut self,
        device: &mut dyn Device,
        base: Option<&mut Base>,
        at: &Learner,
        progress: Progress,
    ) -> anyhow::Result<Box<dyn Source>> {
        let Learner { config, model, tokenizer } = at;
        let Some(base) = base else { anyhow::bail!("nothing was read") };
        let bare = ModelConfig { lora_rank: 0, ..model.clone() };
        let sizes = [2 * config.batch_size, model.block_size];
        let reference = Reader::load(device, &bare, "", Head::Tokens, sizes)?;
        base.write_to(device, reference.parameters(), config.seed)?;

        let samples = if self.options.feedback == Feedback::Revise { 1 } else { self.options.samples };
        let each = |examples: &[Example]| -> Vec<Example> {
            examples.iter().flat_map(|example| std::iter::repeat_n(example.clone(), samples)).collect()
        };
        let by_model = self.options.judge == Judging::Model;
        if by_model && self.options.feedback == Feedback::Revise {
            let reminder = self.constitution.reminder();
            let ask = |asked: &Exchange| chat(tokenizer, Some(&reminder), asked, asked.answer.clone());
            let reminded = self.asked.0.iter().map(ask).collect::<Result<Vec<_>, _>>()?;
            let said =
                answers(device, &bare, tokenizer, &reminded, &Strategy::default(), config.seed, progress)?;
            // What did not end is nothing to learn from.
            let ended = self.asked.0.iter().zip(&said).filter(|(_, reply)| reply.ended);
            let said = ended.map(|(asked, reply)| (asked, text(reply, tokenizer))).collect();
            let replies = Replies { constitution: &self.constitution, tokenizer, said };
            let (train, val) = sft::hold_out(replies.unrevised()?);
            return Ok(Box::new(Conversations::new(TALES, &train, &val, config, model)?));
        }
        let examples = each(&self.asked.1);
        let texts =
            replies(device, &bare, tokenizer, &examples, &Strategy::default(), config.seed, progress)?;
        let prompts = Prompt::of_questions(&self.asked.0, &self.asked.1);
        let prompts = prompts.iter().flat_map(|prompt| std::iter::repeat_n(prompt, samples));
        let replies = Replies::new(&self.constitution, tokenizer, prompts, texts);
        if self.options.feedback == Feedback::Revise {
            let (train, val) = sft::hold_out(replies.revised()?);
            return Ok(Box::new(Conversations::new(TALES, &train, &val, config, model)?));
        }
        let faults = if by_model { replies.doubts(device, &reference)? } else { replies.faults() };
        let (train, val) = hold_out(replies.preferences(&faults, samples, model.block_size)?);
        let time = longest(&train).max(longest(&val));
        let reference = Reader::load(device, &bare, "", Head::Tokens, [2 * config.batch_size, time])?;
        let preference = Preference { beta: self.options.beta, ..Preference::default() };
        let objective = Objective::Preference(preference);
        let source = PairSource::for_preferences(
            TALES,
            objective,
            [train, val],
            config,
            device,
            &reference,
            progress,
        )?;
        Ok(Box::new(source))
    }

    fn judge(
        &mut self,
        device: &mut dyn Device,
        step: u64,
        at: &Learner,
        output: Output,
    ) -> anyhow::Result<()> {
        let (questions, examples) = &self.questions;
        tally::tell(device, step, at, questions, examples, output)?;
        let texts = tally::greedy_replies(device, at, examples, output)?;
        let prompts = Prompt::of_questions(questions, examples);
        let Violations { replies, violating, by_principle } =
            Replies::new(&self.constitution, &at.tokenizer, &prompts, texts).violations();
        if output.json {
            return output.event(&Violated { step, replies, violating, by_principle });
        }
        let each: Vec<String> = by_principle.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let (share, each) = (100.0 * violating as f64 / replies.max(1) as f64, each.join(", "));
        output.line(format!(
            "step {step}: {violating} of {replies} replies violate a principle, {share:.1}%"
        ))?;
        output.line(format!("  {each}"))?;
        Ok(())
    }
}
