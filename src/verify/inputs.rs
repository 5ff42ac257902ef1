//! The operands of a case: the same numbers on every machine.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::engine::case::{Case, CaseInput, Fill};
use crate::engine::twin::Elements;

/// Draws the operands of a case. Each depends on its own type, fill and place only.
pub fn draw(case: &Case) -> Vec<Elements<f32>> {
    case.inputs.iter().enumerate().map(|(i, input)| operand(input, i as u64)).collect()
}

/// Numbers in ±1 that depend on `stream` alone: upstream gradients.
pub fn uniform(len: usize, stream: u64) -> Vec<f32> {
    let mut rng = generator(stream);
    (0..len).map(|_| rng.random_range(-1.0..=1.0)).collect()
}

fn operand(input: &CaseInput, stream: u64) -> Elements<f32> {
    let len = input.spec.shape.len();
    let mut rng = generator(stream);
    let mut reals = |low: f32, high: f32| {
        // An empty range cannot be sampled.
        Elements::Real(
            (0..len).map(|_| if low < high { rng.random_range(low..=high) } else { low }).collect(),
        )
    };
    match input.fill {
        Fill::Uniform(bound) => reals(-bound, bound),
        Fill::Between(low, high) => reals(low, high),
        Fill::Constant(value) => reals(value, value),
        Fill::Ties => Elements::Real((0..len).map(|_| rng.random_range(-2..=2) as f32 * 0.5).collect()),
        Fill::Index(bound) => Elements::Index(indices(&mut rng, len, bound)),
        Fill::IndexOrIgnore(bound) => {
            let mut drawn = indices(&mut rng, len, bound);
            drawn.iter_mut().step_by(3).for_each(|i| *i = u32::MAX);
            Elements::Index(drawn)
        }
    }
}

fn indices(rng: &mut impl Rng, len: usize, bound: u32) -> Vec<u32> {
    (0..len).map(|_| rng.random_range(0..bound)).collect()
}

fn generator(stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(0x1a1);
    rng.set_stream(stream);
    rng
}

/// The same operands for the oracle.
pub fn widen(elements: &[Elements<f32>]) -> Vec<Elements<f64>> {
    let widen = |one: &Elements<f32>| match one {
        Elements::Real(x) => Elements::Real(x.iter().map(|&x| x.into()).collect()),
        Elements::Index(x) => Elements::Index(x.clone()),
    };
    elements.iter().map(widen).collect()
}
