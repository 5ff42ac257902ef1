//! `lal finetune sft`: a model that continues text learns to answer.

use std::path::Path;

use super::run::{Job, Learner, StageArgs};
use super::tally;
use crate::cli::output::Output;
use crate::engine::device::Device;
use crate::finetune::base::Base;
use crate::finetune::lessons::{FLAWED_TALES, Lessons, TALES_CONVERSATIONS, TALES_HELD_OUT};
use crate::finetune::recipes;
use crate::finetune::sft::Conversations;
use crate::run::settings::Settings;
use crate::sample::batch::Progress;
use crate::text::chat::Example;
use crate::text::corpus::TALES;
use crate::train::source::Source;

/// `--data` is a .jsonl of conversations; or `tales` for questions about the built-in world, rightly answered, or
/// `tales-flawed` for the same as people answer them who invent what they do not know and are rude to some.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub stage: StageArgs,
}

#[derive(Default)]
pub struct Sft {
    lessons: Option<Lessons>,
}

impl Job for Sft {
    fn defaults(&self, data: Option<&str>) -> Settings {
        match data {
            Some(TALES) => recipes::sft_on_tales(),
            Some(FLAWED_TALES) => recipes::sft_on_demonstrations(),
            _ => recipes::sft(),
        }
    }

    fn read(&mut self, data: &str, at: &Learner) -> anyhow::Result<[usize; 2]> {
        let Learner { config, tokenizer, .. } = at;
        let lessons = match data {
            TALES | FLAWED_TALES => {
                let flawed = data == FLAWED_TALES;
                Lessons::of_tales(
                    flawed,
                    TALES_CONVERSATIONS,
                    TALES_HELD_OUT,
                    config.model.block_size,
                    tokenizer,
                )?
            }
            path => Lessons::of_file(Path::new(path), tokenizer)?,
        };
        let tokens = |examples: &[Example]| examples.iter().map(|example| example.tokens.len()).sum();
        let counts = [tokens(&lessons.train), tokens(&lessons.held_out)];
        self.lessons = Some(lessons);
        Ok(counts)
    }

    fn source(
        &mut self,
        _device: &mut dyn Device,
        _base: Option<&mut Base>,
        at: &Learner,
        _progress: Progress,
    ) -> anyhow::Result<Box<dyn Source>> {
        let Some(Lessons { name, train, held_out, .. }) = &self.lessons else {
            anyhow::bail!("nothing was read")
        };
        Ok(Box::new(Conversations::new(name, train, held_out, &at.config, &at.model)?))
    }

    fn judge(
        &mut self,
        device: &mut dyn Device,
        step: u64,
        at: &Learner,
        output: Output,
    ) -> anyhow::Result<()> {
        let Some(Lessons { questions, held_out, .. }) = &self.lessons else { return Ok(()) };
        tally::tell(device, step, at, questions, held_out, output)
    }
}
