//! How models answer, and which of two answers better.

use std::collections::BTreeMap;
use std::path::Path;

use super::data::Data;
use super::event::{ByQuestion, Event};
use crate::cli::device::{DeviceArgs, Opened};
use crate::cli::failure::Usage;
use crate::cli::output::Output;
use crate::finetune::answers::{answers, exact_match, text};
use crate::finetune::base::Base;
use crate::finetune::report::{Answers, Grades};
use crate::finetune::sft_dataset::SftDataset;
use crate::sample::batch::Reply;
use crate::sample::load::{Model, Stored, load};
use crate::sample::strategy::Strategy;
use crate::text::chat::Example;
use crate::text::tales::Exchange;
use crate::text::tales::grade::{Tally, Verdict, grade};
use crate::text::tokenizer::Tokenizer;

/// Replies that a reward model reads at once.
const READ_AT_ONCE: usize = 16;

fn by_question(questions: &[Exchange], verdicts: &[Verdict]) -> Vec<ByQuestion> {
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    for (asked, verdict) in questions.iter().zip(verdicts) {
        tallies.entry(asked.kind()).or_default().count(verdict);
    }
    let row = |(question, Tally { questions, known, right, honest, .. })| {
        let (told, untold) = (known, questions - known);
        ByQuestion { question, told, right, untold, honest }
    };
    tallies.into_iter().map(row).collect()
}

/// What a model replied.
pub struct Answered {
    dataset: SftDataset,
    replies: Vec<Reply>,
    /// The program's; none where it cannot judge.
    verdicts: Vec<Verdict>,
    tokenizer: Tokenizer,
}

impl Answered {
    fn exact_match(&self) -> f64 {
        let texts: Vec<String> = self.replies.iter().map(|reply| text(reply, &self.tokenizer)).collect();
        exact_match(&self.dataset.held_out.examples, &texts, &self.tokenizer)
    }

    fn grades(&self) -> Option<Grades> {
        let tally = || self.verdicts.iter().copied().collect::<Tally>().into();
        (!self.verdicts.is_empty()).then(tally)
    }

    /// Prompts with their replies, each ended.
    fn whole(&self) -> Vec<Vec<u32>> {
        let end = self.tokenizer.answer_end();
        let whole = |(example, reply): (&Example, &Reply)| reply.ended_after(example.last_exchange().0, end);
        self.dataset.held_out.examples.iter().zip(&self.replies).map(whole).collect()
    }
}

/// What models are asked, and how.
pub struct Asking<'a> {
    pub data: Data<'a>,
    pub device: &'a DeviceArgs,
    pub strategy: &'a Strategy,
    pub seed: u64,
    /// The folder of the reward model that compares two answers; without it a program does.
    pub reward: Option<&'a Path>,
}

impl Asking<'_> {
    /// Checks that another model can be asked too, and that its answers can be scored, before the first is asked.
    pub fn check(&self, other: &Path, model: &Model, asked: &SftDataset) -> anyhow::Result<()> {
        if self.reward.is_none() && asked.held_out.exchanges.is_empty() {
            let what = "--against needs replies that a program can judge: give --data tales, or --reward the folder of \
                        a reward model";
            return Err(Usage(what.into()).into());
        }
        let Stored { config, tokenizer, .. } = Stored::open(other)?;
        self.data.dataset(&config, &tokenizer)?;
        if let Some(reward) = self.reward {
            for tokenizer in [&model.tokenizer, &tokenizer] {
                Base::open_reward(reward, tokenizer)?;
            }
        }
        Ok(())
    }

    /// Asks a model, and tells how it answers.
    pub fn one(
        &self,
        opened: &mut Opened,
        model: &mut Model,
        dataset: SftDataset,
        output: Output,
    ) -> anyhow::Result<Answered> {
        let answered = self.ask(opened, model, dataset, output)?;
        let (exact_match, grades) = (answered.exact_match(), answered.grades());
        let questions = answered.replies.len();
        let by_question = by_question(&answered.dataset.held_out.exchanges, &answered.verdicts);
        if output.json {
            output.event(&Event::Answers {
                answers: Answers { questions, exact_match, grades },
                by_question,
            })?;
            return Ok(answered);
        }
        output.line(format!("exact match     {:>7.1}%   of {questions} answers", 100.0 * exact_match))?;
        if let Some(grades) = grades {
            let known = answered.verdicts.iter().filter(|verdict| verdict.known).count();
            let of = |what: &str, share: f64, whose: String| {
                output.line(format!("{what:<16}{:>7.1}%   {whose}", 100.0 * share))
            };
            of("accuracy", grades.accuracy, format!("of the {known} that the tale tells"))?;
            of("honesty", grades.honesty, format!("of the {} that it does not", questions - known))?;
            of("kindness", grades.kindness, "of all".into())?;
            output.line(format!("reward          {:>8.3}   ± {:.3}", grades.reward, grades.reward_std))?;
            output.line("\n                              told     right   not told   admitted")?;
            for ByQuestion { question, told, right, untold, honest } in by_question {
                output.line(format!("  {question:<24}{told:>8}{right:>10}{untold:>11}{honest:>11}"))?;
            }
        }
        Ok(answered)
    }

    /// Asks another model, and tells which of the two answers better.
    pub fn against(&self, other: &Path, first: &Answered, output: Output) -> anyhow::Result<()> {
        let mut opened = self.device.open(output)?;
        let mut model = load(opened.device(), other)?;
        // Another model may have another tokenizer.
        let dataset = self.data.dataset(&model.config, &model.tokenizer)?;
        let second = self.ask(&mut opened, &mut model, dataset, output)?;
        let [a, b] = match self.reward {
            Some(folder) => {
                let mut opened = self.device.open(output)?;
                [scores(&mut opened, folder, first)?, scores(&mut opened, folder, &second)?]
            }
            None => [first, &second].map(|answered| answered.verdicts.iter().map(Verdict::reward).collect()),
        };
        let wins = a.iter().zip(&b).filter(|(a, b)| a > b).count();
        let losses = a.iter().zip(&b).filter(|(a, b)| a < b).count();
        let ties = a.len() - wins - losses;
        let win_rate = (wins as f64 + 0.5 * ties as f64) / a.len() as f64;
        let grades = second.grades();
        let model = other.display().to_string();
        if output.json {
            return output.event(&Event::Against { model, win_rate, wins, ties, losses, grades });
        }
        let mean = b.iter().sum::<f64>() / b.len() as f64;
        output.line(format!(
            "win rate        {:>7.1}%   {wins} won, {ties} even, {losses} lost",
            100.0 * win_rate
        ))?;
        Ok(output.line(format!("  against {model} (reward {mean:.3})"))?)
    }

    fn ask(
        &self,
        opened: &mut Opened,
        model: &mut Model,
        dataset: SftDataset,
        output: Output,
    ) -> anyhow::Result<Answered> {
        let Model { config, tokenizer, .. } = &*model;
        let bar = output.progress("questions answered");
        let mut progress = |done, of| bar.at(done as u64, of as u64);
        let (examples, strategy, seed) = (&dataset.held_out.examples, self.strategy, self.seed);
        let replies = answers(opened.device(), config, tokenizer, examples, strategy, seed, &mut progress)?;
        let asked = dataset.held_out.exchanges.iter().zip(&replies);
        let verdicts = asked.map(|(asked, reply)| grade(asked, &text(reply, tokenizer))).collect();
        Ok(Answered { dataset, replies, verdicts, tokenizer: tokenizer.clone() })
    }
}

/// What the reward model of a folder gives to replies.
fn scores(opened: &mut Opened, folder: &Path, answered: &Answered) -> anyhow::Result<Vec<f64>> {
    let mut base = Base::open_reward(folder, &answered.tokenizer)?;
    let whole = answered.whole();
    let longest = whole.iter().map(Vec::len).max().unwrap_or(1);
    let device = opened.device();
    let scorer = base.scorer(device, [READ_AT_ONCE, longest])?;
    Ok(scorer.rewards(device, &whole)?)
}
