//! The least memory of training, from sizes alone: known before a plan is recorded, which takes memory itself.

use super::plans::StepShape;
use crate::engine::plan::Memory;
use crate::engine::tensor::{Shape, Spec};
use crate::models::census::{ParameterGroup, total};
use crate::models::config::{Architecture, ModelConfig, Position};
use crate::models::transformer::rotary_tables;
use crate::objective::Objective;
use crate::optim::{Optimizer, OptimizerConfig};

/// Bytes of a [`training`](super::plans::training) plan. Of pretraining on whole rows all but `temporaries` are exact;
/// those are what each layer hands to the next. Another objective adds a head and inputs of its own, which are left
/// out.
pub fn least_memory(config: &ModelConfig, shape: StepShape, optimizer: &OptimizerConfig) -> Memory {
    let census = config.census();
    let frozen = config.lora.is_on();
    let trained = |kind: &&ParameterGroup| !frozen || kind.adapter;
    let trained = census.iter().filter(trained);

    let moments = |kind: &ParameterGroup| match optimizer.optimizer {
        Optimizer::AdamW => 2,
        Optimizer::Muon => 2 - u64::from(kind.hidden),
        Optimizer::Sgd => u64::from(optimizer.adamw.beta1 != 0.0),
    };
    let accumulated = u64::from(shape.grad_accum > 1);
    let states = trained.map(|kind| kind.len().saturating_mul(moments(kind) + accumulated));
    let states = states.fold(tables(config, shape), u64::saturating_add);

    let tokens = Shape::from(config.tokens_shape(shape.sequences(), shape.time));
    let predictions = config.n_predictions(shape.sequences(), shape.time) as u64;
    let of_rows = if shape.segments { 3 } else { 1 };
    let of_predictions = match (shape.objective, shape.places) {
        (Objective::Tokens, None) => predictions.saturating_mul(2),
        (Objective::Neighbours, _) => predictions.saturating_mul(3),
        _ => 0,
    };
    let inputs = (tokens.len() as u64).saturating_mul(of_rows).saturating_add(of_predictions);

    let layers = match config.architecture {
        Architecture::Transformer => config.n_layer,
        // A recurrent layer's inputs for all its gates, and its states.
        Architecture::Rnn | Architecture::Gru | Architecture::Lstm => config.n_layer,
        Architecture::Mlp | Architecture::Skipgram | Architecture::Bigram => 0,
    };
    let handed_on = Spec::f32([tokens.len(), config.n_embd]).bytes().saturating_mul(layers as u64);
    Memory {
        parameters: total(&census).saturating_mul(4),
        states: states.saturating_mul(4),
        inputs: inputs.saturating_mul(4),
        temporaries: handed_on,
    }
}

/// Numbers that are no parameters and belong to the model: angles, sinusoids, and what a recurrent net carries along.
fn tables(config: &ModelConfig, shape: StepShape) -> u64 {
    let len = |rows: usize, width: usize| Shape::from([rows, width]).len() as u64;
    match (config.architecture, config.position) {
        (Architecture::Transformer, Position::Rope) => {
            rotary_tables(config).iter().map(|table| len(config.block_size, table.width)).sum()
        }
        (Architecture::Transformer, Position::Sinusoidal) => len(config.block_size, config.n_embd),
        (Architecture::Rnn | Architecture::Gru, _) => {
            len(shape.sequences(), config.n_embd).saturating_mul(config.n_layer as u64)
        }
        (Architecture::Lstm, _) => {
            len(shape.sequences(), config.n_embd).saturating_mul(config.n_layer as u64).saturating_mul(2)
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::nn::lora::Lora;
    use crate::nn::mlp::FeedForward;
    use crate::nn::norm::Norm;
    use crate::run::config::TrainConfig;
    use crate::run::presets;
    use crate::train::plans::training;

    fn check(config: &TrainConfig, model: &ModelConfig) {
        let shape = StepShape::pretraining(model, config.batch_size, config.grad_accum);
        let told = least_memory(model, shape, &config.optimizer_config());
        let plan = training(model, shape, &config.optimizer_config()).unwrap().memory();
        assert!(told.temporaries <= plan.temporaries, "{told:?} is more than {plan:?} of {model:?}");
        assert_eq!(Memory { temporaries: plan.temporaries, ..told }, plan, "{model:?}");
    }

    #[test]
    fn presets_take_what_is_told_of_them() {
        for name in presets::NAMES {
            let preset = presets::named(name).unwrap();
            check(&preset, &preset.model(101));
            check(&TrainConfig { grad_accum: 3, ..preset.clone() }, &preset.model(17));
        }
    }

    #[test]
    fn so_do_configurations_that_no_preset_has() {
        use {Architecture as A, FeedForward as F, Optimizer as O, Position as P};
        let mut rng = ChaCha8Rng::seed_from_u64(22);
        for _ in 0..200 {
            let mut one = |all: &[usize]| all[rng.random_range(0..all.len())];
            let n_head = one(&[1, 2, 4]);
            let model = ModelConfig {
                architecture: [A::Transformer, A::Rnn, A::Gru, A::Lstm, A::Mlp, A::Bigram, A::Skipgram]
                    [one(&[0, 0, 0, 1, 2, 3, 4, 5, 6])],
                n_layer: one(&[1, 2, 3]),
                n_head,
                n_kv_head: one(&[0, 1]),
                n_embd: n_head * one(&[2, 4]),
                n_inner: one(&[0, 5]),
                block_size: one(&[1, 5, 8]),
                bias: one(&[0, 1]) == 1,
                position: [P::None, P::Sinusoidal, P::Learned, P::Rope, P::Alibi][one(&[0, 1, 2, 3, 4])],
                conv_kernel: one(&[0, 3]),
                norm: [Norm::None, Norm::Layer, Norm::Rms][one(&[0, 1, 2])],
                feed_forward: [F::Linear, F::Gelu, F::Swiglu][one(&[0, 1, 2])],
                tied: one(&[0, 1]) == 1,
                ..ModelConfig::gpt(0, 1, 1, 1, 1)
            };
            let config = TrainConfig {
                model,
                batch_size: one(&[1, 3]),
                grad_accum: one(&[1, 2]),
                optimizer: [O::AdamW, O::Muon, O::Sgd][one(&[0, 1, 2])],
                ..presets::named("mini").unwrap()
            };
            let model = config.model(one(&[1, 17]));
            let rank = if model.architecture == A::Transformer { one(&[0, 0, 2]) } else { 0 };
            check(&config, &ModelConfig { lora: Lora::of_rank(rank), ..model });
        }
    }

    #[test]
    fn what_cannot_be_counted_fits_nowhere() {
        let preset = presets::named("mini").unwrap();
        let model = ModelConfig::gpt(1 << 20, 1 << 20, 1000, 1, 1 << 20);
        let shape = StepShape::pretraining(&model, 1 << 32, 2);
        assert_eq!(least_memory(&model, shape, &preset.optimizer_config()).total(), u64::MAX);
    }
}
