//! `--model org/name`: models of the Hugging Face Hub, where folders are taken.

use std::env::var;
use std::path::{Path, PathBuf};
use std::time::Duration;

use etcetera::BaseStrategy;

use super::failure::Usage;
use super::output::Output;
use crate::hub::{Hub, HubError, ModelName};

const ENDPOINT: &str = "https://huggingface.co";
/// Seconds that the hub may say nothing.
const TIMEOUT: u64 = 10;
/// Bytes of a token's file that are read at most.
const MOST_TOKEN: u64 = 1 << 12;

/// The hub, by the variables that its own library knows.
pub fn hub() -> Result<Hub, Usage> {
    let set = |name: &str| var(name).ok().filter(|value| !value.is_empty());
    let home = || -> Option<PathBuf> {
        let base = etcetera::choose_base_strategy().ok()?;
        let cache = set("XDG_CACHE_HOME").map_or_else(|| base.home_dir().join(".cache"), PathBuf::from);
        Some(cache.join("huggingface"))
    };
    let home = set("HF_HOME").map(PathBuf::from).or_else(home);
    let cache = set("HF_HUB_CACHE").map(PathBuf::from).or_else(|| Some(home.as_ref()?.join("hub")));
    let cache =
        cache.ok_or_else(|| Usage("there is no home folder to keep models in: set HF_HOME".into()))?;
    let file = set("HF_TOKEN_PATH").map(PathBuf::from).or_else(|| Some(home?.join("token")));
    let kept = || crate::files::read_to_string(&file?, MOST_TOKEN).ok();
    let is_on = |name: &str| set(name).is_some_and(|value| is_true(&value));
    let seconds = match set("HF_HUB_DOWNLOAD_TIMEOUT") {
        None => TIMEOUT,
        Some(text) => text.parse().ok().filter(|seconds| (1..=3600).contains(seconds)).ok_or_else(|| {
            Usage(format!("HF_HUB_DOWNLOAD_TIMEOUT is {text:?}, not a number of seconds from 1 to 3600"))
        })?,
    };
    Ok(Hub {
        endpoint: set("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.into()),
        cache,
        token: set("HF_TOKEN")
            .or_else(kept)
            .map(|token| token.trim().to_owned())
            .filter(|token| !token.is_empty()),
        offline: is_on("HF_HUB_OFFLINE") || is_on("TRANSFORMERS_OFFLINE"),
        timeout: Duration::from_secs(seconds),
    })
}

/// As the hub's library reads a variable.
fn is_true(value: &str) -> bool {
    ["1", "on", "yes", "true"].contains(&value.to_ascii_lowercase().as_str())
}

/// Where a model is: the path that was given, or else the model of the hub that it names, downloaded if need be.
///
/// # Errors
/// When there is no such path, and no such model can be had.
pub fn located(model: &Path, output: Output) -> anyhow::Result<PathBuf> {
    let Some(name) = named(model) else { return Ok(model.to_owned()) };
    let hub = hub()?;
    match hub.find(&name) {
        Some(path) => Ok(path),
        None => {
            if !hub.offline {
                output.remark(format!("there is no folder {name}: downloading the model of that name"));
            }
            Ok(pull(&hub, &name, None, output)?)
        }
    }
}

/// The same, where a model may be given.
pub fn located_if(model: Option<PathBuf>, output: Output) -> anyhow::Result<Option<PathBuf>> {
    model.map(|model| located(&model, output)).transpose()
}

/// The name of the hub that a path can only be: `runs/typo` is none where there is a folder `runs`.
fn named(model: &Path) -> Option<ModelName> {
    let name = model.to_str()?.parse().ok()?;
    let is_path = model.exists() || model.parent().is_some_and(Path::exists);
    (!is_path).then_some(name)
}

/// Downloads a model, drawing progress.
pub fn pull(hub: &Hub, name: &ModelName, file: Option<&str>, output: Output) -> Result<PathBuf, HubError> {
    let mut bar = None;
    hub.pull(name, file, &mut |progress| {
        let drawn = || output.bar("{bar:24} {bytes} of {total_bytes}, {bytes_per_sec}  {msg}");
        let bar = bar.get_or_insert_with(drawn);
        bar.say(progress.file.to_owned());
        bar.at(progress.bytes, progress.total.unwrap_or(progress.bytes));
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_there_or_could_be_is_no_name() {
        assert_eq!(named(Path::new("org-of-no-folder/name")).unwrap().to_string(), "org-of-no-folder/name");
        for path in ["src/cli", "src/no-such-run", "./org/name", "/org/name", "model.gguf", "a/b/c"] {
            assert_eq!(named(Path::new(path)), None, "{path}");
        }
    }
}
