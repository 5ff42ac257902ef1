//! `--model`, and what changes it when it is loaded: `--adapter`, `--context`.

use std::path::PathBuf;

use super::adapter::AdapterArgs;
use super::hub::located;
use super::output::Output;
use super::values::{MOST_CONTEXT, whole};
use crate::engine::device::Device;
use crate::sample::load::{Changes, Model, load_with};

#[derive(Debug, clap::Args)]
pub struct ModelArgs {
    /// Folder of a model, a .gguf file, or org/name of a published model
    #[arg(long, env = "LAL_MODEL", value_name = "MODEL")]
    model: PathBuf,
    #[command(flatten)]
    adapter: AdapterArgs,
    /// Context length in tokens [default: the model's]. A longer one takes more memory, and a model may do badly
    /// beyond the length that it was trained with
    #[arg(long, value_name = "N", value_parser = whole::<usize>(1..=MOST_CONTEXT))]
    context: Option<usize>,
}

impl ModelArgs {
    /// Where it is.
    pub fn located(&self, output: Output) -> anyhow::Result<PathBuf> {
        located(&self.model, output)
    }

    /// The model on a device.
    pub fn load(&self, device: &mut dyn Device, output: Output) -> anyhow::Result<Model> {
        let changes = Changes { adapter: self.adapter.folder(), context: self.context };
        Ok(load_with(device, &self.located(output)?, changes)?)
    }
}
