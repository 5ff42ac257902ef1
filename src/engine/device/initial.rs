//! The first values of parameters, the same on every device.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use crate::engine::tape::Init;

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
}
