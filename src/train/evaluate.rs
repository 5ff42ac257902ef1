//! The exact loss of a model over given windows: every token counts once.

use std::sync::Arc;

use super::plans::{StepShape, evaluation};
use super::pretraining::time_major;
use super::trainer::TrainError;
use crate::engine::device::{Device, HostData};
use crate::engine::step::Step;
use crate::models::config::{Architecture, ModelConfig};
use crate::objective::inputs::Input;
use crate::text::corpus::{self, Corpus};
use crate::text::dataset::Dataset;
use crate::text::pack::{Window, positions};

/// Windows side by side in one run of the plan.
const BATCH_SIZE: usize = 8;

/// Cross-entropy, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Loss {
    pub nats: f64,
    /// Predictions that `nats` is the sum of.
    pub tokens: usize,
}

impl Loss {
    /// Nats per token.
    pub fn mean(&self) -> f64 {
        self.nats / self.tokens as f64
    }

    /// How many equally likely tokens would be as hard to guess.
    pub fn perplexity(&self) -> f64 {
        self.mean().exp()
    }
}

/// Which tokens of a text a loss counts, and what the model reads before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Windows {
    /// Every token but the first, each once. Windows begin so many tokens apart, so that all but the first see at least
    /// `block_size` − `stride` tokens before what they count.
    Blocks { stride: usize },
    /// As the guide of `transformers` has it (<https://huggingface.co/docs/transformers/perplexity>): the targets are
    /// tokens of the window itself, so that the last token of a window predicts nothing, and the last window is
    /// shorter.
    Sliding { stride: usize },
    /// As `llama-perplexity` of llama.cpp has it: whole windows one after the other. The second half of each counts.
    /// Each begins with the token that begins a text, in place of its own first, if there is one.
    Halves { begin: Option<u32> },
}

/// The windows in which `model` reads a text, each of a block of tokens. A model of fixed windows gets one for each
/// token.
///
/// The text must have more tokens than a block, and a stride be 1 to `block_size`.
pub fn text_windows(tokens: &[u32], model: &ModelConfig, windows: Windows) -> Vec<Window> {
    let time = model.block_size;
    match windows {
        Windows::Blocks { .. } if model.architecture == Architecture::Mlp => blocks(tokens, time, 1, time),
        Windows::Blocks { stride } => blocks(tokens, time, stride, 1),
        Windows::Sliding { stride } => sliding(tokens, time, stride),
        Windows::Halves { begin } => halves(tokens, time, begin),
    }
}

/// `next` is the first target that counts.
fn blocks(tokens: &[u32], time: usize, stride: usize, mut next: usize) -> Vec<Window> {
    let last = tokens.len() - 1 - time;
    let starts = (0..last).step_by(stride).chain([last]);
    let window = |start: usize| {
        let target = start + 1..start + 1 + time;
        let counts = |at: usize| if at >= next { 1.0 } else { 0.0 };
        let window = Window {
            tokens: tokens[start..start + time].to_vec(),
            targets: tokens[target.clone()].to_vec(),
            weights: target.clone().map(counts).collect(),
            segments: vec![0; time],
        };
        next = target.end;
        window
    };
    starts.map(window).collect()
}

fn sliding(tokens: &[u32], time: usize, stride: usize) -> Vec<Window> {
    let (mut windows, mut next) = (Vec::new(), 1);
    for start in (0..tokens.len()).step_by(stride) {
        let end = tokens.len().min(start + time);
        windows.push(inside(&tokens[start..end], time, |at| start + at >= next));
        next = end;
        if end == tokens.len() {
            break;
        }
    }
    windows
}

fn halves(tokens: &[u32], time: usize, begin: Option<u32>) -> Vec<Window> {
    let window = |tokens: &[u32]| {
        let mut window = inside(tokens, time, |at| at > time / 2);
        window.tokens[0] = begin.unwrap_or(tokens[0]);
        window
    };
    tokens.chunks_exact(time).map(window).collect()
}

/// A window that predicts tokens of its own, those whose places count; what is after its end is padding that no token
/// before it sees.
fn inside(tokens: &[u32], time: usize, counts: impl Fn(usize) -> bool) -> Window {
    let padded = |first: usize| -> Vec<u32> {
        let rest = tokens[first.min(tokens.len())..].iter().copied();
        rest.chain(std::iter::repeat(0)).take(time).collect()
    };
    let weight = |at: usize| if at < tokens.len() && counts(at) { 1.0 } else { 0.0 };
    Window {
        tokens: padded(0),
        targets: padded(1),
        weights: (1..=time).map(weight).collect(),
        segments: vec![0; time],
    }
}

/// The lowest loss that a causal model can reach, in nats per token, where the entropy of the text is known; `None` for
/// other models.
pub fn floor(corpus: &Corpus, dataset: &Dataset, model: &ModelConfig) -> Option<f64> {
    if model.predicts_next().is_err() {
        return None;
    }
    // A text has one encoding: its tokens have the entropy of its characters.
    let chars_per_token = corpus.text[corpus.text.len() - dataset.val_bytes..].chars().count() as f64
        / dataset.val.len() as f64;
    match &corpus.source {
        corpus::Source::Tales { floor, .. } => Some(floor * chars_per_token),
        _ => None,
    }
}

/// The loss over `windows` of a model whose parameters `device` holds, each target by its weight. With `segments`,
/// tokens see only those of their own segment.
pub fn loss(
    device: &mut dyn Device,
    model: &ModelConfig,
    windows: &[Window],
    segments: bool,
) -> Result<Loss, TrainError> {
    let shape = StepShape { segments, ..StepShape::pretraining(model, BATCH_SIZE, 1) };
    let plan = device.load(&Arc::new(evaluation(model, shape)?), 0)?;
    let mut loss = Loss::default();
    for batch in windows.chunks(BATCH_SIZE) {
        // A short batch ends with windows that count nothing.
        let row = |at: usize| &batch[at.min(batch.len() - 1)];
        let all = |field: fn(&Window) -> &[u32]| -> Vec<u32> {
            (0..BATCH_SIZE).flat_map(|at| field(row(at))).copied().collect()
        };
        let weight = |at: usize| if at < batch.len() { 1.0 } else { 0.0 };
        let weights: Vec<f32> = (0..BATCH_SIZE)
            .flat_map(|at| row(at).weights.iter().map(move |counts| counts * weight(at)))
            .collect();
        loss.tokens += weights.iter().filter(|&&counts| counts > 0.0).count();
        let (tokens, targets) = (all(|window| &window.tokens), all(|window| &window.targets));
        let time = model.block_size;
        let arranged = match model.architecture {
            Architecture::Mlp => {
                let ends = |i: &usize| i % time == time - 1;
                let places: Vec<usize> = (0..targets.len()).filter(ends).collect();
                let targets = places.iter().map(|&i| targets[i]).collect();
                (tokens, targets, places.iter().map(|&i| weights[i]).collect())
            }
            _ if model.is_recurrent() => (
                time_major(&tokens, BATCH_SIZE, time),
                time_major(&targets, BATCH_SIZE, time),
                time_major(&weights, BATCH_SIZE, time),
            ),
            _ => (tokens, targets, weights),
        };
        let (tokens, targets, weights): (Vec<u32>, Vec<u32>, Vec<f32>) = arranged;
        let mut set = |input: Input, data: HostData| device.set_input(plan, input.name(), data);
        set(Input::Tokens, HostData::U32(&tokens))?;
        set(Input::Targets, HostData::U32(&targets))?;
        set(Input::Weights, HostData::F32(&weights))?;
        if segments {
            let segments = all(|window| &window.segments);
            set(Input::Positions, HostData::U32(&positions(&segments, time)))?;
            set(Input::Segments, HostData::U32(&segments))?;
        }
        device.run(plan, 0, &Step::default())?;
        loss.nats += device.results(true)?.map_or(0.0, |results| f64::from(results[0][0]));
    }
    Ok(loss)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::device::cpu::Cpu;

    fn counted(windows: &[Window]) -> Vec<u32> {
        let of = |window: &Window| -> Vec<u32> {
            let pairs = window.targets.iter().zip(&window.weights);
            pairs.filter(|(_, counts)| **counts > 0.0).map(|(target, _)| *target).collect()
        };
        windows.iter().flat_map(of).collect()
    }

    #[test]
    fn every_token_counts_once_and_sees_enough() {
        let text: Vec<u32> = (0..26).collect();
        let model = ModelConfig::gpt(26, 8, 1, 1, 4);
        for stride in [1, 3, 4, 8] {
            let windows = text_windows(&text, &model, Windows::Blocks { stride });
            assert_eq!(counted(&windows), (1..26).collect::<Vec<_>>(), "{stride}");
            for window in &windows[1..] {
                let first = window.weights.iter().position(|&counts| counts > 0.0).unwrap();
                assert!(first >= 8 - stride);
            }
        }
        let fixed = ModelConfig { architecture: Architecture::Mlp, ..model };
        assert_eq!(
            counted(&text_windows(&text, &fixed, Windows::Blocks { stride: 8 })),
            (8..26).collect::<Vec<_>>()
        );
    }

    /// The targets that `transformers`' guide and llama.cpp's program count, worked out by hand from their loops.
    #[test]
    fn others_count_what_they_count() {
        let text: Vec<u32> = (0..11).collect();
        let model = ModelConfig::gpt(26, 4, 1, 1, 4);
        let sliding = text_windows(&text, &model, Windows::Sliding { stride: 3 });
        let read: Vec<_> = sliding.iter().map(|window| window.tokens.clone()).collect();
        assert_eq!(read, [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9], [9, 10, 0, 0]]);
        assert_eq!(counted(&sliding), (1..11).collect::<Vec<_>>());
        // At the stride of a block the first token of each window is never predicted.
        let apart = text_windows(&text, &model, Windows::Sliding { stride: 4 });
        assert_eq!(counted(&apart), [1, 2, 3, 5, 6, 7, 9, 10]);
        let halves = text_windows(&text, &model, Windows::Halves { begin: Some(25) });
        assert_eq!(halves.iter().map(|window| window.tokens[0]).collect::<Vec<_>>(), [25, 25]);
        assert_eq!(counted(&halves), [3, 7]);
    }

    /// With a head of zeros every token is as likely as any other: ln 26 nats each, whatever the architecture.
    #[test]
    fn a_model_that_knows_nothing_loses_the_logarithm_of_its_vocabulary() {
        let text: Vec<u32> = (0..26).cycle().take(100).collect();
        for architecture in
            [Architecture::Transformer, Architecture::Gru, Architecture::Mlp, Architecture::Bigram]
        {
            let model = ModelConfig { architecture, ..ModelConfig::gpt(26, 8, 1, 1, 4) };
            let mut cpu = Cpu::<f32>::default();
            let shape = StepShape::pretraining(&model, BATCH_SIZE, 1);
            let plan = Arc::new(evaluation(&model, shape).unwrap());
            cpu.load(&plan, 0).unwrap();
            for (name, shape, _) in plan.parameters().filter(|(name, ..)| name.ends_with("wte.weight")) {
                cpu.write(name, &vec![0.0; shape.len()]).unwrap();
            }
            let windows = text_windows(&text, &model, Windows::Blocks { stride: 4 });
            let loss = loss(&mut cpu, &model, &windows, false).unwrap();
            let tokens = if architecture == Architecture::Mlp { 92 } else { 99 };
            assert_eq!(loss.tokens, tokens);
            let wanted = 26f64.ln();
            assert!((loss.mean() - wanted).abs() < 1e-5, "{architecture:?}: {} is not {wanted}", loss.mean());
        }
    }
}
