//! Comparisons: how much more there is of the better than of the worse, as a matrix over the rows of a batch.

use super::BatchShape;
use crate::engine::op::{OpError, Var};
use crate::engine::tape::Tape;
use crate::engine::tensor::Spec;
use crate::ops::matmul::Matmul;
use crate::ops::reshape::Reshape;

/// A pair is a row of a matrix: what each token of the batch counts for in the difference. Log-probabilities of two
/// answers are told apart by ∓1 at their tokens, rewards by ±1 at their ends.
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
    /// Declares inputs `pairs` and `weights`.
    pub fn declare(tape: &mut Tape, shape: BatchShape) -> Self {
        let BatchShape { sequences, predictions } = shape;
        let count = sequences / 2;
        let matrix = tape.input("pairs", Spec::f32([count, predictions]));
        Self { count, predictions, matrix, weights: tape.input("weights", Spec::f32([count])) }
    }

    /// The same pairs by another matrix, an input called `name`.
    pub fn by(self, tape: &mut Tape, name: &'static str) -> Self {
        Self { matrix: tape.input(name, Spec::f32([self.count, self.predictions])), ..self }
    }

    /// Of differences (count) their weighted sum, (1).
    ///
    /// # Errors
    /// When there are not as many differences.
    pub fn weigh(&self, tape: &mut Tape, differences: Var) -> Result<Var, OpError> {
        let row = tape.apply_one(Reshape([1, self.count].into()), &[self.weights])?;
        let column = tape.apply_one(Reshape([self.count, 1].into()), &[differences])?;
        let sum = tape.apply_one(Matmul::default(), &[row, column])?;
        tape.apply_one(Reshape([1].into()), &[sum])
    }

    /// Of numbers (predictions) each pair's difference, (count).
    ///
    /// # Errors
    /// When there are not as many numbers.
    pub fn compare(&self, tape: &mut Tape, numbers: Var) -> Result<Var, OpError> {
        let column = tape.apply_one(Reshape([self.predictions, 1].into()), &[numbers])?;
        let differences = tape.apply_one(Matmul::default(), &[self.matrix, column])?;
        tape.apply_one(Reshape([self.count].into()), &[differences])
    }

    /// The gradient of the numbers, (predictions), from that of the differences, (count).
    ///
    /// # Errors
    /// When there are not as many differences.
    pub fn spread(&self, tape: &mut Tape, ddifferences: Var) -> Result<Var, OpError> {
        let column = tape.apply_one(Reshape([self.count, 1].into()), &[ddifferences])?;
        let transposed = Matmul { transpose_a: true, ..Matmul::default() };
        let dnumbers = tape.apply_one(transposed, &[self.matrix, column])?;
        tape.apply_one(Reshape([self.predictions].into()), &[dnumbers])
    }
}
