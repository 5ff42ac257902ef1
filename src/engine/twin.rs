//! How a CPU twin sees its operands.

use super::real::Real;
use super::step::Step;
use super::tensor::{Dtype, Shape, Spec};

/// The elements of one tensor on the CPU.
#[derive(Clone, Debug, PartialEq)]
pub enum Elements<F> {
    Real(Vec<F>),
    Index(Vec<u32>),
}

impl<F: Real> Elements<F> {
    /// Zeros.
    pub fn zeros(spec: Spec) -> Self {
        match spec.dtype {
            Dtype::F32 => Self::Real(vec![F::ZERO; spec.shape.len()]),
            Dtype::U32 => Self::Index(vec![0; spec.shape.len()]),
        }
    }

    /// The elements of a tensor that may share its memory, as the host reads them.
    pub fn narrowed(&self, spec: Spec) -> Vec<f32> {
        match self {
            Self::Real(x) => x[..spec.shape.len()].iter().map(|x| x.f64() as f32).collect(),
            Self::Index(x) => x.iter().map(|&i| i as f32).collect(),
        }
    }

    /// Its elements as numbers; of indices, those below 2²⁴ are exact in f32.
    pub fn into_numbers(self) -> Vec<F> {
        match self {
            Self::Real(x) => x,
            Self::Index(x) => x.into_iter().map(|i| F::of(i.into())).collect(),
        }
    }
}

impl<F> Default for Elements<F> {
    fn default() -> Self {
        Self::Real(Vec::new())
    }
}

/// The operands of one application of an op.
///
/// An input that an output overwrites is given as that output alone, holding the input's values.
pub struct Io<'a, F> {
    pub(crate) inputs: &'a [&'a Elements<F>],
    pub(crate) outputs: &'a mut [Elements<F>],
    pub(crate) in_specs: &'a [Spec],
    pub(crate) out_specs: &'a [Spec],
    pub(crate) step: &'a Step,
}

impl<'a, F: Real> Io<'a, F> {
    /// The elements of input `i`.
    ///
    /// # Panics
    /// When the contract declared it as indices: a mistake in the op, not in its use.
    pub fn input(&self, i: usize) -> &'a [F] {
        match &self.inputs[i] {
            Elements::Real(x) => &x[..self.in_specs[i].shape.len()],
            Elements::Index(_) => panic!("input {i} holds indices, not numbers"),
        }
    }

    /// The indices of input `i`.
    ///
    /// # Panics
    /// When the contract declared it as numbers.
    pub fn indices(&self, i: usize) -> &'a [u32] {
        match &self.inputs[i] {
            Elements::Index(x) => x,
            Elements::Real(_) => panic!("input {i} holds numbers, not indices"),
        }
    }

    /// All outputs at once: `let [y, mean, rstd] = io.outputs();`
    ///
    /// # Panics
    /// When the op has another number of outputs.
    pub fn outputs<const N: usize>(&mut self) -> [&mut [F]; N] {
        let mut all = self.each_output();
        let taken = std::array::from_fn(|i| all.next().unwrap_or_else(|| panic!("there is no output {i}")));
        assert!(all.next().is_none(), "there are more outputs than {N}");
        taken
    }

    /// The outputs of an op that has as many as its settings say.
    pub fn each_output(&mut self) -> impl Iterator<Item = &mut [F]> {
        self.outputs.iter_mut().zip(self.out_specs).map(|(out, spec)| match out {
            Elements::Real(x) => &mut x[..spec.shape.len()],
            Elements::Index(_) => panic!("an output holds indices, not numbers"),
        })
    }

    /// All outputs at once, of an op whose outputs are indices.
    ///
    /// # Panics
    /// When the op has another number of outputs, or one of numbers.
    pub fn index_outputs<const N: usize>(&mut self) -> [&mut [u32]; N] {
        let mut all = self.outputs.iter_mut();
        std::array::from_fn(|i| match all.next() {
            Some(Elements::Index(x)) => x.as_mut_slice(),
            Some(Elements::Real(_)) => panic!("output {i} holds numbers, not indices"),
            None => panic!("there is no output {i}"),
        })
    }

    /// How many inputs were given; optional ones come last.
    pub fn n_inputs(&self) -> usize {
        self.in_specs.len()
    }

    pub fn in_shape(&self, i: usize) -> Shape {
        self.in_specs[i].shape
    }

    pub fn out_shape(&self, i: usize) -> Shape {
        self.out_specs[i].shape
    }

    pub fn step(&self) -> &'a Step {
        self.step
    }
}
