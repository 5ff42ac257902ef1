//! `--adapter`: low-rank adapters for a model.

use std::path::{Path, PathBuf};

#[derive(Clone, Debug, clap::Args)]
pub struct AdapterArgs {
    /// Folder of a LoRA adapter of the model (PEFT's, or a run's adapter/), to merge into its weights on loading
    #[arg(long, env = "LAL_ADAPTER", value_name = "DIR")]
    adapter: Option<PathBuf>,
}

impl AdapterArgs {
    pub fn folder(&self) -> Option<&Path> {
        self.adapter.as_deref()
    }
}
