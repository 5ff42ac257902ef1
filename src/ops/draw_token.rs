//! draw_token: the next token, drawn from logits where they are.

use std::cmp::Ordering;

use crate::ops::prelude::*;

pub static DRAW_TOKEN: OpInfo = OpInfo {
    name: "draw_token",
    formula: "token = min {i : Σ_{j ≤ i} p_j > random}, p = softmax(logits/T) after top-k, top-p, min-p, sorted",
    cases,
};

/// logits (1, vocabulary), tokens (1, window), drawn (most) → tokens and drawn in place: tokens move along by one and
/// the new one is the last; `drawn` gets it at `place`. `random` and `place` are the step's.
///
/// Where a logit is not finite, the new token is 0 and `drawn` gets [`NONE`](Self::NONE).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DrawToken {
    /// The first logits are those of so many tokens; others are never drawn.
    pub known: usize,
    /// Above 0.
    pub temperature: f32,
    /// How many tokens stay.
    pub top_k: usize,
    /// The fewest stay whose probabilities sum to this, above 0; 1 for all.
    pub top_p: f32,
    /// Those stay that are at least so many times as probable as the most probable.
    pub min_p: f32,
}

/// So many tokens are compared each with each, sooner than searched through some 25 times.
const FEW: usize = 512;

impl DrawToken {
    /// In the place of a token: there is none. Exact in f32.
    pub const NONE: u32 = 1 << 31;

    /// The most tokens that are counted exactly.
    pub const MOST: usize = 1 << 24;

    fn draw<F: Real>(&self, logits: &[F], random: f64) -> Option<usize> {
        if logits.iter().any(|logit| !logit.is_finite()) {
            return None;
        }
        let mut order: Vec<usize> = (0..logits.len()).collect();
        // Stable: of equals the lower id stays first.
        order.sort_by(|&a, &b| logits[b].f64().partial_cmp(&logits[a].f64()).unwrap_or(Ordering::Equal));
        order.truncate(self.top_k);
        let (largest, temperature) = (logits[order[0]], F::of(self.temperature.into()));
        let weight = |&i: &usize| ((logits[i] - largest) / temperature).exp().f64();
        let mut weights: Vec<f64> = order.iter().map(weight).collect();
        // The first at which the sum of weights is enough, given that of all.
        let first = |weights: &[f64], is_enough: &dyn Fn(f64, f64) -> bool| {
            let (total, mut sum) = (weights.iter().sum(), 0.0);
            weights.iter().position(|weight| {
                sum += weight;
                is_enough(sum, total)
            })
        };
        if self.top_p < 1.0 {
            let p = f64::from(self.top_p);
            let last = first(&weights, &|sum, total| sum >= p * total).unwrap_or(weights.len() - 1);
            weights.truncate(last + 1);
        }
        weights.retain(|&weight| weight >= self.min_p.into());
        Some(order[first(&weights, &|sum, total| sum > random * total).unwrap_or(0)])
    }
}

impl Op for DrawToken {
    fn info(&self) -> &'static OpInfo {
        &DRAW_TOKEN
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 3, 3)?;
        let (logits, known) = (inputs[0].shape, self.known);
        if logits.rows() != 1 || !(1..=Self::MOST.min(logits.width())).contains(&known) {
            return Err(OpError::new(format!("operand `logits` is {}, of {known} tokens", inputs[0])));
        }
        for (name, spec) in [("tokens", inputs[1]), ("drawn", inputs[2])] {
            if spec.dtype != Dtype::U32 || spec.shape.is_empty() {
                return Err(OpError::new(format!("operand `{name}` is {spec}, but must be indices")));
            }
        }
        Ok(inputs[1..].to_vec())
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        vec![(0, 1), (1, 2)]
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let workgroup = self.known.next_power_of_two().clamp(32, target.workgroup_size.min(256) as usize);
        let dispatch = match self.known <= FEW {
            true => Dispatch::new(shader!("draw_token/ranked", "rank", "step"))
                .constant("MOST", self.known.next_power_of_two() as u32),
            // Ids are searched for in steps of two bits.
            false => Dispatch::new(shader!("draw_token/search", "rank", "reduce", "step"))
                .param("id_bits", self.known.next_power_of_two().ilog2().next_multiple_of(2)),
        };
        Kernel::plain(vec![
            dispatch
                .constant("WORKGROUP", workgroup as u32)
                .bind("logits", In(0))
                .bind("tokens", Out(0))
                .bind("drawn", Out(1))
                .param("known", self.known)
                .param("window", operands.out_shape(0).len())
                .param("temperature", self.temperature)
                .param("top_k", self.top_k.min(self.known))
                // Less than the share of the most probable leaves it alone, and keeps away from 0.
                .param("top_p", self.top_p.max(1e-9))
                .param("min_p", self.min_p),
        ])
    }

    fn cost(&self, _: &Operands) -> Cost {
        // What softmax and a sum take: how the token is found is the kernel's affair.
        Cost { flops: 6 * self.known as u64, bytes: 4 * self.known as u64 }
    }
}

impl Twin for DrawToken {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (logits, step) = (&io.input(0)[..self.known], io.step());
        let token = self.draw(logits, step.random.into()).map(|id| id as u32);
        let [tokens, drawn] = io.index_outputs();
        tokens.rotate_left(1);
        if let Some(last) = tokens.last_mut() {
            *last = token.unwrap_or(0);
        }
        drawn[step.place as usize] = token.unwrap_or(Self::NONE);
    }
}

/// (tokens, logits, window): a single one, fewer and more than a workgroup, more than are few, GPT-2's with padding.
const SIZES: [[usize; 3]; 7] =
    [[1, 1, 1], [2, 3, 2], [65, 65, 1], [257, 257, 3], [300, 512, 1], [601, 601, 2], [50_257, 50_304, 1]];

fn cases() -> Vec<Case> {
    let plain = DrawToken { known: 0, temperature: 1.0, top_k: usize::MAX, top_p: 1.0, min_p: 0.0 };
    let ways = [
        plain,
        DrawToken { temperature: 0.3, ..plain },
        DrawToken { top_k: 1, ..plain },
        DrawToken { top_k: 3, temperature: 1.7, ..plain },
        DrawToken { top_p: 0.45, ..plain },
        DrawToken { min_p: 0.55, ..plain },
        DrawToken { top_k: 40, top_p: 0.79, min_p: 0.1, temperature: 0.8, known: 0 },
    ];
    let mut cases = Vec::new();
    for (number, [known, width, window]) in (0u32..).zip(SIZES) {
        for (way, op) in (0u32..).zip(ways) {
            let fills = [
                Fill::Uniform(4.0),
                Fill::Ties,
                Fill::Constant(-0.5),
                Fill::Constant(f32::NEG_INFINITY),
                // One takes all.
                Fill::Uniform(1e38),
            ];
            for (nth, fill) in (0u32..).zip(fills) {
                // Of the large vocabulary a few are enough.
                if known > 1000 && (nth > 1 || way == 1) || nth > 2 && way > 1 {
                    continue;
                }
                let operands = [Spec::f32([1, width]), Spec::u32([1, window]), Spec::u32([5])];
                let case = Case::new(DrawToken { known, ..op }, &operands, Bound::EXACT).fixed(0);
                let mut case = case.with(0, fill).with(1, Fill::Index(width as u32)).with(2, Fill::Index(9));
                // 0, or scattered over [0, 1) by the golden ratio.
                case.step.random = match way {
                    2 => 0.0,
                    _ => (0.618_034 * (7 * number + 3 * way + nth + 1) as f32).fract(),
                };
                case.step.place = (number + way) % 5;
                cases.push(case);
            }
        }
    }
    cases
}
