//! `lal finetune dpo`: a model learns to prefer the better of two answers.

use std::path::Path;

use super::run::{Job, Learner, StageArgs};
use super::tally;
use crate::cli::failure::Usage;
use crate::cli::given::Given;
use crate::cli::output::Output;
use crate::engine::device::Device;
use crate::engine::single::is_positive;
use crate::finetune::base::Base;
use crate::finetune::comparisons::{Comparisons, TALES_PAIRS_HELD_OUT};
use crate::finetune::lessons::{Lessons, TALES_HELD_OUT};
use crate::finetune::pairs::{PairSource, longest};
use crate::finetune::reader::{Head, Reader};
use crate::finetune::recipes;
use crate::finetune::stage::DpoOptions;
use crate::models::config::ModelConfig;
use crate::objective::Objective;
use crate::objective::preference::Preference;
use crate::run::settings::Settings;
use crate::sample::batch::Progress;
use crate::text::chat::Example;
use crate::text::corpus::TALES;
use crate::text::tales::Exchange;
use crate::train::source::Source;

/// `--data` is a .jsonl of {"prompt", "chosen", "rejected"}, or `tales` for preferences about the built-in world. The
/// reference is the model itself as it is at the start: what it says of the pairs is computed once. The base's dropout is
/// off unless --dropout turns it on, as the reference drops nothing out.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub stage: StageArgs,
    #[command(flatten)]
    pub options: Given<DpoOptions>,
}

pub struct Dpo {
    options: DpoOptions,
    comparisons: Option<Comparisons>,
    questions: (Vec<Exchange>, Vec<Example>),
}

impl Dpo {
    pub fn new(options: DpoOptions) -> Result<Self, Usage> {
        let DpoOptions { beta, label_smoothing, sft_weight, .. } = options;
        check_beta(beta)?;
        if !(0.0..0.5).contains(&label_smoothing) {
            let what = format!("--label-smoothing {label_smoothing} is outside its range: 0 to below 0.5");
            return Err(Usage(what));
        }
        check_sft_weight(sft_weight)?;
        Ok(Self { options, comparisons: None, questions: Default::default() })
    }
}

/// The greatest weight of a loss: the squares of its gradients can still be summed in single precision.
const GREATEST: f32 = 1e6;

/// What holds a policy to its reference must be a weight above 0, by which IPO can divide.
pub fn check_beta(beta: f32) -> Result<(), Usage> {
    if is_positive(beta.into()) && beta <= GREATEST {
        return Ok(());
    }
    Err(Usage(format!("--beta {beta} is outside its range: above 0, up to {GREATEST}")))
}

/// What better answers count as demonstrations must be a weight.
pub fn check_sft_weight(sft_weight: f32) -> Result<(), Usage> {
    if (0.0..=GREATEST).contains(&sft_weight) {
        return Ok(());
    }
    Err(Usage(format!("--sft-weight {sft_weight} is outside its range: 0 to {GREATEST}")))
}

/// The pairs of `--data`.
pub fn comparisons(data: &str, at: &Learner) -> anyhow::Result<(Comparisons, [usize; 2])> {
    let comparisons = match data {
        TALES => Comparisons::of_tales(&at.config, TALES_PAIRS_HELD_OUT, &at.tokenizer)?,
        path => Comparisons::of_file(Path::new(path), at.config.model.block_size, &at.tokenizer)?,
    };
    let tokens = |pairs: &[crate::text::preferences::EncodedPair]| {
        pairs.iter().map(|pair| pair.chosen.tokens.len() + pair.rejected.tokens.len()).sum()
    };
    let counts = [tokens(&comparisons.train), tokens(&comparisons.held_out)];
    Ok((comparisons, counts))
}

impl Job for Dpo {
    fn defaults(&self, _data: Option<&str>) -> Settings {
        recipes::dpo()
    }

    fn read(&mut self, data: &str, at: &Learner) -> anyhow::Result<[usize; 2]> {
        let (comparisons, counts) = comparisons(data, at)?;
        if comparisons.name == TALES {
            self.questions = Lessons::questions(TALES_HELD_OUT, &at.tokenizer)?;
        }
        self.comparisons = Some(comparisons);
        Ok(counts)
    }

    fn keep(&mut self, examples: usize) {
        self.comparisons.iter_mut().for_each(|comparisons| comparisons.keep(examples));
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
        progress: Progress,
    ) -> anyhow::Result<Box<dyn Source>> {
        let (Some(comparisons), Some(base)) = (self.comparisons.take(), base) else {
            anyhow::bail!("nothing was read")
        };
        let Comparisons { name, train, held_out } = comparisons;
        let bare = ModelConfig { lora_rank: 0, ..at.model.clone() };
        let time = longest(&train).max(longest(&held_out));
        let sequences = 2 * at.config.batch_size;
        let reference = Reader::load(device, &bare, "", Head::Tokens, [sequences, time])?;
        base.write_to(device, reference.parameters(), at.config.seed)?;
        let DpoOptions { loss: form, beta, label_smoothing, sft_weight } = self.options;
        let objective = Objective::Preference(Preference { form, beta, label_smoothing, sft_weight });
        let source = PairSource::for_preferences(
            &name,
            objective,
            [train, held_out],
            &at.config,
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
        tally::tell(device, step, at, questions, examples, output)
    }
}
