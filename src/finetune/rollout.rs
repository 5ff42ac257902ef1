//! Rollouts: a policy's replies to prompts, with their log-probabilities, values and rewards.

use super::answers::{SIDE_BY_SIDE, text};
use super::scorer::{Head, Scorer, Scores};
use super::stage::OptionsError;
use crate::engine::device::Device;
use crate::models::config::ModelConfig;
use crate::nn::lora::Lora;
use crate::sample::batch::{BatchGenerator, Reply};
use crate::sample::strategy::Strategy;
use crate::text::chat::Example;
use crate::text::tales::Exchange;
use crate::text::tales::grade::grade;
use crate::text::tokenizer::Tokenizer;

/// A prompt for a policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    pub tokens: Vec<u32>,
    /// The question about a tale that it is, which a program can judge replies to.
    pub exchange: Option<Exchange>,
}

impl Prompt {
    /// What precedes the last answers of conversations.
    pub fn of_conversations<'a>(examples: impl IntoIterator<Item = &'a Example>) -> Vec<Self> {
        let prompt = |example: &Example| Self { tokens: example.last_exchange().0.to_vec(), exchange: None };
        examples.into_iter().map(prompt).collect()
    }
}

/// A reply with what came of it. Vectors have an entry for each of its tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rollout {
    /// Prompt and reply.
    pub tokens: Vec<u32>,
    /// Tokens of the prompt.
    pub prompt: usize,
    pub text: String,
    /// Negative log-probabilities under the policy that said it.
    pub old: Vec<f32>,
    /// Under the reference.
    pub reference: Vec<f32>,
    /// What was expected before each token; empty without a value head.
    pub values: Vec<f32>,
    pub reward: f64,
}

impl Rollout {
    /// ln π(reply) − ln π_ref(reply): a sample of the divergence from the reference, in nats.
    pub fn kl(&self) -> f64 {
        self.old.iter().zip(&self.reference).map(|(old, reference)| f64::from(reference - old)).sum()
    }
}

/// What gives rewards to replies.
#[derive(Clone, Debug)]
pub enum Rewards {
    /// The program that knows the Tales world.
    Tales,
    /// A reward model, which reads prompt and reply.
    Model(Scorer),
}

/// Samples replies of the policy in training, and scores them by the policy, its reference and the rewards.
pub struct RolloutWorker {
    tokenizer: Tokenizer,
    generator: BatchGenerator<'static>,
    policy: Scorer,
    reference: Scorer,
    rewards: Rewards,
    strategy: Strategy,
    most: usize,
}

/// The name under which a policy's reference keeps its weights on the device.
pub const REFERENCE: &str = "reference";

impl RolloutWorker {
    /// `model` with its adapters is the policy, whose parameters the device holds; `time` the most tokens of prompt
    /// and reply together, `most` of a reply. Replies are drawn at `temperature`.
    ///
    /// With adapters the reference is the same weights without them; else its parameters, to be written by the
    /// caller, are named after [`REFERENCE`].
    pub fn new(
        device: &mut dyn Device,
        model: &ModelConfig,
        tokenizer: &Tokenizer,
        rewards: Rewards,
        has_values: bool,
        temperature: f32,
        [time, most]: [usize; 2],
    ) -> anyhow::Result<Self> {
        let sizes = [SIDE_BY_SIDE, time];
        let head = if has_values { Head::Value } else { Head::Tokens };
        let bare = ModelConfig { lora: Lora::default(), ..model.clone() };
        let scope = if model.lora.is_on() { "" } else { REFERENCE };
        Ok(Self {
            tokenizer: tokenizer.clone(),
            generator: BatchGenerator::new(model.clone(), SIDE_BY_SIDE),
            policy: Scorer::load(device, model, "", head, sizes)?,
            reference: Scorer::load(device, &bare, scope, Head::Tokens, sizes)?,
            rewards,
            strategy: Strategy { temperature, ..Strategy::default() },
            most,
        })
    }

    /// The model that the policy is held to.
    pub fn reference(&self) -> &Scorer {
        &self.reference
    }

    /// `samples` replies to each of `prompts`, those to one prompt together.
    pub fn rollouts(
        &mut self,
        device: &mut dyn Device,
        prompts: &[&Prompt],
        samples: usize,
        seed: u64,
    ) -> anyhow::Result<Vec<Rollout>> {
        let prompts: Vec<&Prompt> =
            prompts.iter().flat_map(|&prompt| std::iter::repeat_n(prompt, samples)).collect();
        let tokens: Vec<&[u32]> = prompts.iter().map(|prompt| prompt.tokens.as_slice()).collect();
        let end = self.tokenizer.answer_end();
        let replies = self.generator.replies(device, &tokens, self.most, &self.strategy, seed, end)?;
        let whole: Vec<Vec<u32>> =
            tokens.iter().zip(&replies).map(|(prompt, reply)| [prompt, &reply.tokens[..]].concat()).collect();
        let by_policy = self.policy.score(device, &whole)?;
        let by_reference = self.reference.score(device, &whole)?;
        let texts: Vec<String> = replies.iter().map(|reply| text(reply, &self.tokenizer)).collect();
        let rewards = self.rewards(device, &prompts, &replies, &texts)?;
        let rollout = |(i, tokens): (usize, Vec<u32>)| {
            let prompt = prompts[i].tokens.len();
            let said = prompt - 1..tokens.len() - 1;
            let Scores { nll, values } = &by_policy[i];
            Rollout {
                prompt,
                text: texts[i].clone(),
                old: nll[said.clone()].to_vec(),
                reference: by_reference[i].nll[said.clone()].to_vec(),
                values: values.get(said).map_or(Vec::new(), <[f32]>::to_vec),
                reward: rewards[i],
                tokens,
            }
        };
        Ok(whole.into_iter().enumerate().map(rollout).collect())
    }

    fn rewards(
        &self,
        device: &mut dyn Device,
        prompts: &[&Prompt],
        replies: &[Reply],
        texts: &[String],
    ) -> anyhow::Result<Vec<f64>> {
        match &self.rewards {
            Rewards::Tales => {
                let reward = |(prompt, text): (&&Prompt, &String)| {
                    let exchange = prompt.exchange.as_ref().ok_or(OptionsError::NoReward)?;
                    Ok(grade(exchange, text).reward())
                };
                prompts.iter().zip(texts).map(reward).collect()
            }
            Rewards::Model(model) => {
                // A reward model has learned from answers that ended.
                let end = self.tokenizer.answer_end();
                let ended = |(prompt, reply): (&&Prompt, &Reply)| reply.ended_after(&prompt.tokens, end);
                let ended: Vec<Vec<u32>> = prompts.iter().zip(replies).map(ended).collect();
                Ok(model.rewards(device, &ended)?)
            }
        }
    }
}
