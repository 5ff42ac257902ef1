//! rnn_cell: h' = tanh(gx + gh), one step of a recurrent network (Elman 1990).

use super::cell_common::{self, expect_gates, over_state, so_far_or_zeros};
use crate::ops::prelude::*;

pub static RNN_CELL: OpInfo = OpInfo { name: "rnn_cell", formula: "h' = tanh(gx + gh)", cases };
pub static RNN_CELL_BACKWARD: OpInfo = OpInfo {
    name: "rnn_cell_backward",
    formula: "dgh = dh' (1 - h'²), dgx ← dgx + dgh",
    cases: backward_cases,
};

/// (gx (T·B, H), gh (B, H)) → h' (B, H), from the rows of gx from `first` on.
///
/// gx is the projection of a whole sequence, time by time, and gh that of the state before: U x + b and W h.
#[derive(Clone, Copy, Debug)]
pub struct RnnCell {
    pub first: usize,
}

/// (h', dh', dgx (T·B, H)) → dgx, whose rows from `first` on are added to in place, dgh (B, H).
#[derive(Debug)]
pub struct RnnCellBackward {
    pub first: usize,
}

impl Op for RnnCell {
    fn info(&self) -> &'static OpInfo {
        &RNN_CELL
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 2, 2)?;
        Ok(vec![expect_gates(inputs[0], inputs[1], 1, self.first)?])
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let dispatch = Dispatch::new(shader!("rnn_cell/forward", "normal"))
            .bind("gx", In(0))
            .bind("gh", In(1))
            .bind("h_next", Out(0));
        Kernel::plain(vec![over_state(dispatch, self.first, operands.outputs[0], target)])
    }

    fn vjp(&self, tape: &mut dyn Record, at: &Applied) -> Result<Vec<Option<Var>>, OpError> {
        let dgx = so_far_or_zeros(tape, at, 0)?;
        record_gradients(tape, RnnCellBackward { first: self.first }, &[at.outputs[0], at.upstream(0)?, dgx])
    }

    fn cost(&self, operands: &Operands) -> Cost {
        let len = operands.out_shape(0).len() as u64;
        Cost { flops: 6 * len, bytes: 4 * 3 * len }
    }
}

impl Twin for RnnCell {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (gh, width) = (io.input(1), io.out_shape(0).width());
        let gx = &io.input(0)[self.first * width..];
        let [h_next] = io.outputs();
        for_rows(
            [(h_next, width)],
            width,
            #[inline(always)]
            |row, [h_next]| {
                let gates = gx[row * width..].iter().zip(&gh[row * width..]);
                for (h, (&x, &y)) in h_next.iter_mut().zip(gates) {
                    *h = (x + y).tanh();
                }
            },
        );
    }
}

impl Op for RnnCellBackward {
    fn info(&self) -> &'static OpInfo {
        &RNN_CELL_BACKWARD
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 3, 3)?;
        expect("dh'", inputs[1], inputs[0])?;
        expect_gates(inputs[2], inputs[0], 1, self.first)?;
        Ok(vec![inputs[2], inputs[0]])
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        vec![(0, 2)]
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let dispatch = Dispatch::new(shader!("rnn_cell/backward"))
            .bind("h_next", In(0))
            .bind("dh_next", In(1))
            .bind("dgx", Out(0))
            .bind("dgh", Out(1));
        Kernel::plain(vec![over_state(dispatch, self.first, operands.inputs[0], target)])
    }

    fn cost(&self, operands: &Operands) -> Cost {
        let len = operands.in_shape(0).len() as u64;
        Cost { flops: 4 * len, bytes: 4 * 5 * len }
    }
}

impl Twin for RnnCellBackward {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (h_next, dh_next, width) = (io.input(0), io.input(1), io.in_shape(0).width());
        let [dgx, dgh] = io.outputs();
        let dgx = &mut dgx[self.first * width..][..h_next.len()];
        for_rows(
            [(dgx, width), (dgh, width)],
            2 * width,
            #[inline(always)]
            |row, [dgx, dgh]| {
                let at = row * width;
                let operands = h_next[at..].iter().zip(&dh_next[at..]);
                for ((dgx, dgh), (&h, &dh)) in dgx.iter_mut().zip(dgh).zip(operands) {
                    *dgh = dh * (F::ONE - h * h);
                    *dgx += *dgh;
                }
            },
        );
    }
}

fn cases() -> Vec<Case> {
    cell_common::cases(1, |first| RnnCell { first }, |gx, gh, _| vec![gx, gh])
}

fn backward_cases() -> Vec<Case> {
    let all = cell_common::cases(1, |first| RnnCellBackward { first }, |gx, _, state| vec![state, state, gx]);
    all.into_iter().map(|case| case.with(0, Fill::Uniform(1.0))).collect()
}
