//! Products of small matrices by matrix units, which subgroups compute together.

use super::probe::Probe;
use crate::engine::device::gpu::adapter::MatrixShape;
use crate::ops::prelude::*;

pub static MATRIX: OpInfo = OpInfo { name: "matrix", formula: "c ← a b + c, over and over", cases };

/// A kind of product that WGSL has words for: square, of halves or floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    /// 8 or 16.
    pub size: usize,
    pub half_operands: bool,
    pub half_result: bool,
}

/// a and b in x (2 size²), row by row → 4 ROUNDS a b of each workgroup (groups, size²).
#[derive(Debug)]
pub struct Matrix {
    pub tile: Tile,
    pub groups: usize,
    /// How many subgroups a workgroup has, each of which does all of the work: the kernel multiplies its result with
    /// it. `None` where that is not asked.
    pub subgroups: Option<usize>,
}

/// Products that add up to one result.
const ROUNDS: usize = 128;
/// Results that a subgroup has under way.
const RESULTS: usize = 4;

/// The types of a shader of matrix units; the text itself speaks of Left, Right, Sum, Operand and Result.
macro_rules! types {
    ($size:literal, $operand:literal, $result:literal) => {
        concat!(
            "enable f16;\nenable wgpu_cooperative_matrix;\n",
            concat!("alias Operand = ", $operand, ";\nalias Result = ", $result, ";\n"),
            concat!("alias Left = coop_mat", $size, "x", $size, "<", $operand, ", A>;\n"),
            concat!("alias Right = coop_mat", $size, "x", $size, "<", $operand, ", B>;\n"),
            concat!("alias Sum = coop_mat", $size, "x", $size, "<", $result, ", C>;\n"),
            concat!("const SIZE: u32 = ", $size, "u;\n"),
        )
    };
}

impl Tile {
    pub const ALL: [Self; 6] = [
        Self { size: 8, half_operands: true, half_result: true },
        Self { size: 8, half_operands: true, half_result: false },
        Self { size: 8, half_operands: false, half_result: false },
        Self { size: 16, half_operands: true, half_result: true },
        Self { size: 16, half_operands: true, half_result: false },
        Self { size: 16, half_operands: false, half_result: false },
    ];

    /// The tile of an adapter's shape, if WGSL has words for it.
    pub fn of(shape: &MatrixShape) -> Option<Self> {
        let float = |half| if half { "f16" } else { "f32" };
        let is = |tile: &Self| {
            [shape.m, shape.n, shape.k] == [tile.size as u32; 3]
                && shape.operand == float(tile.half_operands)
                && shape.result == float(tile.half_result)
        };
        Self::ALL.into_iter().find(is)
    }

    fn types(self) -> &'static [&'static str] {
        match (self.size, self.half_operands, self.half_result) {
            (8, true, true) => &[types!("8", "f16", "f16")],
            (8, true, false) => &[types!("8", "f16", "f32")],
            (8, ..) => &[types!("8", "f32", "f32")],
            (_, true, true) => &[types!("16", "f16", "f16")],
            (_, true, false) => &[types!("16", "f16", "f32")],
            (..) => &[types!("16", "f32", "f32")],
        }
    }

    /// A shader's name is its key where it is compiled.
    fn name(self) -> &'static str {
        match (self.size, self.half_operands, self.half_result) {
            (8, true, true) => "probes/matrix_8_f16_f16",
            (8, true, false) => "probes/matrix_8_f16_f32",
            (8, ..) => "probes/matrix_8_f32_f32",
            (_, true, true) => "probes/matrix_16_f16_f16",
            (_, true, false) => "probes/matrix_16_f16_f32",
            (..) => "probes/matrix_16_f32_f32",
        }
    }
}

impl Op for Matrix {
    fn info(&self) -> &'static OpInfo {
        &MATRIX
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 1, 1)?;
        let elements = self.tile.size.pow(2);
        expect_vector("x", inputs[0], 2 * elements)?;
        Ok(vec![Spec::f32([self.groups, elements])])
    }

    fn kernels(&self, _operands: &Operands, target: &Target) -> Vec<Kernel> {
        let extensions = target.extensions;
        if !(extensions.matrices && extensions.subgroups && extensions.f16) {
            return Vec::new();
        }
        let text = shader!("probes/matrix");
        let dispatch = Dispatch::new(Shader { name: self.tile.name(), common: self.tile.types(), ..text });
        let dispatch = dispatch.constant("COUNTED", self.subgroups.is_some().into());
        let dispatch = dispatch.bind("x", In(0)).bind("y", Out(0));
        Kernel::plain(vec![dispatch.grid(self.groups, 1, 1)])
    }

    fn cost(&self, operands: &Operands) -> Cost {
        Cost { flops: 2 * self.work() as u64, bytes: operands.bytes() }
    }
}

impl Probe for Matrix {
    fn inputs(&self) -> Vec<Spec> {
        vec![Spec::f32([2 * self.tile.size.pow(2)])]
    }

    /// Multiply-adds of all subgroups.
    fn work(&self) -> f64 {
        (self.subgroups.unwrap_or(1) * self.groups * RESULTS * ROUNDS * self.tile.size.pow(3)) as f64
    }

    /// Each product of ones adds `size`.
    fn expected(&self) -> f32 {
        (self.subgroups.unwrap_or(1) * RESULTS * ROUNDS * self.tile.size) as f32
    }
}

impl Twin for Matrix {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let x = io.input(0);
        let [y] = io.outputs();
        let size = self.tile.size;
        let (a, b) = x.split_at(size * size);
        let times = F::of((self.subgroups.unwrap_or(1) * RESULTS * ROUNDS) as f64);
        for (i, y) in y.iter_mut().enumerate() {
            let (row, column) = (i % (size * size) / size, i % size);
            *y = times * (0..size).map(|k| a[row * size + k] * b[k * size + column]).sum();
        }
    }
}

fn cases() -> Vec<Case> {
    let case = |tile: Tile| {
        let op = Matrix { tile, groups: 2, subgroups: None };
        let inputs = op.inputs();
        Case::new(op, &inputs, Bound::EXACT).with(0, Fill::Constant(1.0))
    };
    Tile::ALL.map(case).into()
}
