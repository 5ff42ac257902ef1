//! What the pictures of a run show, from its metrics.

use std::path::Path;

use serde_json::Value;

use super::source::REWARD;
use super::trainer::Trainer;
use crate::run::plot::Curve;

/// The losses and rewards of the steps done so far.
pub fn curves(trainer: &Trainer, floor: Option<f64>, metrics: &[Value]) -> [Curve; 2] {
    let points = |key: &str| -> Vec<(u64, f64)> {
        let point = |m: &Value| Some((m["step"].as_u64()?, m[key].as_f64()?));
        metrics.iter().filter_map(point).collect()
    };
    // Written as an f32 with as few digits as identify it.
    let of_steps = points("loss").into_iter().map(|(step, loss)| (step, f64::from(loss as f32))).collect();
    // Of a path the file's name: the same wherever the run is continued from.
    let name = Path::new(trainer.source().name());
    let name = name.file_name().map_or(name.to_string_lossy(), |name| name.to_string_lossy());
    let title = format!("{} on {name}", trainer.config.preset);
    let rewards = Curve { quantity: REWARD, steps: points(REWARD), title: title.clone(), ..Curve::default() };
    let losses = Curve {
        title,
        quantity: trainer.source().quantity(),
        steps: of_steps,
        train: points("train_loss"),
        val: points("val_loss"),
        floor,
    };
    [losses, rewards]
}
