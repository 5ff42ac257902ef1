//! entropy: how undecided each row of logits is, and in the same pass its gradient: the bonus that keeps a policy
//! from settling too soon (Williams & Peng 1991; Mnih et al. 2016).

use crate::ops::prelude::*;

pub static ENTROPY: OpInfo = OpInfo {
    name: "entropy",
    formula: "h_i = w_i H_i, H_i = -Σ_j p_ij ln p_ij, p = softmax(x); dx_ij = -w_i p_ij (ln p_ij + H_i)",
    cases,
};

/// (logits (…, V), weights (n)) → entropy (rows) in nats, and with `gradient` dlogits (…, V). Row i has weight
/// `first + i`, which is the upstream gradient of its entropy: negative for a bonus in a loss.
#[derive(Debug)]
pub struct Entropy {
    pub first: usize,
    pub gradient: bool,
}

impl Op for Entropy {
    fn info(&self) -> &'static OpInfo {
        &ENTROPY
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 2, 2)?;
        expect("logits", inputs[0], Spec::f32(inputs[0].shape))?;
        let rows = inputs[0].shape.rows();
        expect_vector("weights", inputs[1], inputs[1].shape.len().max(self.first + rows))?;
        let mut outputs = vec![Spec::f32([rows])];
        outputs.extend(self.gradient.then_some(inputs[0]));
        Ok(outputs)
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let logits = operands.in_shape(0);
        let mut dispatch = if self.gradient {
            Dispatch::new(shader!("entropy/gradient", "reduce"))
        } else {
            Dispatch::new(shader!("entropy/loss", "reduce"))
        };
        dispatch = dispatch.bind("logits", In(0)).bind("weights", In(1)).bind("entropy", Out(0));
        if self.gradient {
            dispatch = dispatch.bind("dlogits", Out(1));
        }
        Kernel::plain(vec![dispatch.param("first", self.first).rows(logits.rows(), logits.width(), target)])
    }

    fn cost(&self, operands: &Operands) -> Cost {
        let logits = operands.in_shape(0).len() as u64;
        Cost { flops: if self.gradient { 10 } else { 6 } * logits, bytes: operands.bytes() }
    }
}

impl Twin for Entropy {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (logits, weights) = (io.input(0), &io.input(1)[self.first..]);
        let width = io.in_shape(0).width();
        // ln S, what x is less than its largest on average, and the largest.
        let moments = |row: usize| {
            let x = &logits[row * width..][..width];
            let largest = x.iter().skip(1).fold(x[0], |m, &v| if v > m { v } else { m });
            let sum: F = x.iter().map(|&x| (x - largest).exp()).sum();
            let weighted: F = x.iter().map(|&x| (x - largest).exp() * (x - largest)).sum();
            (sum, weighted / sum, largest)
        };
        if self.gradient {
            let [entropy, dlogits] = io.outputs();
            for_rows(
                [(entropy, 1), (dlogits, width)],
                8 * width,
                #[inline(always)]
                |row, [entropy, dlogits]| {
                    let (sum, mean, largest) = moments(row);
                    entropy[0] = weights[row] * (sum.ln() - mean);
                    let scale = -weights[row] / sum;
                    for (dx, &x) in dlogits.iter_mut().zip(&logits[row * width..]) {
                        // ln p + H: the logarithms of the sum cancel.
                        let x = x - largest;
                        *dx = scale * x.exp() * (x - mean);
                    }
                },
            );
        } else {
            let [entropy] = io.outputs();
            for_rows([(entropy, 1)], 6 * width, |row, [entropy]| {
                let (sum, mean, _) = moments(row);
                entropy[0] = weights[row] * (sum.ln() - mean);
            });
        }
    }
}

/// exp of a difference of up to 2·max is off by that many units and 3 more, and so is its share of the mean
/// difference, which is at most ln V; the difference itself is rounded to its size. A sum of V such terms walks.
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
            (3, 67, Fill::Between(-200.0, -190.0), 200.0),
            // Logits so far apart that only the largest of the row may be subtracted, wherever it is.
            (33, 60, Fill::Uniform(1e3), 1e3),
            (11, 3, Fill::Uniform(1.0), 1.0),
        ] {
            let (first, n) = (rows % 3, rows + 2);
            let operands = [Spec::f32([rows, width]), Spec::f32([n])];
            let absolute = 4.0 * (2.0 * largest + 4.0) * (2.0 + (width as f64).ln());
            let case = Case::new(Entropy { first, gradient }, &operands, Bound::new(16.0, absolute));
            cases.push(case.with(0, fill));
        }
    }
    cases
}
