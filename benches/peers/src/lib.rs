//! What the programs share: the sizes of preset `mini`, random tokens, and the median of the steps' times.

use std::time::Instant;

pub const LAYERS: usize = 4;
pub const HEADS: usize = 4;
pub const WIDTH: usize = 128;
pub const BLOCK: usize = 64;
pub const BATCH: usize = 12;
pub const VOCABULARY: usize = 65;

pub const LEARNING_RATE: f64 = 1e-3;
pub const BETAS: (f64, f64) = (0.9, 0.99);
pub const WEIGHT_DECAY: f64 = 0.1;
pub const CLIP: f64 = 1.0;

/// Prints the median milliseconds of a step, which takes (tokens, targets), both (BATCH, BLOCK), to the loss. The
/// number of steps is the last argument of the program, 60 without one.
pub fn measure(mut step: impl FnMut(&[u32], &[u32]) -> f32) {
    let steps = std::env::args().last().and_then(|steps| steps.parse().ok()).unwrap_or(60);
    let mut random = 1u64;
    let mut times = Vec::new();
    let mut loss = f32::NAN;
    for _ in 0..steps {
        let mut tokens = || -> Vec<u32> { (0..BATCH * BLOCK).map(|_| token(&mut random)).collect() };
        let (tokens, targets) = (tokens(), tokens());
        let start = Instant::now();
        loss = step(&tokens, &targets);
        times.push(1e3 * start.elapsed().as_secs_f64());
    }
    eprintln!(
        "first step {:.0} ms, last loss {loss:.4} (random tokens: about {:.4})",
        times[0],
        (VOCABULARY as f32).ln()
    );
    // The first steps warm up.
    let mut warm = times.split_off(steps / 5);
    warm.sort_by(f64::total_cmp);
    println!("{:.3}", warm[warm.len() / 2]);
}

/// Knuth's linear congruential generator.
fn token(random: &mut u64) -> u32 {
    *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    ((*random >> 33) % VOCABULARY as u64) as u32
}
