//! lstm_cell: one step of long short-term memory (Hochreiter & Schmidhuber 1997) with a forget gate (Gers et al.
//! 2000).

use super::cell_common::{self, expect_gates, over_state, so_far_or_zeros};
use crate::ops::prelude::*;

pub static LSTM_CELL: OpInfo =
    OpInfo { name: "lstm_cell", formula: "c' = f c + i g, h' = o tanh(c')", cases };
pub static LSTM_CELL_BACKWARD: OpInfo = OpInfo {
    name: "lstm_cell_backward",
    formula: "dgh = (di, df, dg, do), dgx ← dgx + dgh, dc = f (dc' + o (1 - tanh²(c')) dh')",
    cases: backward_cases,
};

/// (gx (T·B, 4H), gh (B, 4H), c (B, H)) → h', c' (B, H), from the rows of gx from `first` on.
///
/// i, f, o = σ(gx + gh), g = tanh(gx + gh): gx is the projection of a whole sequence, gh that of the state h; i,
/// f, g and o are columns of it in this order.
#[derive(Clone, Copy, Debug)]
pub struct LstmCell {
    pub first: usize,
}

/// (gx, gh, c, dgx (T·B, 4H), [dh'], [dc']) → dgx, whose rows from `first` on are added to in place, dgh (B, 4H),
/// dc (B, H). One of dh' and dc' at least is given.
#[derive(Debug)]
pub struct LstmCellBackward {
    pub first: usize,
    pub dh: bool,
    pub dc: bool,
}

/// i, f, g, o and c' of one element.
#[inline(always)]
fn gates<F: Real>(gx: &[F], gh: &[F], c: F, width: usize, j: usize) -> [F; 5] {
    let [i, f, g, o] = std::array::from_fn(|gate| gx[gate * width + j] + gh[gate * width + j]);
    let [i, f, g, o] = [i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()];
    [i, f, g, o, f * c + i * g]
}

impl Op for LstmCell {
    fn info(&self) -> &'static OpInfo {
        &LSTM_CELL
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 3, 3)?;
        let state = expect_gates(inputs[0], inputs[1], 4, self.first)?;
        expect("c", inputs[2], state)?;
        Ok(vec![state; 2])
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let dispatch = Dispatch::new(shader!("lstm_cell/forward", "sigmoid", "normal"))
            .bind("gx", In(0))
            .bind("gh", In(1))
            .bind("c", In(2))
            .bind("h_next", Out(0))
            .bind("c_next", Out(1));
        Kernel::plain(vec![over_state(dispatch, self.first, operands.outputs[0], target)])
    }

    fn vjp(&self, tape: &mut dyn Record, at: &Applied) -> Result<Vec<Option<Var>>, OpError> {
        let dgx = so_far_or_zeros(tape, at, 0)?;
        let [dh, dc] = [at.upstream[0], at.upstream[1]];
        let mut operands = vec![at.inputs[0], at.inputs[1], at.inputs[2], dgx];
        operands.extend([dh, dc].into_iter().flatten());
        let op = LstmCellBackward { first: self.first, dh: dh.is_some(), dc: dc.is_some() };
        record_gradients(tape, op, &operands)
    }

    fn cost(&self, operands: &Operands) -> Cost {
        let len = operands.out_shape(0).len() as u64;
        Cost { flops: 28 * len, bytes: 4 * 11 * len }
    }
}

impl Twin for LstmCell {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (gh, c, width) = (io.input(1), io.input(2), io.out_shape(0).width());
        let gx = &io.input(0)[self.first * 4 * width..];
        let [h_next, c_next] = io.outputs();
        for_rows(
            [(h_next, width), (c_next, width)],
            5 * width,
            #[inline(always)]
            |row, [h_next, c_next]| {
                let [gx, gh] = [gx, gh].map(|g| &g[row * 4 * width..][..4 * width]);
                let states = h_next.iter_mut().zip(c_next).zip(&c[row * width..]);
                for (j, ((h_next, c_next), &c)) in states.enumerate() {
                    let [_, _, _, o, cell] = gates(gx, gh, c, width, j);
                    *c_next = cell;
                    *h_next = o * cell.tanh();
                }
            },
        );
    }
}

impl Op for LstmCellBackward {
    fn info(&self) -> &'static OpInfo {
        &LSTM_CELL_BACKWARD
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        let n = 4 + usize::from(self.dh) + usize::from(self.dc);
        expect_operands(inputs, n.max(5), n)?;
        let state = expect_gates(inputs[0], inputs[1], 4, self.first)?;
        expect("c", inputs[2], state)?;
        expect("dgx", inputs[3], inputs[0])?;
        for &upstream in &inputs[4..] {
            expect("of the gradients", upstream, state)?;
        }
        Ok(vec![inputs[0], inputs[1], state])
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        vec![(0, 3)]
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        // The variable of a missing gradient has c bound to it, and is not read.
        let dh = if self.dh { 4 } else { 2 };
        let dc = if self.dc { 4 + usize::from(self.dh) } else { 2 };
        let dispatch = Dispatch::new(shader!("lstm_cell/backward", "sigmoid", "normal"))
            .constant("DH", self.dh.into())
            .constant("DC", self.dc.into())
            .bind("gx", In(0))
            .bind("gh", In(1))
            .bind("c", In(2))
            .bind("dh_next", In(dh))
            .bind("dc_next", In(dc))
            .bind("dgx", Out(0))
            .bind("dgh", Out(1))
            .bind("dc", Out(2));
        Kernel::plain(vec![over_state(dispatch, self.first, operands.outputs[2], target)])
    }

    fn cost(&self, operands: &Operands) -> Cost {
        let len = operands.out_shape(2).len() as u64;
        Cost { flops: 56 * len, bytes: 4 * 24 * len }
    }
}

impl Twin for LstmCellBackward {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (gh, c, width) = (io.input(1), io.input(2), io.out_shape(2).width());
        let dh_next = self.dh.then(|| io.input(4));
        let dc_next = self.dc.then(|| io.input(4 + usize::from(self.dh)));
        let (first, gates_len) = (self.first * 4 * width, gh.len());
        let gx = &io.input(0)[first..];
        let [dgx, dgh, dc] = io.outputs();
        for_rows(
            [(&mut dgx[first..][..gates_len], 4 * width), (dgh, 4 * width), (dc, width)],
            16 * width,
            #[inline(always)]
            |row, [dgx, dgh, dc]| {
                let [gx, gh] = [gx, gh].map(|g| &g[row * 4 * width..][..4 * width]);
                for j in 0..width {
                    let at = row * width + j;
                    let [i, f, g, o, cell] = gates(gx, gh, c[at], width, j);
                    let (t, dh) = (cell.tanh(), dh_next.map_or(F::ZERO, |dh| dh[at]));
                    let d = dc_next.map_or(F::ZERO, |dc| dc[at]) + dh * o * (F::ONE - t * t);
                    let before = [
                        d * g * i * (F::ONE - i),
                        d * c[at] * f * (F::ONE - f),
                        d * i * (F::ONE - g * g),
                        dh * t * o * (F::ONE - o),
                    ];
                    for (gate, before) in before.into_iter().enumerate() {
                        dgx[gate * width + j] += before;
                        dgh[gate * width + j] = before;
                    }
                    dc[j] = d * f;
                }
            },
        );
    }
}

fn cases() -> Vec<Case> {
    cell_common::cases(4, |first| LstmCell { first }, |gx, gh, state| vec![gx, gh, state])
}

fn backward_cases() -> Vec<Case> {
    let of = |(dh, dc)| {
        let operands = move |gx, gh, state| {
            let mut operands = vec![gx, gh, state, gx];
            operands.extend([dh, dc].into_iter().filter(|&given| given).map(|_| state));
            operands
        };
        cell_common::cases(4, move |first| LstmCellBackward { first, dh, dc }, operands)
    };
    [(true, true), (true, false), (false, true)].map(of).concat()
}
