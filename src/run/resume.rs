//! Which settings may change when a run is continued.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::config::TrainConfig;
use super::config_error::ConfigError;
use super::ranges::FOLLOWS;
use super::settings::Settings;

/// The settings that may change: how long and how fast a run learns, and what it evaluates, writes and saves. A change
/// is recorded, and holds from then on. The device may change too, and the paths of inputs whose [hash](super::origin)
/// is the same.
pub const CHANGEABLE: [&str; 9] = [
    "steps",
    "schedule",
    "learning_rate",
    "min_learning_rate",
    "warmup_steps",
    "eval_every",
    "eval_iters",
    "sample_tokens",
    "save_every",
];

/// A setting that was asked for, and of which the run has another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub flag: String,
    pub asked: String,
    pub has: String,
}

impl Difference {
    /// Of a setting or an option under this key.
    pub fn new(key: &str, asked: &Value, has: Option<&Value>) -> Self {
        let has = has.map_or("none".into(), plain);
        Self { flag: format!("--{}", key.replace('_', "-")), asked: plain(asked), has }
    }
}

/// A value as one would give it to a flag.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        // An f32 that became an f64 on the way here has digits that say nothing.
        Value::Float(number) if f64::from(*number as f32) == *number => format!("{:?}", *number as f32),
        _ => value.to_string(),
    }
}

/// Settings were asked for that would make another run.
#[derive(Debug, thiserror::Error)]
#[error(
    "{}: the run in {folder} keeps the settings that it began with. Leave {} out (as LAL_ variables too), or start a new run \
     with these and another --out, from --config {config}",
    list(differences), flags(differences), folder = folder.display(), config = folder.join(super::folder::SETTINGS).display()
)]
pub struct Kept {
    pub folder: PathBuf,
    pub differences: Vec<Difference>,
}

fn list(differences: &[Difference]) -> String {
    let each =
        differences.iter().map(|Difference { flag, asked, has }| format!("{flag} is {asked}, not {has}"));
    each.collect::<Vec<_>>().join("; ")
}

fn flags(differences: &[Difference]) -> String {
    differences.iter().map(|difference| difference.flag.as_str()).collect::<Vec<_>>().join(" and ")
}

impl Kept {
    pub fn unless_none(folder: &Path, differences: Vec<Difference>) -> Result<(), Self> {
        if differences.is_empty() { Ok(()) } else { Err(Self { folder: folder.to_owned(), differences }) }
    }
}

impl Settings {
    /// The configuration of a run with these recorded settings that is continued with `asked`, and the settings that
    /// differ but cannot change. The data are not compared here.
    pub fn resumed(&self, asked: &Self) -> Result<(TrainConfig, Vec<Difference>), ConfigError> {
        let has = self.resolve()?;
        let recorded = has.as_table();
        let (mut anew, mut differences) = (Table::new(), Vec::new());
        for (key, value) in asked.laid_over(&Table::new())? {
            if key == "data" || is_alike(&has, &recorded, &key, &value) {
                continue;
            }
            if CHANGEABLE.contains(&key.as_str()) {
                anew.insert(key, value);
            } else {
                differences.push(Difference::new(&key, &value, recorded.get(&key)));
            }
        }
        if let Some(end) = asked.min_learning_rate.filter(|_| anew.contains_key("learning_rate")) {
            // A new peak resets the recorded end, unless the same end is asked for too.
            anew.insert("min_learning_rate".into(), end.into());
        }
        let settings =
            |table: Table| -> Self { table.try_into().expect("every key is of a setting, and of its type") };
        let config = settings(anew).over(&settings(recorded))?.resolve()?;
        Ok((config, differences))
    }
}

/// Whether a setting is the same as the run's, such as a 0 for the size that the run has anyway.
fn is_alike(has: &TrainConfig, recorded: &Table, key: &str, value: &Value) -> bool {
    if recorded.get(key) == Some(value) {
        return true;
    }
    let mut other = has.as_table();
    other.insert(key.to_owned(), value.clone());
    FOLLOWS.contains(&key) && other.try_into().is_ok_and(|other: TrainConfig| other.model(1) == has.model(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resumed(recorded: &str, asked: &str) -> (TrainConfig, Vec<Difference>) {
        let settings = |text| -> Settings { toml::from_str(text).unwrap() };
        settings(recorded).resumed(&settings(asked)).unwrap()
    }

    #[test]
    fn what_says_the_same_is_no_change() {
        let recorded = "n_head = 2\nn_layer = 1\nmin_learning_rate = 5e-4";
        for same in
            ["preset = 'mini'", "n_head = 2", "n_kv_head = 2", "n_inner = 512", "learning_rate = 1e-3"]
        {
            let (config, differences) = resumed(recorded, same);
            assert_eq!(
                (differences, config.min_learning_rate, config.model.n_head),
                (vec![], 5e-4, 2),
                "{same}"
            );
        }
        assert_eq!(resumed("n_kv_head = 4", "n_kv_head = 0").1, []);
    }

    #[test]
    fn a_new_rate_takes_the_old_end_away() {
        let recorded = "min_learning_rate = 5e-4";
        assert_eq!(resumed(recorded, "learning_rate = 1e-2").0.min_learning_rate, 1e-3);
        let (config, _) = resumed(recorded, "learning_rate = 1e-2\nmin_learning_rate = 5e-4");
        assert_eq!((config.learning_rate, config.min_learning_rate), (1e-2, 5e-4));
    }

    #[test]
    fn all_that_differs_is_named() {
        let (_, differences) = resumed("", "n_head = 8\nfeed_forward = 'relu'\nsteps = 7");
        let error = Kept::unless_none(Path::new("runs/a"), differences).unwrap_err().to_string();
        for part in ["--n-head is 8, not 4", "--feed-forward is relu, not gelu", "runs/a/config.toml"] {
            assert!(error.contains(part), "{error}");
        }
        assert!(!error.contains("--steps"), "{error}");
    }
}
