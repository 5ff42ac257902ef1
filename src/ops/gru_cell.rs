//! gru_cell: one step of a gated recurrent unit (Cho et al. 2014), in PyTorch's form: the reset gate is applied
//! after the product with the state.

use super::cell_common::{self, expect_gates, over_state, so_far_or_zeros};
use crate::ops::prelude::*;

pub static GRU_CELL: OpInfo =
    OpInfo { name: "gru_cell", formula: "h' = (1 - z) n + z h, n = tanh(gx_n + r gh_n)", cases };
pub static GRU_CELL_BACKWARD: OpInfo = OpInfo {
    name: "gru_cell_backward",
    formula: "dgh = (dr, dz, r dn), dgx ← dgx + (dr, dz, dn), dh = z dh'",
    cases: backward_cases,
};

/// (gx (T·B, 3H), gh (B, 3H), h (B, H)) → h' (B, H), from the rows of gx from `first` on.
///
/// r = σ(gx_r + gh_r), z = σ(gx_z + gh_z), n = tanh(gx_n + r gh_n): gx is the projection of a whole sequence, gh
/// that of the state h, each with its bias; r, z and n are columns of it in this order.
#[derive(Clone, Copy, Debug)]
pub struct GruCell {
    pub first: usize,
}

/// (gx, gh, h, dh', dgx (T·B, 3H), \[dh\]) → dgx, whose rows from `first` on are added to in place, dgh (B, 3H), dh
/// (B, H), in place where one is given.
#[derive(Debug)]
pub struct GruCellBackward {
    pub first: usize,
    pub accumulate: bool,
}

/// r, z and n of one element.
#[inline(always)]
fn gates<F: Real>(gx: &[F], gh: &[F], width: usize, j: usize) -> [F; 3] {
    let r = (gx[j] + gh[j]).sigmoid();
    let z = (gx[width + j] + gh[width + j]).sigmoid();
    let n = (gx[2 * width + j] + r * gh[2 * width + j]).tanh();
    [r, z, n]
}

impl Op for GruCell {
    fn info(&self) -> &'static OpInfo {
        &GRU_CELL
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 3, 3)?;
        let state = expect_gates(inputs[0], inputs[1], 3, self.first)?;
        expect("h", inputs[2], state)?;
        Ok(vec![state])
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let dispatch = Dispatch::new(shader!("gru_cell/forward", "sigmoid", "normal"))
            .bind("gx", In(0))
            .bind("gh", In(1))
            .bind("h", In(2))
            .bind("h_next", Out(0));
        Kernel::plain(vec![over_state(dispatch, self.first, operands.outputs[0], target)])
    }

    fn vjp(&self, tape: &mut dyn Record, at: &Applied) -> Result<Vec<Option<Var>>, OpError> {
        let dgx = so_far_or_zeros(tape, at, 0)?;
        let mut operands = vec![at.inputs[0], at.inputs[1], at.inputs[2], at.upstream(0)?, dgx];
        operands.extend(at.so_far[2]);
        let op = GruCellBackward { first: self.first, accumulate: at.so_far[2].is_some() };
        record_gradients(tape, op, &operands)
    }

    fn cost(&self, operands: &Operands) -> Cost {
        let len = operands.out_shape(0).len() as u64;
        Cost { flops: 20 * len, bytes: 4 * 8 * len }
    }
}

impl Twin for GruCell {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (gh, h, width) = (io.input(1), io.input(2), io.out_shape(0).width());
        let gx = &io.input(0)[self.first * 3 * width..];
        let [h_next] = io.outputs();
        for_rows(
            [(h_next, width)],
            3 * width,
            #[inline(always)]
            |row, [h_next]| {
                let [gx, gh] = [gx, gh].map(|g| &g[row * 3 * width..][..3 * width]);
                for (j, (h_next, &h)) in h_next.iter_mut().zip(&h[row * width..]).enumerate() {
                    let [_, z, n] = gates(gx, gh, width, j);
                    *h_next = (F::ONE - z) * n + z * h;
                }
            },
        );
    }
}

impl Op for GruCellBackward {
    fn info(&self) -> &'static OpInfo {
        &GRU_CELL_BACKWARD
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        let n = 5 + usize::from(self.accumulate);
        expect_operands(inputs, n, n)?;
        let state = expect_gates(inputs[0], inputs[1], 3, self.first)?;
        expect("h", inputs[2], state)?;
        expect("dh'", inputs[3], state)?;
        expect("dgx", inputs[4], inputs[0])?;
        if self.accumulate {
            expect("dh", inputs[5], state)?;
        }
        Ok(vec![inputs[0], inputs[1], state])
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        if self.accumulate { vec![(0, 4), (2, 5)] } else { vec![(0, 4)] }
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let dispatch = Dispatch::new(shader!("gru_cell/backward", "sigmoid", "normal"))
            .constant("ACCUMULATE", self.accumulate.into())
            .bind("gx", In(0))
            .bind("gh", In(1))
            .bind("h", In(2))
            .bind("dh_next", In(3))
            .bind("dgx", Out(0))
            .bind("dgh", Out(1))
            .bind("dh", Out(2));
        Kernel::plain(vec![over_state(dispatch, self.first, operands.outputs[2], target)])
    }

    fn cost(&self, operands: &Operands) -> Cost {
        let len = operands.out_shape(2).len() as u64;
        Cost { flops: 40 * len, bytes: 4 * 18 * len }
    }
}

impl Twin for GruCellBackward {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let [gh, h, dh_next] = [1, 2, 3].map(|i| io.input(i));
        let width = io.out_shape(2).width();
        let (first, gates_len) = (self.first * 3 * width, gh.len());
        let gx = &io.input(0)[first..];
        let [dgx, dgh, dh] = io.outputs();
        for_rows(
            [(&mut dgx[first..][..gates_len], 3 * width), (dgh, 3 * width), (dh, width)],
            8 * width,
            #[inline(always)]
            |row, [dgx, dgh, dh]| {
                let [gx, gh] = [gx, gh].map(|g| &g[row * 3 * width..][..3 * width]);
                let [h, dh_next] = [h, dh_next].map(|s| &s[row * width..][..width]);
                for j in 0..width {
                    let [r, z, n] = gates(gx, gh, width, j);
                    let dn = dh_next[j] * (F::ONE - z) * (F::ONE - n * n);
                    let dz = dh_next[j] * (h[j] - n) * z * (F::ONE - z);
                    let dr = dn * gh[2 * width + j] * r * (F::ONE - r);
                    for (gate, (to_x, to_h)) in [(dr, dr), (dz, dz), (dn, dn * r)].into_iter().enumerate() {
                        dgx[gate * width + j] += to_x;
                        dgh[gate * width + j] = to_h;
                    }
                    let so_far = if self.accumulate { dh[j] } else { F::ZERO };
                    dh[j] = so_far + dh_next[j] * z;
                }
            },
        );
    }
}

fn cases() -> Vec<Case> {
    cell_common::cases(3, |first| GruCell { first }, |gx, gh, state| vec![gx, gh, state])
}

fn backward_cases() -> Vec<Case> {
    let of = |accumulate: bool| {
        let operands = move |gx, gh, state| {
            let mut operands = vec![gx, gh, state, state, gx];
            operands.extend(accumulate.then_some(state));
            operands
        };
        cell_common::cases(3, move |first| GruCellBackward { first, accumulate }, operands)
    };
    [of(false), of(true)].concat()
}
