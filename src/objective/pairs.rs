//! Pairs of answers: the difference between the better and the worse, as a matrix over the rows of a batch.

use super::inputs::{Input, Inputs};
use super::loss::BatchShape;
use crate::engine::op::{OpError, Var};
use crate::engine::tape::Tape;
use crate::engine::tensor::Spec;
use crate::ops::matmul::Matmul;
use crate::ops::reshape::Reshape;

/// A pair is a row of a matrix: what each token of the batch counts for in the difference. It is ∓1 at the
/// tokens of the two answers for log-probabilities, ±1 at their ends for rewards.
#[derive(Clone, Copy, Debug)]
pub struct Pairs {
    pub count: usize,
    predictions: usize,
    /// (count, predictions)
    matrix: Var,
    /// Of each pair's loss, (count).
    pub weights: Var,
}

impl Pairs {
    /// The inputs of pairs: their matrix and their weights, and where better answers are demonstrations as well
    /// (`sft`), another matrix and the tokens of answers.
    pub fn inputs(BatchShape { sequences, predictions }: BatchShape, sft: bool) -> Vec<(Input, Spec)> {
        let count = sequences / 2;
        let matrix = Spec::f32([count, predictions]);
        let mut inputs = vec![(Input::Pairs, matrix), (Input::Weights, Spec::f32([count]))];
        if sft {
            inputs.push((Input::Demonstrations, matrix));
        }
        inputs
    }

    pub fn of(tape: &Tape, inputs: &Inputs) -> Result<Self, OpError> {
        let (matrix, weights) = (inputs.get(Input::Pairs)?, inputs.get(Input::Weights)?);
        let shape = tape.shape(matrix);
        Ok(Self { count: shape.rows(), predictions: shape.width(), matrix, weights })
    }

    /// The same pairs by another matrix.
    pub fn by(self, matrix: Var) -> Self {
        Self { matrix, ..self }
    }

    /// Of differences (count) their weighted sum, (1).
    pub fn weigh(&self, tape: &mut Tape, differences: Var) -> Result<Var, OpError> {
        let row = tape.apply_one(Reshape([1, self.count].into()), &[self.weights])?;
        let column = tape.apply_one(Reshape([self.count, 1].into()), &[differences])?;
        let sum = tape.apply_one(Matmul::default(), &[row, column])?;
        tape.apply_one(Reshape([1].into()), &[sum])
    }

    /// Of numbers (predictions) each pair's difference, (count).
    pub fn compare(&self, tape: &mut Tape, numbers: Var) -> Result<Var, OpError> {
        let column = tape.apply_one(Reshape([self.predictions, 1].into()), &[numbers])?;
        let differences = tape.apply_one(Matmul::default(), &[self.matrix, column])?;
        tape.apply_one(Reshape([self.count].into()), &[differences])
    }

    /// The gradient of the numbers, (predictions), from that of the differences, (count).
    pub fn spread(&self, tape: &mut Tape, ddifferences: Var) -> Result<Var, OpError> {
        let column = tape.apply_one(Reshape([self.count, 1].into()), &[ddifferences])?;
        let transposed = Matmul { transpose_a: true, ..Matmul::default() };
        let dnumbers = tape.apply_one(transposed, &[self.matrix, column])?;
        tape.apply_one(Reshape([self.predictions].into()), &[dnumbers])
    }
}
