//! Recurrent layers (Elman 1990; Hochreiter & Schmidhuber 1997; Cho et al. 2014), unrolled over a window.

use super::Pass;
use crate::engine::op::{OpError, Record, Var};
use crate::engine::tape::{Init, Parameter, State, Tape};
use crate::ops::gru_cell::GruCell;
use crate::ops::lstm_cell::LstmCell;
use crate::ops::matmul::Matmul;
use crate::ops::rnn_cell::RnnCell;
use crate::ops::rows::{ConcatRows, PutRows};

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    Rnn,
    Gru,
    Lstm,
}

impl Cell {
    /// Numbers that the inputs and the state are projected to for each one of the state.
    pub fn gates(self) -> usize {
        match self {
            Self::Rnn => 1,
            Self::Gru => 3,
            Self::Lstm => 4,
        }
    }
}

/// Sizes of one recurrent layer.
#[derive(Clone, Copy, Debug)]
pub struct Recurrent {
    pub cell: Cell,
    /// H, the numbers of the state.
    pub n_hidden: usize,
    /// B, the sequences side by side.
    pub batch_size: usize,
}

/// A layer over a window.
#[derive(Clone, Debug)]
pub struct Unrolled {
    /// The states h after each step, time by time: (T·B, H).
    pub hidden: Var,
    /// Each state that the next window begins with, and what it will then be: for [`carry`].
    pub carried: Vec<(Var, Var)>,
}

impl Recurrent {
    /// x (T·B, E), time by time, → the states after each of T steps. Gradients stop at the window's beginning
    /// (truncated backpropagation through time, Williams & Peng 1990).
    ///
    /// Declares `weight_ih` (k H, E), `bias_ih`, `weight_hh` (k H, H) as PyTorch does, normal with the variance of
    /// its uniform ones, and `bias_hh` for a GRU alone: elsewhere it is the same as `bias_ih`. The states are
    /// `h`, and `c` of an LSTM, apart for each kind of pass.
    ///
    /// # Errors
    /// When `x` is not whole steps of B rows.
    pub fn record(&self, tape: &mut Tape, x: Var, pass: Pass) -> Result<Unrolled, OpError> {
        let (batch, n, width) = (self.batch_size, self.n_hidden, self.cell.gates() * self.n_hidden);
        let inputs = tape.spec(x).shape;
        if inputs.rows() == 0 || !inputs.rows().is_multiple_of(batch) {
            return Err(OpError::new(format!("{inputs} is not whole steps of {batch} rows")));
        }
        let weight = Init::Normal(1.0 / (3.0 * n as f32).sqrt());
        let input_weight = tape.parameter("weight_ih", [width, inputs.width()], weight, Parameter::Hidden);
        let bias =
            |tape: &mut Tape, name| tape.parameter(name, [width], Init::Constant(0.0), Parameter::Outer);
        let input_bias = bias(tape, "bias_ih");
        let state_weight = tape.parameter("weight_hh", [width, n], weight, Parameter::Hidden);
        let state_bias = (self.cell == Cell::Gru).then(|| bias(tape, "bias_hh"));
        let biased = Matmul { bias: true, ..Matmul::LINEAR };
        let gx = tape.apply_one(biased, &[x, input_weight, input_bias])?;
        let project = Matmul { bias: state_bias.is_some(), ..Matmul::LINEAR };

        let h0 = self.state(tape, "h", pass);
        let c0 = (self.cell == Cell::Lstm).then(|| self.state(tape, "c", pass));
        let (mut h, mut c, mut all) = (h0, c0, Vec::new());
        for first in (0..inputs.rows()).step_by(batch) {
            let mut operands = vec![h, state_weight];
            operands.extend(state_bias);
            let gh = tape.apply_one(project, &operands)?;
            h = match (self.cell, c) {
                (Cell::Gru, _) => tape.apply_one(GruCell { first }, &[gx, gh, h])?,
                (_, Some(before)) => {
                    let next = tape.apply(LstmCell { first }, &[gx, gh, before])?;
                    c = Some(next[1]);
                    next[0]
                }
                (_, None) => tape.apply_one(RnnCell { first }, &[gx, gh])?,
            };
            all.push(h);
        }
        let hidden = tape.apply_one(ConcatRows, &all)?;
        let carried = [(Some(h0), Some(h)), (c0, c)].into_iter().filter_map(|(state, last)| state.zip(last));
        Ok(Unrolled { hidden, carried: carried.collect() })
    }

    fn state(&self, tape: &mut Tape, name: &str, pass: Pass) -> Var {
        // Training carries its state from window to window, and over a pause.
        let (of_pass, kind) = match pass {
            Pass::Train => ("train", State::Saved),
            Pass::Evaluate => ("evaluate", State::Transient),
            Pass::Decode => ("decode", State::Transient),
        };
        let name = tape.scoped_name(&format!("{name}.{of_pass}"));
        tape.state(&name, [self.batch_size, self.n_hidden], Init::Constant(0.0), kind)
    }
}

/// Makes the last states those that the next window begins with. To be recorded after the backward pass, which
/// reads what the window began with.
pub fn carry(tape: &mut Tape, carried: &[(Var, Var)]) -> Result<(), OpError> {
    for &(state, last) in carried {
        tape.apply_one(PutRows { first: 0 }, &[last, state])?;
    }
    Ok(())
}
