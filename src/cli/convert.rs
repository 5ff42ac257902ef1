//! `lal convert`: a model in the form of other programs.

use std::path::PathBuf;

use serde::Serialize;

use super::adapter::AdapterArgs;
use super::failure::Exit;
use super::hub::located;
use super::output::Output;
use crate::interop::dtype::Dtype;
use crate::run::convert::{Source, gguf, hf};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of a model, a .gguf file, or org/name of a published model
    #[arg(long, env = "LAL_MODEL", value_name = "MODEL")]
    model: PathBuf,
    #[command(flatten)]
    adapter: AdapterArgs,
    /// Merge the adapter into the weights: the default, since an exported model has no adapter of its own
    #[arg(long)]
    merge: bool,
    /// What to write: a folder that transformers loads, or a file that llama.cpp loads
    #[arg(long, value_name = "FORM")]
    to: To,
    /// Where to write it: a new folder, or a new file
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// Number format of the matrices: f32, f16, bf16, or for gguf q8_0 [default: the model's own, else f32]
    ///
    /// Vectors in a GGUF file are f32, as llama.cpp wants them.
    #[arg(long, value_name = "NAME", value_parser = dtype)]
    dtype: Option<Dtype>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum To {
    Hf,
    Gguf,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event<'a> {
    Done { out: &'a str, tensors: usize, bytes: u64 },
}

/// The formats that can be written.
fn dtype(name: &str) -> Result<Dtype, String> {
    let known = Dtype::from_name(name).filter(|dtype| dtype.can_encode());
    known.ok_or_else(|| "choose one of f32, f16, bf16, q8_0".into())
}

pub fn run(args: &Args, output: Output) -> anyhow::Result<Exit> {
    let mut source = Source::open(&located(&args.model, output)?, args.adapter.folder())?;
    if args.merge && args.adapter.folder().is_none() {
        output.detail("there is no --adapter: the weights hold what was merged into them before");
    }
    let converted = match args.to {
        To::Hf => hf(&mut source, &args.out, args.dtype)?,
        To::Gguf => gguf(&mut source, &args.out, args.dtype)?,
    };
    for remark in &converted.remarks {
        output.remark(remark);
    }
    let out = args.out.display().to_string();
    if output.json {
        output.event(&Event::Done { out: &out, tensors: converted.tensors, bytes: converted.bytes })?;
    } else {
        let megabytes = converted.bytes as f64 / 1e6;
        output.line(format!("{out}: {} tensors, {megabytes:.1} MB", converted.tensors))?;
    }
    Ok(Exit::Done)
}
