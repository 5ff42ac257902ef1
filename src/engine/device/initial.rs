//! The first values of parameters and states, the same on every device.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use crate::engine::tape::{Init, RopeScaling, Rotary};

/// The elements of a tensor that begins as `init`, a function of seed and name alone.
pub fn initial_values(seed: u64, name: &str, init: Init, len: usize) -> Vec<f32> {
    match init {
        Init::Constant(value) => vec![value; len],
        Init::Normal(std) => {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(fnv1a(name));
            (0..len)
                .map(|_| {
                    let z: f32 = StandardNormal.sample(&mut rng);
                    std * z
                })
                .collect()
        }
        Init::Rotary(rotary) => positions(len, rotary.width, |position, d| {
            let half = rotary.width / 2;
            let angle = position * frequency(rotary, d % half);
            if d < half { angle.cos() } else { angle.sin() }
        }),
        Init::Sinusoidal { amplitude, width } => positions(len, width, |position, d| {
            let angle = position * 10_000f64.powf(-2.0 * (d / 2) as f64 / width as f64);
            f64::from(amplitude) * if d.is_multiple_of(2) { angle.sin() } else { angle.cos() }
        }),
    }
}

/// A table with a row of `width` for each position, computed in f64 and rounded once.
fn positions(len: usize, width: usize, f: impl Fn(f64, usize) -> f64) -> Vec<f32> {
    (0..len).map(|i| f((i / width) as f64, i % width) as f32).collect()
}

/// Radians that pair `i` turns from one position to the next.
fn frequency(Rotary { base, width, scaling }: Rotary, i: usize) -> f64 {
    let f = f64::from(base).powf(-2.0 * i as f64 / width as f64);
    match scaling {
        RopeScaling::None => f,
        RopeScaling::Linear { factor } => f / factor,
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        } => {
            let waves = original_max_position_embeddings as f64 * f / std::f64::consts::TAU;
            let kept = (waves - low_freq_factor) / (high_freq_factor - low_freq_factor);
            let kept = kept.clamp(0.0, 1.0);
            kept * f + (1.0 - kept) * f / factor
        }
    }
}

/// The FNV-1a hash: a stream number per name.
fn fnv1a(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normals_have_the_asked_moments_and_differ_by_name() {
        let x = initial_values(1, "a", Init::Normal(0.02), 100_000);
        let mean = x.iter().sum::<f32>() / 1e5;
        let std = (x.iter().map(|v| v * v).sum::<f32>() / 1e5).sqrt();
        assert!(mean.abs() < 3e-4 && (std - 0.02).abs() < 2e-4, "{mean} {std}");
        assert_ne!(x[0], initial_values(1, "b", Init::Normal(0.02), 1)[0]);
        assert_ne!(x[0], initial_values(2, "a", Init::Normal(0.02), 1)[0]);
    }

    #[test]
    fn tables_of_positions_have_the_papers_frequencies() {
        let near = |got: &[f32], want: &[f64]| {
            assert_eq!(got.len(), want.len());
            assert!(got.iter().zip(want).all(|(&x, y)| (f64::from(x) - y).abs() < 1e-7), "{got:?}");
        };
        let plain = Rotary { base: 1e4, width: 4, scaling: RopeScaling::None };
        // Frequencies 1 and 10000^(-1/2) = 0.01.
        let rotary = initial_values(1, "r", Init::Rotary(plain), 3 * 4);
        near(&rotary[..4], &[1.0, 1.0, 0.0, 0.0]);
        near(&rotary[8..], &[2f64.cos(), 0.02f64.cos(), 2f64.sin(), 0.02f64.sin()]);
        let linear = Rotary { scaling: RopeScaling::Linear { factor: 4.0 }, ..plain };
        near(&initial_values(1, "l", Init::Rotary(linear), 2 * 4)[4..6], &[0.25f64.cos(), 0.0025f64.cos()]);
        let sinusoidal = initial_values(1, "s", Init::Sinusoidal { amplitude: 1.0, width: 4 }, 3 * 4);
        near(&sinusoidal[..4], &[0.0, 1.0, 0.0, 1.0]);
        near(&sinusoidal[8..], &[2f64.sin(), 2f64.cos(), 0.02f64.sin(), 0.02f64.cos()]);
    }
}
