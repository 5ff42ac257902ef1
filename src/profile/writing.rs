//! How fast a model writes: texts as `sample` writes them.

use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::engine::device::Device;
use crate::models::config::ModelConfig;
use crate::sample::generator::Generator;
use crate::sample::strategy::{Sampler, Strategy};
use crate::sample::writer::{WriteError, Writer};

/// Texts are begun until they have taken this.
const ENOUGH: Duration = Duration::from_secs(2);

/// The most tokens of a text.
const TOKENS: usize = 1000;

/// Tokens per second of `model`, whose weights the device holds, in texts as long as two blocks. The first text, for
/// which kernels are compiled and measured, does not count.
pub fn tokens_per_second(device: &mut dyn Device, model: &ModelConfig) -> Result<f64, WriteError> {
    let tokens = (2 * model.block_size).clamp(64, TOKENS);
    let mut generator = Generator::new(model.clone());
    let mut sampler = Sampler::new(Strategy::default())?;
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut text = || {
        let mut writer = Writer::new(&mut *device, &mut generator, &mut sampler, &mut rng, &[0], tokens)?;
        let begun = Instant::now();
        for _ in 0..tokens {
            writer.next(&[])?;
        }
        Ok::<_, WriteError>(begun.elapsed())
    };
    text()?;
    let (mut texts, mut took) = (0, Duration::ZERO);
    while took < ENOUGH {
        took += text()?;
        texts += 1;
    }
    Ok((texts * tokens) as f64 / took.as_secs_f64())
}
