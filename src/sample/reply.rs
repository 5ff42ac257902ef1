//! The reply of an assistant: tokens up to the end of its message.

use rand_chacha::ChaCha8Rng;

use super::load::Model;
use super::strategy::Sampler;
use super::writer::{WriteError, Writer};
use crate::engine::device::Device;

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("cannot write the reply: {0}")]
    Tell(#[from] std::io::Error),
}

impl Model {
    /// The tokens after `prompt` until the message ends, at most `most`; `tell` gets each piece of text as
    /// soon as it is whole. The token that ends the message is not part of it.
    pub fn reply(
        &mut self,
        device: &mut dyn Device,
        prompt: &[u32],
        most: usize,
        sampler: &mut Sampler,
        rng: &mut ChaCha8Rng,
        tell: &mut dyn FnMut(&str) -> std::io::Result<()>,
    ) -> Result<Vec<u32>, ReplyError> {
        let stops = self.tokenizer.stops();
        let mut stream = self.tokenizer.stream();
        let mut said = Vec::new();
        let mut writer = Writer::new(device, &mut self.generator, sampler, rng, prompt, most)?;
        while said.len() < most {
            let token = writer.next(&said)?;
            if stops.contains(&token) {
                break;
            }
            said.push(token);
            tell(&stream.push(token))?;
        }
        tell(&stream.finish())?;
        Ok(said)
    }
}
