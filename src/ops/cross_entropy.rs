//! cross_entropy: `loss_i = w_i (logsumexp(x_i) - x_i[target_i])` and, in the same pass, its gradient.

use crate::ops::prelude::*;

pub static CROSS_ENTROPY: OpInfo = OpInfo {
    name: "cross_entropy",
    formula: "loss_i = w_i (logsumexp(x_i) - x_i[target_i]); x ← w_i (softmax(x_i) - onehot(target_i))",
    cases,
};

/// A target to leave out: its row has no loss and no gradient.
pub const IGNORE: u32 = u32::MAX;

/// (logits (…, V), targets (n), weights (n)) → loss (rows), and with `gradient` dlogits (…, V) in
/// place of the logits. Row i of the logits has target and weight `first + i`.
///
/// The weights are the upstream gradient of each row's loss: 1/rows for a mean, a mask, an advantage. So the
/// gradient is known as soon as the logits are, no probabilities are kept, and logits can be made, used and
/// dropped in chunks of rows. A graph that needs it starts its backward pass from `dlogits`.
#[derive(Debug)]
pub struct CrossEntropy {
    pub first: usize,
    pub gradient: bool,
}

impl Op for CrossEntropy {
    fn info(&self) -> &'static OpInfo {
        &CROSS_ENTROPY
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 3, 3)?;
        let rows = inputs[0].shape.rows();
        let n = inputs[1].shape.len().max(self.first + rows);
        expect("targets", inputs[1], Spec::u32([n]))?;
        expect_vector("weights", inputs[2], n)?;
        let mut outputs = vec![Spec::f32([rows])];
        outputs.extend(self.gradient.then_some(inputs[0]));
        Ok(outputs)
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        if self.gradient { vec![(1, 0)] } else { Vec::new() }
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let logits = operands.in_shape(0);
        let dispatch = if self.gradient {
            Dispatch::new(shader!("cross_entropy/gradient", "reduce")).bind("logits", Out(1))
        } else {
            Dispatch::new(shader!("cross_entropy/loss", "reduce")).bind("logits", In(0))
        };
        Kernel::plain(vec![
            dispatch
                .bind("targets", In(1))
                .bind("weights", In(2))
                .bind("loss", Out(0))
                .param("first", self.first)
                .row_groups(logits.rows(), logits.width(), target),
        ])
    }

    /// None through the loss: the gradient is an output.
    fn vjp(&self, _tape: &mut dyn Record, at: &Applied) -> Result<Vec<Option<Var>>, OpError> {
        Ok(vec![None; at.inputs.len()])
    }

    fn cost(&self, operands: &Operands) -> Cost {
        let logits = operands.in_shape(0).len() as u64;
        Cost { flops: if self.gradient { 6 } else { 4 } * logits, bytes: operands.bytes() }
    }
}

impl Twin for CrossEntropy {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (targets, weights) = (&io.indices(1)[self.first..], &io.input(2)[self.first..]);
        let width = io.in_shape(0).width();
        if self.gradient {
            let [loss, logits] = io.outputs();
            for_rows(
                [(loss, 1), (logits, width)],
                4 * width,
                #[inline(always)]
                |row, [loss, logits]| {
                    let (target, weight) = (targets[row], weights[row]);
                    if target == IGNORE {
                        logits.fill(F::ZERO);
                        loss[0] = F::ZERO;
                        return;
                    }
                    let at_target = logits[target as usize];
                    let largest = largest(logits);
                    let mut sum = F::ZERO;
                    for x in logits.iter_mut() {
                        *x = (*x - largest).exp();
                    }
                    for &x in logits.iter() {
                        sum += x;
                    }
                    let scale = weight / sum;
                    logits.iter_mut().for_each(|x| *x *= scale);
                    logits[target as usize] -= weight;
                    loss[0] = weight * (sum.ln() + largest - at_target);
                },
            );
        } else {
            let logits = io.input(0);
            let [loss] = io.outputs();
            for_rows(
                [(loss, 1)],
                4 * width,
                #[inline(always)]
                |row, [loss]| {
                    let logits = &logits[row * width..][..width];
                    if targets[row] == IGNORE {
                        loss[0] = F::ZERO;
                        return;
                    }
                    let largest = largest(logits);
                    let mut sums = [F::ZERO; 16];
                    for chunk in logits.chunks(16) {
                        for (sum, &x) in sums.iter_mut().zip(chunk) {
                            *sum += (x - largest).exp();
                        }
                    }
                    let sum: F = sums.into_iter().sum();
                    loss[0] = weights[row] * (sum.ln() + largest - logits[targets[row] as usize]);
                },
            );
        }
    }
}

/// The largest element; NaN if any is, so that a loss shows it.
#[inline(always)]
fn largest<F: Real>(x: &[F]) -> F {
    x.iter().skip(1).fold(x[0], |m, &v| if v > m || v.partial_cmp(&v).is_none() { v } else { m })
}

/// exp of a difference of logits up to 2·max rounds by that many units; the sum of the row averages them out.
/// The loss is a difference of numbers of the logits' size.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for gradient in [false, true] {
        for (rows, width, fill, largest) in [
            (1, 1, Fill::Uniform(1.0), 1.0),
            (3, 65, Fill::Uniform(6.0), 6.0),
            (5, 257, Fill::Uniform(1.0), 1.0),
            (2, 1033, Fill::Constant(2.0), 2.0),
            (7, 64, Fill::Ties, 2.0),
            (4, 50, Fill::Uniform(80.0), 80.0),
            (3, 67, Fill::Between(-200.0, -100.0), 200.0),
            // Short rows at levels so far apart that the largest logit of another row is no substitute.
            (9, 2, Fill::Uniform(1e3), 1e3),
            // More rows than a square of the shortest axis that grids are folded at.
            (11, 3, Fill::Uniform(1.0), 1.0),
        ] {
            let (first, n) = (rows % 3, rows + 2);
            let operands = [Spec::f32([rows, width]), Spec::u32([n]), Spec::f32([n])];
            let bound = Bound::new(8.0, 16.0 * f64::max(largest, 4.0));
            let case = Case::new(CrossEntropy { first, gradient }, &operands, bound);
            cases.push(case.with(0, fill).with(1, Fill::IndexOrIgnore(width as u32)));
        }
    }
    // A single class has probability 1: of its loss, 0, only the logarithm of 1 can be off, by 8 units in WGSL, and
    // what it is added to rounded.
    let operands = [Spec::f32([33, 1]), Spec::u32([33]), Spec::f32([33])];
    let case = Case::new(CrossEntropy { first: 0, gradient: false }, &operands, Bound::new(0.0, 10.0));
    cases.push(case.with(1, Fill::IndexOrIgnore(1)));
    cases
}
