//! Which examples are held out, and the order in which the others are learned: all of them once in every epoch, each
//! time in another order.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::text::dataset::shuffle;

/// Every tenth example of a file is held out.
pub const HELD_OUT_OF: usize = 10;

/// Questions about tales, or pairs of answers to them, that are held out.
pub const TALES_HELD_OUT: usize = 300;

/// Every tenth of `examples` held out, as (train, val).
pub fn hold_out<T>(examples: Vec<T>) -> (Vec<T>, Vec<T>) {
    let (mut train, mut val) = (Vec::new(), Vec::new());
    for (i, example) in examples.into_iter().enumerate() {
        if i % HELD_OUT_OF == HELD_OUT_OF - 1 { val.push(example) } else { train.push(example) }
    }
    (train, val)
}

/// The `size` examples of `step`, of `len` there are: a function of the seed and the step alone.
pub fn examples_of_step(len: usize, size: usize, step: u64, seed: u64) -> Vec<usize> {
    let first = step as usize * size;
    let mut epoch = None;
    let mut order: Vec<usize> = Vec::new();
    let example = |at: usize| {
        let this = at / len;
        if epoch != Some(this) {
            epoch = Some(this);
            order = (0..len).collect();
            shuffle(&mut order, &mut ChaCha8Rng::seed_from_u64(seed.wrapping_add(this as u64)));
        }
        order[at % len]
    };
    (first..first + size).map(example).collect()
}
