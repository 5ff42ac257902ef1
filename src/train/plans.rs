//! The plans of a run: one training step, and the loss alone.

use std::collections::HashMap;

use crate::engine::op::OpError;
use crate::engine::plan::Plan;
use crate::engine::tape::{Init, State, Tape};
use crate::engine::tensor::{Shape, Spec};
use crate::models::config::{Architecture, ModelConfig};
use crate::models::{Backbone, ModelInputs, Segments, backbone};
use crate::nn::Pass;
use crate::nn::recurrent::carry;
use crate::objective::inputs::Input;
use crate::objective::{BatchShape, Objective};
use crate::optim::OptimizerConfig;

/// What a training step is for, and its sizes.
#[derive(Clone, Copy, Debug)]
pub struct StepShape {
    pub objective: Objective,
    /// Sequences in one micro-step, or pairs of them.
    pub batch_size: usize,
    /// Tokens of a sequence, at most a block.
    pub time: usize,
    /// Micro-steps whose gradients are added up before an update.
    pub grad_accum: usize,
    /// Whether tokens see only those of their own segment.
    pub segments: bool,
    /// How many rows of the backbone the objective reads, where not all.
    pub places: Option<usize>,
}

impl StepShape {
    /// What a model of this kind is pretrained for, on whole blocks.
    pub fn pretraining(config: &ModelConfig, batch_size: usize, grad_accum: usize) -> Self {
        let time = config.block_size;
        let objective = match config.architecture {
            Architecture::Skipgram => Objective::Neighbours,
            _ => Objective::Tokens,
        };
        Self { objective, batch_size, time, grad_accum, segments: false, places: None }
    }

    /// Rows of tokens in a micro-step.
    pub fn sequences(&self) -> usize {
        self.objective.sequences(self.batch_size)
    }

    /// Tokens that all micro-steps together read, padding included.
    pub fn tokens(&self, config: &ModelConfig) -> usize {
        Shape::from(config.tokens_shape(self.sequences(), self.time)).len().saturating_mul(self.grad_accum)
    }

    fn batch(&self, config: &ModelConfig) -> BatchShape {
        let sequences = self.sequences();
        let all = config.n_predictions(sequences, self.time);
        BatchShape { sequences, predictions: self.places.unwrap_or(all) }
    }

    /// Declares `tokens` and perhaps `segments` and `positions`, in the shape that the model reads.
    fn reading(&self, tape: &mut Tape, config: &ModelConfig) -> ModelInputs {
        let tokens = Spec::u32(config.tokens_shape(self.sequences(), self.time));
        ModelInputs {
            tokens: Input::Tokens.declare(tape, tokens),
            segments: self.segments.then(|| Segments {
                numbers: Input::Segments.declare(tape, tokens),
                positions: Input::Positions.declare(tape, tokens),
            }),
        }
    }

    /// Records everything below the head, and leaves the rows that the objective reads.
    fn backbone(
        &self,
        tape: &mut Tape,
        config: &ModelConfig,
        read: ModelInputs,
        pass: Pass,
    ) -> Result<Backbone, OpError> {
        let backbone = backbone(tape, config, read, pass)?;
        let Some(places) = self.places else { return Ok(backbone) };
        let places = Input::Places.declare(tape, Spec::u32([1, places]));
        backbone.at(tape, places)
    }
}

/// A training step over inputs `tokens`, perhaps `segments`, `positions` and `places`, and those of the objective.
///
/// With one micro-step it is one phase, `step`, whose results are [loss, the objective's outputs, grad_norm]. With
/// more, phase `begin` zeroes the gradients, `micro` is run for each micro-step and gives its loss and outputs,
/// and `update` gives the grad_norm. With adapters, nothing but these and the objective's head is trained.
pub fn training(
    config: &ModelConfig,
    shape: StepShape,
    optimizer: &OptimizerConfig,
) -> Result<Plan, OpError> {
    let accumulates = shape.grad_accum > 1;
    let mut tape = Tape::new(if accumulates { "begin" } else { "step" });
    if config.lora.is_on() {
        tape.freeze();
    }
    let read = shape.reading(&mut tape, config);
    if accumulates {
        tape.begin_phase("micro");
    }
    let backbone = shape.backbone(&mut tape, config, read, Pass::Train)?;
    let head = shape.objective.head(&mut tape, config.n_embd);
    let parameters = tape.parameters();
    let mut into = HashMap::new();
    if accumulates {
        for &parameter in &parameters {
            let shape = tape.shape(parameter);
            let name = format!("gradient.{}", tape.name(parameter));
            let gradient = tape.state(&name, shape, Init::Constant(0.0), State::Transient);
            tape.clear_at_start(gradient);
            into.insert(parameter, gradient);
        }
    }
    let batch = shape.batch(config);
    let loss = shape.objective.record(&mut tape, &backbone, head.as_ref(), batch, true, &into)?;
    let gradients = tape.backward(&loss.seeds, &into)?;
    carry(&mut tape, &backbone.carried)?;
    if accumulates {
        tape.begin_phase("update");
    }
    let pairs: Vec<_> = parameters.iter().filter_map(|p| Some((*p, *gradients.get(p)?))).collect();
    let grad_norm = optimizer.record(&mut tape, &pairs)?;
    let results: Vec<_> = [loss.total].into_iter().chain(loss.outputs).chain([grad_norm]).collect();
    Plan::new(&tape, &results)
}

/// The loss alone, dropout off: inputs as [`training`]'s, phase `loss`, whose results are the loss and the
/// objective's outputs.
pub fn evaluation(config: &ModelConfig, shape: StepShape) -> Result<Plan, OpError> {
    let mut tape = Tape::new("loss");
    let read = shape.reading(&mut tape, config);
    let backbone = shape.backbone(&mut tape, config, read, Pass::Evaluate)?;
    let head = shape.objective.head(&mut tape, config.n_embd);
    let batch = shape.batch(config);
    let loss = shape.objective.record(&mut tape, &backbone, head.as_ref(), batch, false, &HashMap::new())?;
    let results: Vec<_> = [loss.total].into_iter().chain(loss.outputs).collect();
    Plan::new(&tape, &results)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::device::cpu::Cpu;
    use crate::engine::device::{Device, HostData};
    use crate::engine::step::Step;
    use crate::engine::tape::Class;
    use crate::models::config::Position;
    use crate::nn::lora::Lora;
    use crate::objective::policy::Policy;
    use crate::objective::preference::Preference;
    use crate::objective::reward::Reward;
    use crate::ops::adamw::AdamW;
    use crate::optim::Optimizer;
    use crate::run::presets;
    use crate::text::pack;

    const BLOCK: usize = 12;

    #[test]
    fn tokens_of_a_step_by_hand() {
        let mini = presets::named("mini").unwrap();
        let model = mini.model(65);
        let pretraining = StepShape::pretraining(&model, mini.batch_size, mini.grad_accum);
        assert_eq!(pretraining.tokens(&model), 12 * 64);
        // Three pairs of answers, in two micro-steps, each answer with its prompt in a row of ten tokens.
        let objective = Objective::Preference(Preference::default());
        let pairs = StepShape { objective, batch_size: 3, grad_accum: 2, time: 10, ..pretraining };
        assert_eq!(pairs.tokens(&model), 2 * 3 * 2 * 10);
    }

    /// [loss, norm of the gradients] of a row of which a part is learned.
    fn step(
        (position, conv_kernel): (Position, usize),
        segments: &[u32],
        places: &[u32],
        tokens: &[u32],
        learned: &[f32],
    ) -> [f32; 2] {
        let model = ModelConfig { position, conv_kernel, ..ModelConfig::gpt(17, BLOCK, 2, 2, 8) };
        let adamw = AdamW { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.1, clip: 0.0 };
        let rule = OptimizerConfig { optimizer: Optimizer::AdamW, adamw };
        let shape = StepShape { segments: true, ..StepShape::pretraining(&model, 1, 1) };
        let mut cpu = Cpu::<f64>::default();
        let id = cpu.load(&Arc::new(training(&model, shape, &rule).unwrap()), 1).unwrap();
        let targets: Vec<u32> = tokens.iter().map(|token| (token + 5) % 17).collect();
        for (name, data) in [
            ("tokens", HostData::U32(tokens)),
            ("targets", HostData::U32(&targets)),
            ("weights", HostData::F32(learned)),
            ("segments", HostData::U32(segments)),
            ("positions", HostData::U32(places)),
        ] {
            cpu.set_input(id, name, data).unwrap();
        }
        cpu.run(id, 0, &Step { learning_rate: 1e-3, ..Step::default() }).unwrap();
        let results = cpu.results(true).unwrap().unwrap();
        [results[0][0], results[1][0]]
    }

    /// By hand from the names of the parameters.
    #[test]
    fn checkpoints_hold_moments_and_what_lasts_from_step_to_step() {
        let rewarded = Policy { clip: 0.2, kl: 0.0, reward_kl: 0.1, value: Some(0.5), entropy: 0.0 };
        let objectives = [
            Objective::Tokens,
            Objective::Preference(Preference::default()),
            Objective::Reward(Reward::default()),
            Objective::Policy(rewarded),
        ];
        let models = |rank| {
            let gpt = ModelConfig {
                position: Position::Rope,
                lora: Lora::of_rank(rank),
                ..ModelConfig::gpt(17, BLOCK, 1, 2, 8)
            };
            [ModelConfig { architecture: Architecture::Lstm, ..gpt.clone() }, gpt]
        };
        let preset = presets::named("mini").unwrap().optimizer_config();
        for ((optimizer, objective), model) in [Optimizer::AdamW, Optimizer::Muon, Optimizer::Sgd]
            .into_iter()
            .flat_map(|optimizer| objectives.map(|objective| (optimizer, objective)))
            .flat_map(|both| models(0).into_iter().chain(models(2)).map(move |model| (both, model)))
        {
            let shape = StepShape { objective, grad_accum: 2, ..StepShape::pretraining(&model, 2, 1) };
            let plan = training(&model, shape, &OptimizerConfig { optimizer, ..preset }).unwrap();
            let is_added = |name: &str| {
                ["lora_a", "lora_b", "score", "value_head"].iter().any(|part| name.contains(part))
            };
            let trained = plan.parameters().filter(|(name, ..)| !model.lora.is_on() || is_added(name));
            let mut want: Vec<String> = trained
                .flat_map(|(name, shape, _)| match optimizer {
                    Optimizer::Sgd => vec![format!("sgd.v.{name}")],
                    Optimizer::Muon if shape.dims().len() == 2 && !is_outer(name) => {
                        vec![format!("muon.m.{name}")]
                    }
                    _ => vec![format!("adamw.m.{name}"), format!("adamw.v.{name}")],
                })
                .collect();
            if model.architecture == Architecture::Lstm {
                want.extend(["h", "c"].map(|state| format!("recurrent.h.0.{state}.train")));
            }
            if matches!(objective, Objective::Policy(_)) {
                want.extend(["policy.kl_coefficient", "policy.reward_moments"].map(String::from));
            }
            let saved = |(name, _, class): (&str, _, _)| {
                (class == Class::State(State::Saved)).then(|| name.to_owned())
            };
            let mut got: Vec<String> = plan.persistent().filter_map(saved).collect();
            got.sort();
            want.sort();
            assert_eq!(got, want, "{optimizer:?} {objective:?} {model:?}");
        }
    }

    /// An embedding or a head.
    fn is_outer(name: &str) -> bool {
        ["wte", "score", "value_head"].iter().any(|layer| name.contains(layer))
    }

    /// A pair at a time, longer than 99 of 100 about tales: more would be activations, which adapters do not save.
    /// Nothing else lies in memory for a reference: a run reads the pairs with the same weights before its first step.
    #[test]
    fn adapters_learn_preferences_in_three_fifths_of_the_memory() {
        let preset = presets::named("tales-mini").unwrap();
        let memory = |rank| {
            let model = ModelConfig { lora: Lora::of_rank(rank), ..preset.model(1027) };
            let shape = StepShape {
                objective: Objective::Preference(Preference::default()),
                batch_size: 1,
                time: 90,
                grad_accum: 16,
                segments: false,
                places: Some(32),
            };
            training(&model, shape, &preset.optimizer_config()).unwrap().memory()
        };
        let (full, adapted) = (memory(0), memory(8));
        assert!(10 * adapted.total() <= 6 * full.total(), "{adapted:?} against {full:?}");
        // The weights are there once; of 925,184 the adapters have 65,536.
        let added = (adapted.parameters - full.parameters) as usize;
        assert_eq!(added, 4 * 8 * 4 * (128 + 384 + 128 + 128 + 128 + 512 + 512 + 128));
    }

    #[test]
    fn an_example_beside_another_trains_as_it_would_alone() {
        const A: [u32; 7] = [3, 1, 4, 1, 5, 9, 2];
        const B: [u32; 5] = [6, 5, 3, 5, 8];
        let row = |parts: [&[u32]; 2]| [parts[0], parts[1], &[0; BLOCK]].concat()[..BLOCK].to_vec();
        let after: Vec<f32> = (0..BLOCK).map(|i| if i < A.len() { 0.0 } else { 0.2 }).collect();
        let alone: Vec<f32> = (0..BLOCK).map(|i| if i < B.len() { 0.2 } else { 0.0 }).collect();
        let segments = |first: usize| (0..BLOCK).map(|i| u32::from(i >= first)).collect::<Vec<_>>();
        for form @ (position, _) in [
            (Position::Learned, 0),
            (Position::Sinusoidal, 0),
            (Position::Rope, 0),
            (Position::Alibi, 0),
            (Position::None, 4),
            (Position::Rope, 3),
        ] {
            let run = |segments: &[u32], places: &[u32], tokens: &[u32], learned: &[f32]| {
                step(form, segments, places, tokens, learned)
            };
            let anew = |segments: &[u32]| pack::positions(segments, BLOCK);
            let (second, first) = (segments(A.len()), segments(B.len()));
            let got = run(&second, &anew(&second), &row([&A, &B]), &after);
            let want = run(&first, &anew(&first), &row([&B, &[]]), &alone);
            for (got, want) in got.iter().zip(want) {
                assert!((got - want).abs() < 1e-6 * want, "{form:?}: {got} instead of {want}");
            }
            if position == Position::Learned {
                let in_row: Vec<u32> = (0..BLOCK as u32).collect();
                let other = run(&second, &in_row, &row([&A, &B]), &after);
                assert!((other[1] - want[1]).abs() > 1e-3 * want[1], "{other:?} against {want:?}");
            }
        }
    }
}
