//! The loss of predicted tokens: cross-entropy with the token that comes next, or with one that was masked.

use std::collections::HashMap;
use std::ops::Range;

use super::loss::{Loss, constant};
use crate::engine::op::{OpError, Record, Var};
use crate::engine::tape::Tape;
use crate::models::Backbone;
use crate::ops::add::Add;
use crate::ops::cross_entropy::CrossEntropy;
use crate::ops::entropy::Entropy;
use crate::ops::matmul::Matmul;
use crate::ops::reshape::Reshape;
use crate::ops::rows::{PutRows, TakeRows};
use crate::ops::sum::Sum;
use crate::ops::zeros::Zeros;

/// The most bytes of logits that exist at a time: below WebGPU's 128 MiB for one binding.
const LOGITS_BYTES: usize = 64 << 20;

/// The most chunks: a terabyte of logits in one step.
const MOST_CHUNKS: usize = 1 << 14;

/// Records the head and its loss, and with `gradient` also their derivatives.
///
/// `targets` and `weights` are (rows) for hidden (…, n_embd) of as many rows; the loss is Σ weight ·
/// cross-entropy. Logits are made, used and dropped in chunks of rows, so the derivative of a chunk is recorded
/// right after it. `into` holds tensors that gradients of parameters are added to.
pub fn loss(
    tape: &mut Tape,
    backbone: &Backbone,
    targets: Var,
    weights: Var,
    gradient: bool,
    into: &HashMap<Var, Var>,
) -> Result<Loss, OpError> {
    Rows { targets, weights, entropy: None }.loss(tape, backbone, gradient, into)
}

/// The negative log-probability of each row's target, (rows).
pub fn nll(tape: &mut Tape, backbone: &Backbone, targets: Var) -> Result<Var, OpError> {
    tape.scoped("nll", |tape| {
        let chunks = chunks(tape, backbone)?;
        let rows = chunks.last().map_or(0, |chunk| chunk.end);
        let ones = constant(tape, rows, 1.0);
        if let [Range { start: first, .. }] = chunks[..] {
            let logits = backbone.logits(tape, first, rows)?;
            return tape.apply_one(CrossEntropy { first, gradient: false }, &[logits, targets, ones]);
        }
        let mut all = tape.apply_one(Zeros([rows, 1].into()), &[])?;
        for chunk in chunks {
            let (first, rows) = (chunk.start, chunk.len());
            let logits = backbone.logits(tape, first, rows)?;
            let part = tape.apply_one(CrossEntropy { first, gradient: false }, &[logits, targets, ones])?;
            let part = tape.apply_one(Reshape([rows, 1].into()), &[part])?;
            all = tape.apply_one(PutRows { first }, &[part, all])?;
        }
        tape.apply_one(Reshape([rows].into()), &[all])
    })
}

/// The rows of which logits exist at a time, in order.
fn chunks(tape: &Tape, backbone: &Backbone) -> Result<Vec<Range<usize>>, OpError> {
    let rows = tape.spec(backbone.hidden).shape.rows();
    let vocabulary = match backbone.head {
        Some(head) => tape.spec(head).shape.rows(),
        None => tape.spec(backbone.hidden).shape.width(),
    };
    let bytes = rows.saturating_mul(vocabulary).saturating_mul(4);
    let chunks = bytes.div_ceil(LOGITS_BYTES).min(rows).max(1);
    if chunks > MOST_CHUNKS {
        return Err(OpError::new(format!(
            "{rows} rows of {vocabulary} logits are too many for one step: take a smaller --batch-size (with \
             --grad-accum to make up for it) or --block-size"
        )));
    }
    let chunk_rows = rows.div_ceil(chunks).max(1);
    Ok((0..rows).step_by(chunk_rows).map(|first| first..rows.min(first + chunk_rows)).collect())
}

/// What each row of logits is trained for.
pub(super) struct Rows {
    pub targets: Var,
    /// Of the cross-entropy with the target.
    pub weights: Var,
    /// Of the row's own entropy.
    pub entropy: Option<Var>,
}

impl Rows {
    /// As [`loss`]; the output, if there is any, is Σ weight · entropy, (1), which the total does not hold.
    pub fn loss(
        &self,
        tape: &mut Tape,
        backbone: &Backbone,
        gradient: bool,
        into: &HashMap<Var, Var>,
    ) -> Result<Loss, OpError> {
        tape.scoped("head", |tape| {
            let chunks = chunks(tape, backbone)?;
            let trains_head = backbone.head.is_some_and(|head| tape.is_trained(head));

            let mut total: Option<Var> = None;
            let mut head_gradient = backbone.head.and_then(|head| into.get(&head)).copied();
            let mut hidden_gradient = None;
            if gradient && chunks.len() > 1 {
                hidden_gradient = Some(tape.apply_one(Zeros(tape.spec(backbone.hidden).shape), &[])?);
            }
            let mut entropy = None;
            let is_whole = chunks.len() == 1;
            for chunk in chunks {
                let (first, rows) = (chunk.start, chunk.len());
                let hidden = match is_whole {
                    true => backbone.hidden,
                    false => tape.apply_one(TakeRows { first, rows }, &[backbone.hidden])?,
                };
                let logits = match backbone.head {
                    Some(head) => tape.apply_one(Matmul::LINEAR, &[hidden, head])?,
                    None => hidden,
                };
                let bonus = match self.entropy {
                    Some(weights) => tape.apply(Entropy { first, gradient }, &[logits, weights])?,
                    None => Vec::new(),
                };
                if let Some(&sum) = bonus.first() {
                    entropy = Some(add_sum(tape, sum, entropy)?);
                }
                let operands = [logits, self.targets, self.weights];
                let outputs = tape.apply(CrossEntropy { first, gradient }, &operands)?;
                total = Some(add_sum(tape, outputs[0], total)?);
                if !gradient {
                    continue;
                }
                let dlogits = match bonus.get(1) {
                    Some(&bonus) => tape.apply_one(Add, &[outputs[1], bonus])?,
                    None => outputs[1],
                };
                let dhidden = match backbone.head {
                    Some(head) => tape.apply_one(Matmul::default(), &[dlogits, head])?,
                    None => dlogits,
                };
                hidden_gradient = Some(match hidden_gradient {
                    Some(whole) => tape.apply_one(PutRows { first }, &[dhidden, whole])?,
                    None => dhidden,
                });
                if trains_head {
                    let product = Matmul {
                        transpose_a: true,
                        accumulate: head_gradient.is_some(),
                        ..Matmul::default()
                    };
                    let operands: Vec<_> =
                        [Some(dlogits), Some(hidden), head_gradient].into_iter().flatten().collect();
                    head_gradient = Some(tape.apply_one(product, &operands)?);
                }
            }
            let total = total.ok_or_else(|| OpError::new("there are no rows to predict"))?;
            let seeds = [(Some(backbone.hidden), hidden_gradient), (backbone.head, head_gradient)];
            let seeds = seeds.into_iter().filter_map(|(value, gradient)| Some((value?, gradient?)));
            let seeds = if gradient { seeds.collect() } else { Vec::new() };
            Ok(Loss { total, seeds, outputs: entropy.into_iter().collect() })
        })
    }
}

/// Σ x, added to what there is.
pub(super) fn add_sum(tape: &mut Tape, x: Var, so_far: Option<Var>) -> Result<Var, OpError> {
    let operands: Vec<_> = [Some(x), so_far].into_iter().flatten().collect();
    tape.apply_one(Sum { accumulate: so_far.is_some() }, &operands)
}
