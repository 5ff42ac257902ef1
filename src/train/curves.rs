//! What the pictures of a run show, from its metrics.

use serde_json::Value;

use super::source::REWARD;
use super::trainer::Trainer;
use crate::run::plot::Curve;

/// The losses and rewards of the steps done so far.
pub fn curves(trainer: &Trainer, floor: Option<f64>, metrics: &[Value]) -> [Curve; 2] {
    let points = |key: &str| {
        let point = |m: &Value| Some((m["step"].as_u64()?, m[key].as_f64()?));
        metrics.iter().filter_map(point).collect()
    };
    let title = format!("{} on {}", trainer.config.preset, trainer.source().name());
    let rewards = Curve { quantity: REWARD, steps: points(REWARD), title: title.clone(), ..Curve::default() };
    let losses = Curve {
        title,
        quantity: trainer.source().quantity(),
        steps: points("loss"),
        train: points("train_loss"),
        val: points("val_loss"),
        floor,
    };
    [losses, rewards]
}
