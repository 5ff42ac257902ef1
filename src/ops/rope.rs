//! rope: rotary position embedding (Su et al. 2021). Queries and keys are turned by angles that grow with their
//! positions, so that their products depend on the distance alone.

use crate::ops::prelude::*;

pub static ROPE: OpInfo = OpInfo {
    name: "rope",
    formula: "y_i = x_i cos θ - x_j sin θ, y_j = x_j cos θ + x_i sin θ, j = i + R/2, θ = position · base^(-2i/R)",
    cases,
};

/// (x (B, T, H·D), table (T_max, R)) → y, as x, with the first R ≤ D channels of its first `n_rotated` heads turned and
/// all else copied.
///
/// Token t has the step's `position` + t, which is a row of the table: R/2 cosines, then as many sines
/// ([`Init::Rotary`](crate::engine::tape::Init::Rotary)). They come as an operand because WGSL promises little of
/// cos and sin, and nothing outside ±π. Channels i and i + R/2 make a pair, as in Llama's checkpoints.
#[derive(Clone, Copy, Debug)]
pub struct Rope {
    pub n_rotated: usize,
    /// D, the channels of a head.
    pub width: usize,
    /// Turns back: the derivative.
    pub inverse: bool,
}

impl Op for Rope {
    fn info(&self) -> &'static OpInfo {
        &ROPE
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 2, 2)?;
        let (x, table) = (inputs[0], inputs[1]);
        let (time, width) = (x.shape.dims().get(1).copied().unwrap_or(0), self.width);
        let turned = table.shape.width();
        let fits = turned.is_multiple_of(2) && turned <= width && table.shape.rows() >= time;
        if table.dtype != Dtype::F32 || !fits {
            return Err(OpError::new(format!(
                "operand `table` is {table}, but {time} positions of an even width up to {width} are needed"
            )));
        }
        let heads = x.shape.width() / width;
        if x.shape.dims().len() != 3 || x != Spec::f32([x.shape.dims()[0], time, heads * width]) {
            return Err(OpError::new(format!("operand `x` is {x}, not (B, T, H·{width})")));
        }
        if self.n_rotated > heads {
            return Err(OpError::new(format!("there are no {} heads in {x}", self.n_rotated)));
        }
        Ok(vec![x])
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let (x, table) = (operands.in_shape(0), operands.in_shape(1));
        let row = x.width();
        let part = |(first, rows): (usize, usize)| {
            Dispatch::new(shader!("rope", "step"))
                .constant("INVERSE", self.inverse.into())
                .bind_part("x", In(0), first * row, rows * row)
                .bind("table", In(1))
                .bind_part("y", Out(0), first * row, rows * row)
                .param("first", first)
                .param("time", x.dims()[1])
                .param("row", row)
                .param("width", self.width)
                .param("turned", table.width())
                .param("n_rotated", self.n_rotated)
                .elements(rows * row, target)
        };
        Kernel::plain(target.row_chunks(x.rows(), row).into_iter().map(part).collect())
    }

    fn vjp(&self, tape: &mut dyn Record, at: &Applied) -> Result<Vec<Option<Var>>, OpError> {
        if at.wanted[1] {
            return Err(OpError::new("its table of angles is not trained"));
        }
        let back = Self { inverse: !self.inverse, ..*self };
        Ok(vec![Some(record_one(tape, back, &[at.upstream(0)?, at.inputs[1]])?), None])
    }

    fn cost(&self, operands: &Operands) -> Cost {
        let (x, table) = (operands.inputs[0], operands.in_shape(1));
        let rotated = x.shape.rows() * self.n_rotated * table.width();
        // Of the table only the positions in use are read.
        let angles = 4 * (x.shape.dims()[1] * table.width()) as u64;
        Cost { flops: 3 * rotated as u64, bytes: 2 * x.bytes() + angles }
    }
}

impl Twin for Rope {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (x, table, start) = (io.input(0), io.input(1), io.step().position as usize);
        let (time, width, turned) = (io.in_shape(0).dims()[1], self.width, io.in_shape(1).width());
        let (heads, half) = (io.in_shape(0).width() / width, turned / 2);
        let sign = F::of(if self.inverse { -1.0 } else { 1.0 });
        let [y] = io.outputs();
        for_rows([(y, width)], width, |row, [y]| {
            let x = &x[row * width..][..width];
            if row % heads >= self.n_rotated {
                return y.copy_from_slice(x);
            }
            let (cos, sin) = table[(start + row / heads % time) * turned..][..turned].split_at(half);
            y[turned..].copy_from_slice(&x[turned..]);
            let ((x, x_far), (y, y_far)) = (x.split_at(half), y.split_at_mut(half));
            for i in 0..half {
                let sin = sign * sin[i];
                y[i] = x[i] * cos[i] - x_far[i] * sin;
                y_far[i] = x_far[i] * cos[i] + x[i] * sin;
            }
        });
    }
}

/// (B, T, H, D), (heads, channels) that are turned, position, T_max: pairs that are neighbours and that are not, none
/// and all of the heads, a part of their channels, and rows that small bindings can split.
const SHAPES: [([usize; 4], [usize; 2], [usize; 2]); 9] = [
    ([1, 1, 1, 2], [1, 2], [0, 1]),
    ([2, 3, 4, 6], [3, 6], [0, 3]),
    ([1, 1, 3, 10], [2, 10], [12, 17]),
    ([2, 67, 3, 4], [2, 4], [2, 70]),
    ([1, 5, 2, 130], [2, 130], [1, 9]),
    ([9, 7, 5, 4], [3, 4], [3, 11]),
    ([2, 2, 2, 2], [0, 2], [0, 2]),
    ([2, 5, 4, 7], [3, 2], [1, 8]),
    ([1, 3, 3, 40], [2, 10], [0, 3]),
];

/// Two products of at most M, each rounded, and their sum, rounded relative to itself: by up to two units, as WGSL
/// may round either way.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for ([b, t, heads, width], [n_rotated, turned], [position, room]) in SHAPES {
        for (inverse, largest) in [(false, 1.0), (true, 1e2)] {
            let operands = [Spec::f32([b, t, heads * width]), Spec::f32([room, turned])];
            let case = Case::new(
                Rope { n_rotated, width, inverse },
                &operands,
                Bound::new(2.0, 4.0 * f64::from(largest)),
            );
            cases.push(case.with(0, Fill::Uniform(largest)).fixed(1).at_position(position as u32));
        }
    }
    cases
}
