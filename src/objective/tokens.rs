//! The loss of predicted tokens: cross-entropy with the token that comes next, or with one that was masked.

use std::collections::HashMap;

use crate::engine::op::{OpError, Record, Var};
use crate::engine::tape::Tape;
use crate::models::Trunk;
use crate::ops::cross_entropy::CrossEntropy;
use crate::ops::matmul::Matmul;
use crate::ops::rows::{PutRows, TakeRows};
use crate::ops::sum::Sum;
use crate::ops::zeros::Zeros;

/// The most bytes of logits that exist at a time: below WebGPU's 128 MiB for one binding.
const LOGITS_BYTES: usize = 64 << 20;

/// A loss on the tape.
pub struct Loss {
    /// Σ weight · loss over all rows, (1).
    pub total: Var,
    /// Gradients to start the backward pass from; empty without `gradient`.
    pub seeds: Vec<(Var, Var)>,
}

/// Records the head and its loss, and with `gradient` also their derivatives.
///
/// `targets` and `weights` are (rows) for hidden (…, n_embd) of as many rows; the loss is Σ weight ·
/// cross-entropy. Logits are made, used and dropped in chunks of rows, so the derivative of a chunk is recorded
/// right behind it. `into` holds tensors that gradients of parameters are added to.
///
/// # Errors
/// When the operands do not fit.
pub fn loss(
    tape: &mut Tape,
    trunk: &Trunk,
    targets: Var,
    weights: Var,
    gradient: bool,
    into: &HashMap<Var, Var>,
) -> Result<Loss, OpError> {
    tape.scoped("head", |tape| {
        let rows = tape.spec(trunk.hidden).shape.rows();
        let vocabulary = tape.spec(trunk.head.unwrap_or(trunk.hidden)).shape;
        let vocabulary = if trunk.head.is_some() { vocabulary.rows() } else { vocabulary.width() };
        let chunks = (4 * rows * vocabulary).div_ceil(LOGITS_BYTES).min(rows);
        let chunk_rows = rows.div_ceil(chunks);
        let trains_head = trunk.head.is_some_and(|head| tape.is_trained(head));

        let mut total: Option<Var> = None;
        let mut head_gradient = trunk.head.and_then(|head| into.get(&head)).copied();
        let mut hidden_gradient = None;
        if gradient && chunks > 1 {
            hidden_gradient = Some(tape.apply_one(Zeros(tape.spec(trunk.hidden).shape), &[])?);
        }
        for first in (0..rows).step_by(chunk_rows) {
            let take = TakeRows { first, rows: chunk_rows.min(rows - first) };
            let hidden = if chunks > 1 { tape.apply_one(take, &[trunk.hidden])? } else { trunk.hidden };
            let logits = match trunk.head {
                Some(head) => tape.apply_one(Matmul::LINEAR, &[hidden, head])?,
                None => hidden,
            };
            let outputs = tape.apply(CrossEntropy { first, gradient }, &[logits, targets, weights])?;
            let operands: Vec<_> = [Some(outputs[0]), total].into_iter().flatten().collect();
            total = Some(tape.apply_one(Sum { accumulate: total.is_some() }, &operands)?);
            if !gradient {
                continue;
            }
            let dlogits = outputs[1];
            let dhidden = match trunk.head {
                Some(head) => tape.apply_one(Matmul::default(), &[dlogits, head])?,
                None => dlogits,
            };
            hidden_gradient = Some(match hidden_gradient {
                Some(whole) => tape.apply_one(PutRows { first }, &[dhidden, whole])?,
                None => dhidden,
            });
            if trains_head {
                let product =
                    Matmul { transpose_a: true, accumulate: head_gradient.is_some(), ..Matmul::default() };
                let operands: Vec<_> =
                    [Some(dlogits), Some(hidden), head_gradient].into_iter().flatten().collect();
                head_gradient = Some(tape.apply_one(product, &operands)?);
            }
        }
        let total = total.ok_or_else(|| OpError::new("there are no rows to predict"))?;
        let seeds = [(Some(trunk.hidden), hidden_gradient), (trunk.head, head_gradient)];
        let seeds = seeds.into_iter().filter_map(|(value, gradient)| Some((value?, gradient?)));
        Ok(Loss { total, seeds: if gradient { seeds.collect() } else { Vec::new() } })
    })
}
