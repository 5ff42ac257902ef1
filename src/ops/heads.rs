//! split_heads, merge_heads: between the (B, T, C) of a transformer and the (B·H, T, D) of its heads, D = C/H.
//!
//! They exist so that attention can be written as matmul → softmax → matmul.

use crate::ops::prelude::*;
use crate::ops::zeros::Zeros;

pub static SPLIT_HEADS: OpInfo =
    OpInfo { name: "split_heads", formula: "y_(b,h)td = x_bt(part,h,d)", cases: split_cases };
pub static MERGE_HEADS: OpInfo =
    OpInfo { name: "merge_heads", formula: "y_bt(h,d) = x_(b,h)td", cases: merge_cases };
pub static ADD_HEADS: OpInfo =
    OpInfo { name: "add_heads", formula: "y_bt(part,h,d) += x_(b,h)td", cases: add_cases };

/// Takes part `part` of x (B, T, of·C), such as the keys of q|k|v, as heads: (B·H, T, D).
#[derive(Clone, Copy, Debug)]
pub struct SplitHeads {
    pub n_head: usize,
    pub part: usize,
    /// How many parts lie side by side in a row of x.
    pub of: usize,
}

/// Puts heads x (B·H, T, D) side by side: (B, T, C).
#[derive(Clone, Copy, Debug)]
pub struct MergeHeads {
    pub n_head: usize,
}

/// Adds heads x (B·H, T, D) to their part of y (B, T, of·C), in place: the derivative of [`SplitHeads`].
#[derive(Clone, Copy, Debug)]
pub struct AddHeads(pub SplitHeads);

/// The extents that a kernel needs to find an element.
#[derive(Clone, Copy, Debug)]
struct Layout {
    batch: usize,
    time: usize,
    split: SplitHeads,
    /// D.
    width: usize,
}

impl Layout {
    fn of_rows(split: SplitHeads, rows: Shape) -> Self {
        let dims = rows.dims();
        Self { batch: dims[0], time: dims[1], split, width: dims[2] / split.of / split.n_head }
    }

    /// Elements of one row of the merged tensor.
    fn row(&self) -> usize {
        self.split.of * self.split.n_head * self.width
    }

    /// Where row `row` of the heads, counted over (b, h, t), begins in the merged tensor.
    fn start(&self, row: usize) -> usize {
        let (b, h, t) =
            (row / self.time / self.split.n_head, row / self.time % self.split.n_head, row % self.time);
        (b * self.time + t) * self.row() + (self.split.part * self.split.n_head + h) * self.width
    }

    fn heads(&self) -> Spec {
        Spec::f32([self.batch * self.split.n_head, self.time, self.width])
    }

    fn kernels(&self, dispatch: &Dispatch, heads: Operand, rows: Operand, target: &Target) -> Vec<Kernel> {
        let split = self.split;
        let widths = [self.time * self.row(), self.time * split.n_head * self.width];
        let part = |(first, n): (usize, usize)| {
            dispatch
                .clone()
                .bind_part("heads", heads, first * widths[1], n * widths[1])
                .bind_part("rows", rows, first * widths[0], n * widths[0])
                .param("time", self.time)
                .param("n_head", split.n_head)
                .param("width", self.width)
                .param("part", split.part)
                .param("parts", split.of)
                .elements(n * widths[1], target)
        };
        Kernel::plain(batch_ranges(target, self.batch, &widths).into_iter().map(part).collect())
    }
}

/// Ranges (first, count) of the batch for which every operand, of `widths` elements per item of the batch,
/// fits a binding and starts where a binding may start.
pub fn batch_ranges(target: &Target, batch: usize, widths: &[usize]) -> Vec<(usize, usize)> {
    let bytes = |width: &usize| 4 * (*width).max(1) as u64;
    let widest = widths.iter().map(bytes).max().unwrap_or(4);
    let most = (target.max_binding_bytes / widest).max(1) as usize;
    if batch <= most {
        return vec![(0, batch)];
    }
    // Alignments are powers of two: the largest of the operands' steps is a multiple of all of them.
    let step = |width| (target.binding_alignment >> bytes(width).trailing_zeros().min(63)).max(1);
    let step = widths.iter().map(step).max().unwrap_or(1) as usize;
    let most = (most / step * step).max(step);
    (0..batch).step_by(most).map(|first| (first, most.min(batch - first))).collect()
}

/// Checks that x is (B, T, parts · n_head · D).
pub fn expect_heads(name: &str, x: Spec, n_head: usize, parts: usize) -> Result<(), OpError> {
    let (dims, unit) = (x.shape.dims().len(), n_head * parts);
    if dims == 3 && unit > 0 && x.shape.width().is_multiple_of(unit) && x == Spec::f32(x.shape) {
        return Ok(());
    }
    Err(OpError::new(format!("operand `{name}` is {x}, not (B, T, {parts}·C) with C in {n_head} heads")))
}

/// Checks that x is (B, T, (n_head + 2 n_kv_head)·D), with groups of heads that share a key, and returns D.
pub fn expect_grouped(name: &str, x: Spec, n_head: usize, n_kv_head: usize) -> Result<usize, OpError> {
    if n_kv_head == 0 || n_head == 0 || !n_head.is_multiple_of(n_kv_head) {
        return Err(OpError::new(format!(
            "{n_head} heads of queries cannot share {n_kv_head} of keys evenly"
        )));
    }
    let (dims, unit) = (x.shape.dims().len(), n_head + 2 * n_kv_head);
    if dims == 3 && x.shape.width().is_multiple_of(unit) && x == Spec::f32(x.shape) {
        return Ok(x.shape.width() / unit);
    }
    Err(OpError::new(format!("operand `{name}` is {x}, not (B, T, ({n_head} + 2·{n_kv_head})·D)")))
}

impl Op for SplitHeads {
    fn info(&self) -> &'static OpInfo {
        &SPLIT_HEADS
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 1, 1)?;
        expect_heads("x", inputs[0], self.n_head, self.of)?;
        if self.part >= self.of {
            return Err(OpError::new(format!("there is no part {} of {}", self.part, self.of)));
        }
        Ok(vec![Layout::of_rows(*self, inputs[0].shape).heads()])
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let layout = Layout::of_rows(*self, operands.in_shape(0));
        layout.kernels(&Dispatch::new(shader!("heads/split")), Out(0), In(0), target)
    }

    fn vjp(&self, tape: &mut dyn Record, at: &Applied) -> Result<Vec<Option<Var>>, OpError> {
        let sum = match at.so_far[0] {
            Some(sum) => sum,
            None => {
                let shape = tape.spec(at.inputs[0]).shape;
                record_one(tape, Zeros(shape), &[])?
            }
        };
        Ok(vec![Some(record_one(tape, AddHeads(*self), &[at.upstream(0)?, sum])?)])
    }
}

impl Twin for SplitHeads {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (x, layout) = (io.input(0), Layout::of_rows(*self, io.in_shape(0)));
        let [y] = io.outputs();
        for_rows([(y, layout.width)], layout.width, |row, [y]| {
            y.copy_from_slice(&x[layout.start(row)..][..layout.width]);
        });
    }
}

impl MergeHeads {
    fn as_split(&self) -> SplitHeads {
        SplitHeads { n_head: self.n_head, part: 0, of: 1 }
    }
}

impl Op for MergeHeads {
    fn info(&self) -> &'static OpInfo {
        &MERGE_HEADS
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 1, 1)?;
        match *inputs[0].shape.dims() {
            [heads, time, width] if self.n_head > 0 && heads.is_multiple_of(self.n_head) => {
                Ok(vec![Spec::f32([heads / self.n_head, time, self.n_head * width])])
            }
            _ => Err(OpError::new(format!("operand `x` is {}, not (B·{}, T, D)", inputs[0], self.n_head))),
        }
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let layout = Layout::of_rows(self.as_split(), operands.out_shape(0));
        layout.kernels(&Dispatch::new(shader!("heads/put")).constant("ADD", 0), In(0), Out(0), target)
    }

    fn vjp(&self, tape: &mut dyn Record, at: &Applied) -> Result<Vec<Option<Var>>, OpError> {
        Ok(vec![Some(record_one(tape, self.as_split(), &[at.upstream(0)?])?)])
    }
}

impl Twin for MergeHeads {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (x, layout) = (io.input(0), Layout::of_rows(self.as_split(), io.out_shape(0)));
        let [y] = io.outputs();
        y.fill(F::ZERO);
        add_heads(x, y, &layout);
    }
}

impl Op for AddHeads {
    fn info(&self) -> &'static OpInfo {
        &ADD_HEADS
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 2, 2)?;
        expect_heads("y", inputs[1], self.0.n_head, self.0.of)?;
        expect("x", inputs[0], Layout::of_rows(self.0, inputs[1].shape).heads())?;
        Ok(vec![inputs[1]])
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        vec![(0, 1)]
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let layout = Layout::of_rows(self.0, operands.out_shape(0));
        layout.kernels(&Dispatch::new(shader!("heads/put")).constant("ADD", 1), In(0), Out(0), target)
    }
}

impl Twin for AddHeads {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (x, layout) = (io.input(0), Layout::of_rows(self.0, io.out_shape(0)));
        let [y] = io.outputs();
        add_heads(x, y, &layout);
    }
}

fn add_heads<F: Real>(x: &[F], y: &mut [F], layout: &Layout) {
    for (row, x) in x.chunks_exact(layout.width).enumerate() {
        let y = &mut y[layout.start(row)..][..layout.width];
        y.iter_mut().zip(x).for_each(|(y, &x)| *y += x);
    }
}

/// (B, T, H, D); the last is one that small bindings can split.
const SHAPES: [[usize; 4]; 6] =
    [[1, 1, 1, 1], [2, 3, 1, 5], [1, 7, 3, 1], [3, 5, 2, 11], [2, 33, 3, 7], [21, 8, 2, 1]];

fn split_cases() -> Vec<Case> {
    let case = |([b, t, n_head, d], part, of): ([usize; 4], usize, usize)| {
        Case::new(SplitHeads { n_head, part, of }, &[Spec::f32([b, t, of * n_head * d])], Bound::EXACT)
    };
    parts().map(case).collect()
}

fn merge_cases() -> Vec<Case> {
    SHAPES
        .map(|[b, t, n_head, d]| {
            Case::new(MergeHeads { n_head }, &[Spec::f32([b * n_head, t, d])], Bound::EXACT)
        })
        .into()
}

fn add_cases() -> Vec<Case> {
    let case = |([b, t, n_head, d], part, of): ([usize; 4], usize, usize)| {
        let operands = [Spec::f32([b * n_head, t, d]), Spec::f32([b, t, of * n_head * d])];
        Case::new(AddHeads(SplitHeads { n_head, part, of }), &operands, Bound::ROUNDED)
    };
    parts().map(case).collect()
}

fn parts() -> impl Iterator<Item = ([usize; 4], usize, usize)> {
    SHAPES.into_iter().flat_map(|shape| [(0, 1), (0, 3), (1, 3), (2, 3)].map(|(part, of)| (shape, part, of)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_ranges_fit_and_start_aligned() {
        let target = Target { max_binding_bytes: 4000, ..Target::WEBGPU };
        assert_eq!(batch_ranges(&target, 3, &[300, 7]), [(0, 3)]);
        for widths in [[64, 16], [16, 8], [48, 20]] {
            let ranges = batch_ranges(&target, 101, &widths);
            let mut next = 0;
            for (first, n) in ranges {
                assert_eq!(first, next);
                assert!(widths.iter().all(|w| first * w * 4 % 256 == 0 && n * w * 4 <= 4096));
                next += n;
            }
            assert_eq!(next, 101);
        }
    }
}
