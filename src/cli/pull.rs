//! `lal pull`: downloads a published model.

use std::fs;
use std::path::Path;

use serde::Serialize;

use super::failure::Exit;
use super::hub::{hub, pull};
use super::output::Output;
use crate::hub::ModelName;

/// The files go into the cache of the Hugging Face Hub, where `transformers` finds them too, and later commands take
/// the name as their --model. HF_HOME, HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE are honoured.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model, with its branch, tag or commit if it is not the newest [default: list the models in the cache]
    #[arg(value_name = "ORG/NAME[@REVISION]")]
    name: Option<ModelName>,
    /// The file to download, where there are several .gguf files
    #[arg(long, value_name = "FILE", requires = "name")]
    file: Option<String>,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event<'a> {
    Model { name: String, path: &'a Path },
    File { name: String, bytes: u64 },
    Done { path: Option<&'a Path> },
}

pub fn run(args: &Args, output: Output) -> anyhow::Result<Exit> {
    let hub = hub()?;
    let Some(name) = &args.name else {
        let models = hub.models();
        for (name, path) in models.iter().filter_map(|name| Some((name, hub.find(name)?))) {
            if output.json {
                output.event(&Event::Model { name: name.to_string(), path: &path })?;
            } else {
                output.line(name.to_string())?;
            }
        }
        if models.is_empty() {
            output.remark(format!("there is no model in {}", hub.cache.display()));
        }
        if output.json {
            output.event(&Event::Done { path: None })?;
        }
        return Ok(Exit::Done);
    };
    let path = pull(&hub, name, args.file.as_deref(), output)?;
    if output.json {
        for (name, bytes) in files(&path) {
            output.event(&Event::File { name, bytes })?;
        }
        output.event(&Event::Done { path: Some(&path) })?;
        return Ok(Exit::Done);
    }
    output.line(path.display().to_string())?;
    output.remark(format!("use it by its name: `lal sample --model {name}`"));
    Ok(Exit::Done)
}

/// The files of a model, in order of their names.
fn files(path: &Path) -> Vec<(String, u64)> {
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let file = |entry: fs::DirEntry| {
        let bytes = fs::metadata(entry.path()).ok().filter(fs::Metadata::is_file)?.len();
        Some((entry.file_name().into_string().ok()?, bytes))
    };
    let mut files: Vec<_> = entries.filter_map(file).collect();
    files.sort();
    files
}
