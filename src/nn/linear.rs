//! The linear layer y = x Wᵀ + b, with or without a low-rank adapter.

use crate::engine::matrix::{Mat, MatMut, product};
use crate::engine::op::{OpError, Record, Var};
use crate::engine::tape::{Init, Parameter, Tape};
use crate::ops::combine::Combine;
use crate::ops::matmul::Matmul;

/// What the linear layers of a model have in common.
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    pub bias: bool,
    /// Standard deviation of the first weights.
    pub std: f32,
    /// Of the adapter's two factors; 0 for none.
    pub lora_rank: usize,
}

/// What LoRA's product is multiplied by, α / r: twice, as its authors' α = 2 r.
pub const LORA_SCALE: f32 = 2.0;

/// The weight (n_out, n_in) of a layer whose adapter is merged into it: W + 2 B A.
pub fn merged(mut weight: Vec<f32>, a: &[f32], b: &[f32], rank: usize) -> Vec<f32> {
    let (n_in, n_out) = (a.len() / rank, b.len() / rank);
    let mut sum = MatMut::new(&mut weight, n_out, n_in);
    product(&mut sum, true, LORA_SCALE, Mat::new(b, n_out, rank), Mat::new(a, rank, n_in));
    weight
}

impl Linear {
    /// The same with first weights of another standard deviation.
    pub fn with_std(self, std: f32) -> Self {
        Self { std, ..self }
    }

    /// x (…, n_in) → (…, n_out). Declares `weight` (n_out, n_in), normal, and `bias` (n_out), zero.
    ///
    /// With an adapter these are frozen, and y gains 2 (x Aᵀ) Bᵀ (LoRA, Hu et al. 2021) of `lora_a` (rank,
    /// n_in), normal, and `lora_b` (n_out, rank), zero: at first the adapter changes nothing.
    pub fn record(self, tape: &mut Tape, x: Var, n_out: usize) -> Result<Var, OpError> {
        let n_in = tape.spec(x).shape.width();
        let weight = tape.parameter("weight", [n_out, n_in], Init::Normal(self.std), Parameter::Hidden);
        let mut operands = vec![x, weight];
        if self.bias {
            operands.push(tape.parameter("bias", [n_out], Init::Constant(0.0), Parameter::Outer));
        }
        let y = tape.apply_one(Matmul { bias: self.bias, ..Matmul::LINEAR }, &operands)?;
        if self.lora_rank == 0 {
            return Ok(y);
        }
        let (rank, std) = (self.lora_rank, 1.0 / (n_in as f32).sqrt());
        let a = tape.parameter("lora_a", [rank, n_in], Init::Normal(std), Parameter::Adapter);
        let b = tape.parameter("lora_b", [n_out, rank], Init::Constant(0.0), Parameter::Adapter);
        let low = tape.apply_one(Matmul::LINEAR, &[x, a])?;
        let delta = tape.apply_one(Matmul::LINEAR, &[low, b])?;
        tape.apply_one(Combine { a: 1.0, b: Some(LORA_SCALE), in_place: true }, &[y, delta])
    }
}
