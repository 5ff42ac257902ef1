//! The parameters of a model, counted from its configuration alone: to compare them with the memory or a file before
//! anything is recorded.

use super::config::{Architecture, ModelConfig, NormPlace, Position};
use crate::engine::tensor::Shape;
use crate::nn::attention::QkNorm;
use crate::nn::norm::Norm;

/// Parameters of the same shape and purpose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ParameterGroup {
    pub shape: Shape,
    pub count: usize,
    /// Whether it multiplies what lies between the embeddings and the head.
    pub hidden: bool,
    /// One of an adapter's two factors.
    pub adapter: bool,
}

impl ParameterGroup {
    fn new<const N: usize>(count: usize, shape: [usize; N]) -> Self {
        Self { shape: shape.into(), count, hidden: false, adapter: false }
    }

    /// Numbers of all of them; [`u64::MAX`] where they are too many to count.
    pub fn len(&self) -> u64 {
        (self.shape.len() as u64).saturating_mul(self.count as u64)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Numbers of all `groups` together.
pub fn total<'a>(groups: impl IntoIterator<Item = &'a ParameterGroup>) -> u64 {
    groups.into_iter().fold(0, |sum, group| sum.saturating_add(group.len()))
}

impl ModelConfig {
    /// How many numbers the model consists of; a tied head counts once, as the embedding.
    pub fn n_parameters(&self) -> usize {
        usize::try_from(total(&self.census())).unwrap_or(usize::MAX)
    }

    /// All its parameters.
    pub fn census(&self) -> Vec<ParameterGroup> {
        let (n, vocabulary) = (self.n_embd, self.vocab_size);
        let table = |rows: usize| ParameterGroup::new(1, [rows, n]);
        let mut groups = Vec::new();
        match self.architecture {
            Architecture::Transformer => self.transformer(&mut groups),
            Architecture::Rnn | Architecture::Gru | Architecture::Lstm => {
                let (gates, biases) = match self.architecture {
                    Architecture::Rnn => (1, 1),
                    Architecture::Gru => (3, 2),
                    _ => (4, 1),
                };
                let gates = n.saturating_mul(gates);
                let matrix = ParameterGroup {
                    hidden: true,
                    ..ParameterGroup::new(self.n_layer.saturating_mul(2), [gates, n])
                };
                groups.extend([table(vocabulary), matrix]);
                groups.push(ParameterGroup::new(self.n_layer.saturating_mul(biases), [gates]));
            }
            Architecture::Mlp => {
                groups.push(table(vocabulary));
                self.linear(&mut groups, 1, [n.saturating_mul(self.block_size), self.n_inner], true);
                self.linear(&mut groups, 1, [self.n_inner, n], true);
            }
            Architecture::Bigram => groups.push(ParameterGroup::new(1, [vocabulary; 2])),
            Architecture::Skipgram => groups.extend([table(vocabulary); 2]),
        }
        groups
    }

    fn transformer(&self, groups: &mut Vec<ParameterGroup>) {
        let (n, layers, details) = (self.n_embd, self.n_layer, &self.details);
        let head = if self.head_size > 0 { self.head_size } else { n / self.n_head.max(1) };
        let [own, shared] = [self.n_head, self.n_kv_head].map(|heads| head.saturating_mul(heads));
        let qkv = own.saturating_add(shared.saturating_mul(2));
        let mlp_bias = details.mlp_bias.unwrap_or(self.bias);
        let table = |rows: usize| ParameterGroup::new(1, [rows, n]);
        groups.push(table(self.vocab_size));
        groups.extend((self.position == Position::Learned).then(|| table(self.block_size)));
        groups.extend((!self.tied).then(|| table(self.vocab_size)));

        self.linear(groups, layers, [n, qkv], details.qkv_bias.unwrap_or(self.bias));
        self.linear(groups, layers, [own, n], details.attention_out_bias.unwrap_or(self.bias));
        let into = if self.feed_forward.is_gated() { 2 } else { 1 };
        self.linear(groups, layers.saturating_mul(into), [n, self.n_inner], mlp_bias);
        self.linear(groups, layers, [self.n_inner, n], mlp_bias);
        for (_, [n_in, n_out]) in self.adapters() {
            let factor = |shape: [usize; 2]| ParameterGroup {
                hidden: true,
                adapter: true,
                ..ParameterGroup::new(layers, shape)
            };
            groups.extend([[self.lora.rank, n_in], [n_out, self.lora.rank]].map(factor));
        }
        match details.qk_norm {
            Some(QkNorm::Head) => groups.push(ParameterGroup::new(layers.saturating_mul(2), [head])),
            Some(QkNorm::Token) => groups.extend([own, shared].map(|n| ParameterGroup::new(layers, [n]))),
            None => {}
        }
        if self.conv_kernel > 0 {
            groups.push(ParameterGroup::new(layers, [self.conv_kernel, qkv]));
        }

        let place = self.norm_place;
        let of_block = if place == NormPlace::Sandwich { 4 } else { 2 };
        let outside = usize::from(place != NormPlace::Post) + usize::from(details.embedding_norm);
        let norms = layers.saturating_mul(of_block).saturating_add(outside);
        let vectors = match self.norm {
            Norm::None => 0,
            Norm::Layer if self.bias => 2,
            Norm::Layer | Norm::Rms => 1,
        };
        groups.push(ParameterGroup::new(norms.saturating_mul(vectors), [n]));
    }

    /// Layers of `n_in` → `n_out`.
    fn linear(&self, groups: &mut Vec<ParameterGroup>, count: usize, [n_in, n_out]: [usize; 2], bias: bool) {
        groups.push(ParameterGroup { hidden: true, ..ParameterGroup::new(count, [n_out, n_in]) });
        groups.extend(bias.then(|| ParameterGroup::new(count, [n_out])));
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::engine::tape::Tape;
    use crate::engine::tensor::Spec;
    use crate::models::details::Details;
    use crate::models::{ModelInputs, backbone};
    use crate::nn::Pass;
    use crate::nn::lora::{Lora, Site};
    use crate::nn::mlp::FeedForward;
    use crate::run::presets;

    /// What the tape of a model declares, its shapes in order.
    fn recorded(config: &ModelConfig) -> Vec<Shape> {
        let mut tape = Tape::new("parameters");
        let tokens = tape.input("tokens", Spec::u32(config.tokens_shape(1, config.block_size)));
        backbone(&mut tape, config, ModelInputs { tokens, segments: None }, Pass::Evaluate).unwrap();
        tape.parameters().into_iter().map(|parameter| tape.shape(parameter)).collect()
    }

    fn check(config: &ModelConfig) {
        let counted = config.census();
        let mut counted: Vec<Shape> =
            counted.iter().flat_map(|group| std::iter::repeat_n(group.shape, group.count)).collect();
        let mut recorded = recorded(config);
        counted.sort_by_key(|shape| shape.dims().to_vec());
        recorded.sort_by_key(|shape| shape.dims().to_vec());
        assert_eq!(counted, recorded, "{config:?}");
        assert_eq!(config.n_parameters(), recorded.iter().map(Shape::len).sum::<usize>());
    }

    #[test]
    fn presets_declare_what_is_counted_of_them() {
        for name in presets::NAMES {
            check(&presets::named(name).unwrap().model(101));
        }
    }

    #[test]
    fn so_do_configurations_that_no_preset_has() {
        use {Architecture as A, FeedForward as F, Norm as N, NormPlace as Place, Position as P};
        let mut rng = ChaCha8Rng::seed_from_u64(22);
        for _ in 0..300 {
            let n_kv_head = rng.random_range(1..4);
            let n_head = n_kv_head * rng.random_range(1..4);
            let mut one = |all: &[usize]| all[rng.random_range(0..all.len())];
            let architecture =
                [A::Transformer, A::Transformer, A::Rnn, A::Gru, A::Lstm, A::Mlp, A::Bigram, A::Skipgram];
            let config = ModelConfig {
                architecture: architecture[one(&[0, 1, 2, 3, 4, 5, 6, 7])],
                n_kv_head,
                n_inner: one(&[1, 5, 24]),
                bias: one(&[0, 1]) == 1,
                position: [P::None, P::Sinusoidal, P::Learned, P::Rope, P::Alibi][one(&[0, 1, 2, 3, 4])],
                conv_kernel: one(&[0, 0, 2, 3]),
                norm: [N::None, N::Layer, N::Rms][one(&[0, 1, 2])],
                norm_place: [Place::Pre, Place::Post, Place::Branch, Place::Sandwich][one(&[0, 1, 2, 3])],
                feed_forward: [F::Linear, F::Gelu, F::Swiglu, F::Geglu][one(&[0, 1, 2, 3])],
                head_size: one(&[0, 0, 4, 6]),
                details: Details {
                    qk_norm: [None, Some(QkNorm::Head), Some(QkNorm::Token)][one(&[0, 1, 2])],
                    qkv_bias: [None, Some(true), Some(false)][one(&[0, 1, 2])],
                    embedding_norm: one(&[0, 1]) == 1,
                    attention_out_bias: [None, Some(true), Some(false)][one(&[0, 1, 2])],
                    mlp_bias: [None, Some(true), Some(false)][one(&[0, 1, 2])],
                    ..Details::default()
                },
                tied: one(&[0, 1]) == 1,
                lora: Lora {
                    sites: Site::ALL.into_iter().filter(|_| one(&[0, 1]) == 1).collect(),
                    ..Lora::of_rank(one(&[0, 0, 1, 3]))
                },
                ..ModelConfig::gpt(one(&[1, 17, 101]), one(&[1, 7]), one(&[1, 2, 3]), n_head, 2 * n_head)
            };
            check(&config);
        }
    }

    #[test]
    fn what_cannot_be_counted_is_no_small_number() {
        let huge = ModelConfig::gpt(1 << 40, 1 << 40, 1 << 40, 1, 1 << 40);
        assert_eq!(huge.n_parameters(), usize::MAX);
    }
}
