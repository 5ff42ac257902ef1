//! layer_norm_weights: the gradients of a norm's weight and bias: dweight = Σ dy x̂, dbias = Σ dy over all rows.

use crate::ops::prelude::*;

pub static LAYER_NORM_WEIGHTS: OpInfo =
    OpInfo { name: "layer_norm_weights", formula: "dweight = Σ_rows dy · x̂, dbias = Σ_rows dy", cases };

/// `(dy, x, [mean], rstd, [dweight, [dbias]])` → `dweight, [dbias]`; gradients given as operands are added to in
/// place.
#[derive(Debug)]
pub struct LayerNormWeights {
    /// Without it, as in `rms_norm`, no mean is subtracted from x.
    pub centred: bool,
    pub bias: bool,
    pub accumulate: bool,
}

/// Records the gradients of weight and bias where they are wanted; `weight` and `bias` are operand numbers.
/// `operands` are dy, x, the mean if there is one, and rstd.
pub(crate) fn record_weights(
    tape: &mut dyn Record,
    at: &Applied,
    operands: &[Var],
    weight: usize,
) -> Result<Vec<Option<Var>>, OpError> {
    let mut gradients = vec![None; at.inputs.len()];
    if !at.wanted[weight] {
        return Ok(gradients);
    }
    let bias = at.inputs.len() > weight + 1;
    let mut inputs = operands.to_vec();
    let so_far: Vec<_> = (weight..=weight + usize::from(bias)).filter_map(|i| at.so_far[i]).collect();
    let accumulate = so_far.len() == 1 + usize::from(bias);
    if accumulate {
        inputs.extend(so_far);
    }
    let op = LayerNormWeights { centred: operands.len() > 3, bias, accumulate };
    let found = record_gradients(tape, op, &inputs)?;
    gradients[weight..weight + found.len()].copy_from_slice(&found);
    Ok(gradients)
}

impl LayerNormWeights {
    /// The number of the operand that dweight is added to.
    fn first_sum(&self) -> usize {
        3 + usize::from(self.centred)
    }
}

impl Op for LayerNormWeights {
    fn info(&self) -> &'static OpInfo {
        &LAYER_NORM_WEIGHTS
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        let vectors = 1 + usize::from(self.bias);
        let first = self.first_sum();
        let n = first + if self.accumulate { vectors } else { 0 };
        expect_operands(inputs, n, n)?;
        expect("dy", inputs[0], inputs[1])?;
        for (name, &statistic) in ["rstd", "mean"].iter().zip(inputs[2..first].iter().rev()) {
            expect(name, statistic, Spec::f32([inputs[1].shape.rows()]))?;
        }
        let width = inputs[1].shape.width();
        for (name, &vector) in ["dweight", "dbias"].iter().zip(&inputs[first..]) {
            expect_vector(name, vector, width)?;
        }
        Ok(vec![Spec::f32([width]); vectors])
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        match (self.accumulate, self.bias) {
            (false, _) => Vec::new(),
            (true, false) => vec![(0, self.first_sum())],
            (true, true) => vec![(0, self.first_sum()), (1, self.first_sum() + 1)],
        }
    }

    /// In two passes, or in one where rows are few.
    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let x = operands.in_shape(1);
        let (rows, width) = (x.rows(), x.width());
        let blocks = rows.div_ceil(ROWS_PER_BLOCK);
        let read = |shader: Shader| {
            Dispatch::new(shader)
                .constant("CENTRED", self.centred.into())
                .bind("dy", In(0))
                .bind("x", In(1))
                .bind("mean", In(2))
                .bind("rstd", In(self.first_sum() - 1))
                .param("rows", rows)
                .param("width", width)
        };
        let partials = read(shader!("layer_norm/partials"))
            .bind("partials", Scratch)
            .constant("ROWS", ROWS_PER_BLOCK as u32)
            .grid(width.div_ceil(64), blocks, 1);
        let sums = |part: usize| {
            Dispatch::new(shader!("layer_norm/sums"))
                .bind("partials", Scratch)
                .bind("total", Out(part))
                .param("blocks", blocks)
                .param("width", width)
                .param("part", part)
                .param("accumulate", self.accumulate)
                .grid(width.div_ceil(64), 1, 1)
        };
        let mut dispatches = vec![partials];
        dispatches.extend((0..operands.outputs.len()).map(sums));
        let mut kernels = vec![Kernel { scratch: 2 * blocks * width, ..Kernel::new("plain", dispatches) }];
        if rows <= MOST_ROWS_OF_ONE_PASS {
            let whole = |part: usize| {
                read(shader!("layer_norm/weights"))
                    .constant("PART", part as u32)
                    .bind("total", Out(part))
                    .param("accumulate", self.accumulate)
                    .groups(width.div_ceil(8), target)
            };
            kernels.push(Kernel::new("one_pass", (0..operands.outputs.len()).map(whole).collect()));
        }
        kernels
    }

    fn cost(&self, operands: &Operands) -> Cost {
        Cost { flops: 5 * operands.in_shape(0).len() as u64, bytes: operands.bytes() }
    }
}

/// Rows that one workgroup of the first pass sums.
const ROWS_PER_BLOCK: usize = 32;
/// Rows that take no longer in one pass than another dispatch takes to start: 32 for each thread.
const MOST_ROWS_OF_ONE_PASS: usize = 1024;

impl Twin for LayerNormWeights {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let [dy, x, rstd] = [0, 1, self.first_sum() - 1].map(|i| io.input(i));
        let mean = self.centred.then(|| io.input(2));
        let width = io.in_shape(0).width();
        let mut none: [F; 0] = [];
        let (dweight, dbias): (&mut [F], &mut [F]) = if self.bias {
            let [dweight, dbias] = io.outputs();
            (dweight, dbias)
        } else {
            let [dweight] = io.outputs();
            (dweight, &mut none)
        };
        if !self.accumulate {
            dweight.fill(F::ZERO);
            dbias.fill(F::ZERO);
        }
        for (row, (dy, x)) in dy.chunks_exact(width).zip(x.chunks_exact(width)).enumerate() {
            let (centre, rstd) = (mean.map_or(F::ZERO, |mean| mean[row]), rstd[row]);
            for ((dw, &dy), &x) in dweight.iter_mut().zip(dy).zip(x) {
                *dw += dy * (x - centre) * rstd;
            }
            dbias.iter_mut().zip(dy).for_each(|(db, &dy)| *db += dy);
        }
    }
}

/// Rows that are odd, single, and longer or shorter than a workgroup.
pub(super) const SHAPES: [[usize; 2]; 6] = [[1, 2], [3, 65], [5, 64], [2, 257], [33, 12], [70, 129]];

/// Statistics as they come from inputs in ±1: means near 0, rstd near √3.
pub(super) fn with_statistics(case: Case, mean: usize) -> Case {
    case.with(mean, Fill::Uniform(0.1)).with(mean + 1, Fill::Between(1.0, 2.0))
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for shape in SHAPES {
        for (bias, accumulate) in [(false, false), (true, false), (false, true), (true, true)] {
            let (x, vector, rows) = (Spec::f32(shape), Spec::f32([shape[1]]), Spec::f32([shape[0]]));
            let mut operands = vec![x, x, rows, rows];
            if accumulate {
                operands.extend(vec![vector; 1 + usize::from(bias)]);
            }
            let bound = Bound::sum(shape[0], 2.5);
            let centred = LayerNormWeights { centred: true, bias, accumulate };
            cases.push(with_statistics(Case::new(centred, &operands, bound), 2));
            operands.remove(2);
            let case = Case::new(LayerNormWeights { centred: false, bias, accumulate }, &operands, bound);
            cases.push(case.with(2, Fill::Between(1.0, 2.0)));
        }
    }
    cases
}
