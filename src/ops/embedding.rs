//! embedding: `y = table[token] + positions[position]`, and the scatter of gradients back into the table.

use crate::ops::column_sum::ColumnSum;
use crate::ops::prelude::*;
use crate::ops::zeros::Zeros;

pub static EMBEDDING: OpInfo =
    OpInfo { name: "embedding", formula: "y_bt = table[token_bt] + positions[t]", cases };
pub static EMBEDDING_BACKWARD: OpInfo = OpInfo {
    name: "embedding_backward",
    formula: "dtable[v] ← dtable[v] + Σ_{token_bt = v} dy_bt",
    cases: backward_cases,
};

/// (tokens (B, T), table (V, C), [positions (T_max, C)]) → (B, T, C). When decoding, positions start at the
/// step's position.
#[derive(Debug)]
pub struct Embedding;

/// (tokens (B, T), dy (B, T, C), dtable (V, C)) → dtable, in place; rows of a token are added in their order.
#[derive(Debug)]
pub struct EmbeddingBackward;

fn expect_tokens(tokens: Spec) -> Result<(), OpError> {
    let dims = tokens.shape.dims();
    if dims.len() == 2 && tokens.dtype == Dtype::U32 {
        return Ok(());
    }
    Err(OpError::new(format!("operand `tokens` is {tokens}, but must be indices (batch, time)")))
}

impl Op for Embedding {
    fn info(&self) -> &'static OpInfo {
        &EMBEDDING
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 2, 3)?;
        expect_tokens(inputs[0])?;
        let (dims, width) = (inputs[0].shape.dims(), inputs[1].shape.width());
        if let Some(positions) = inputs.get(2)
            && (positions.shape.width() != width || positions.shape.rows() < dims[1])
        {
            return Err(OpError::new(format!(
                "operand `positions` is {positions}, but {} positions of width {width} are needed",
                dims[1]
            )));
        }
        Ok(vec![Spec::f32([dims[0], dims[1], width])])
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let (tokens, table) = (operands.in_shape(0), operands.in_shape(1));
        let has_positions = operands.inputs.len() > 2;
        let width = table.width();
        let part = |(first, rows): (usize, usize)| {
            // Without positions, the table is bound to their variable and not read.
            let positions = match operands.inputs.get(2) {
                Some(positions) => (In(2), 0, positions.shape.len()),
                None => (In(1), first * width, rows * width),
            };
            Dispatch::new(shader!("embedding/forward", "step"))
                .constant("POSITIONS", has_positions.into())
                .bind("tokens", In(0))
                .bind_part("table", In(1), first * width, rows * width)
                .bind_part("positions", positions.0, positions.1, positions.2)
                .bind("y", Out(0))
                .param("first", first)
                .param("rows", rows)
                .param("tokens_len", tokens.len())
                .param("time", tokens.width())
                .param("width", width)
                .groups(tokens.len(), target)
        };
        Kernel::plain(target.row_chunks(table.rows(), width).into_iter().map(part).collect())
    }

    fn vjp(&self, tape: &mut dyn Record, at: &Applied) -> Result<Vec<Option<Var>>, OpError> {
        let dy = at.upstream(0)?;
        let mut gradients = vec![None; at.inputs.len()];
        if at.wanted[1] {
            let dtable = match at.so_far[1] {
                Some(so_far) => so_far,
                None => {
                    let zeros = Zeros(tape.spec(at.inputs[1]).shape);
                    record_one(tape, zeros, &[])?
                }
            };
            gradients[1] = Some(record_one(tape, EmbeddingBackward, &[at.inputs[0], dy, dtable])?);
        }
        if at.wanted.get(2) == Some(&true) {
            let (time, positions) = (tape.spec(at.inputs[0]).shape.width(), tape.spec(at.inputs[2]).shape);
            // Shorter sequences leave the gradient of later positions as it is.
            let used = time * positions.width();
            gradients[2] = Some(ColumnSum::record(tape, dy, used, positions, at.so_far[2])?);
        }
        Ok(gradients)
    }

    fn cost(&self, operands: &Operands) -> Cost {
        // Of the tables only the rows looked up are read, each at least once.
        let out = operands.out_shape(0).len() as u64;
        let tables: u64 = operands.inputs[1..].iter().map(|table| out.min(table.shape.len() as u64)).sum();
        Cost { flops: out, bytes: 4 * (out + tables + operands.in_shape(0).len() as u64) }
    }
}

impl Twin for Embedding {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (tokens, table, start) = (io.indices(0), io.input(1), io.step().position as usize);
        let positions = (io.n_inputs() > 2).then(|| io.input(2));
        let (time, width) = (io.in_shape(0).width(), io.in_shape(1).width());
        let [y] = io.outputs();
        for (i, (y, &token)) in y.chunks_exact_mut(width).zip(tokens).enumerate() {
            y.copy_from_slice(&table[token as usize * width..][..width]);
            if let Some(positions) = positions {
                let position = &positions[(start + i % time) * width..][..width];
                y.iter_mut().zip(position).for_each(|(y, &p)| *y += p);
            }
        }
    }
}

impl Op for EmbeddingBackward {
    fn info(&self) -> &'static OpInfo {
        &EMBEDDING_BACKWARD
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        expect_operands(inputs, 3, 3)?;
        expect_tokens(inputs[0])?;
        let dims = inputs[0].shape.dims();
        expect("dy", inputs[1], Spec::f32([dims[0], dims[1], inputs[2].shape.width()]))?;
        Ok(vec![inputs[2]])
    }

    fn in_place(&self) -> Vec<(usize, usize)> {
        vec![(0, 2)]
    }

    fn kernels(&self, operands: &Operands, target: &Target) -> Vec<Kernel> {
        let (tokens, table) = (operands.in_shape(0), operands.in_shape(2));
        let width = table.width();
        let part = |(first, rows): (usize, usize)| {
            Dispatch::new(shader!("embedding/backward"))
                .bind("tokens", In(0))
                .bind("firsts", Scratch)
                .bind("dy", In(1))
                .bind_part("dtable", Out(0), first * width, rows * width)
                .param("first", first)
                .param("rows", rows)
                .param("tokens_len", tokens.len())
                .param("width", width)
                .groups(tokens.len(), target)
        };
        // A pass of its own: whether a workgroup reaches a barrier must not hang on what another barrier brought.
        let firsts = Dispatch::new(shader!("embedding/firsts", "reduce"))
            .bind("tokens", In(0))
            .bind("first", Scratch)
            .param("tokens_len", tokens.len())
            .groups(tokens.len(), target);
        let parts = target.row_chunks(table.rows(), width).into_iter().map(part);
        let dispatches = std::iter::once(firsts).chain(parts).collect();
        vec![Kernel { scratch: tokens.len(), ..Kernel::new("plain", dispatches) }]
    }

    fn cost(&self, operands: &Operands) -> Cost {
        // Of the gradient only the rows of the tokens are read and written.
        let (dy, table) = (operands.in_shape(1).len() as u64, operands.in_shape(2).len() as u64);
        Cost { flops: dy, bytes: 4 * (dy + 2 * dy.min(table) + operands.in_shape(0).len() as u64) }
    }
}

impl Twin for EmbeddingBackward {
    fn twin<F: Real>(&self, io: &mut Io<F>) {
        let (tokens, dy, width) = (io.indices(0), io.input(1), io.in_shape(2).width());
        let [dtable] = io.outputs();
        for (dy, &token) in dy.chunks_exact(width).zip(tokens) {
            let row = &mut dtable[token as usize * width..][..width];
            row.iter_mut().zip(dy).for_each(|(to, &dy)| *to += dy);
        }
    }
}

/// (batch, time, vocabulary, width): single elements, primes, and more tokens, and channels, than a workgroup.
///
/// The last ones have a table that small bindings split, and tokens on either side of the split.
const SIZES: [[usize; 4]; 12] = [
    [1, 1, 1, 1],
    [3, 7, 17, 12],
    [2, 5, 65, 129],
    [1, 67, 3, 5],
    [9, 67, 5, 300],
    [5, 31, 50, 64],
    [1, 15, 18, 16],
    [3, 5, 17, 16],
    [1, 16, 33, 16],
    [1, 64, 66, 4],
    [1, 32, 65, 8],
    [1, 128, 131, 2],
];

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for [batch, time, vocabulary, width] in SIZES {
        // A table of positions has as many as the sequence, or more.
        for positions in [None, Some(time), Some(2 * time + 1)] {
            let mut operands = vec![Spec::u32([batch, time]), Spec::f32([vocabulary, width])];
            operands.extend(positions.map(|positions| Spec::f32([positions, width])));
            let case = Case::new(Embedding, &operands, Bound::ROUNDED);
            cases.push(case.with(0, Fill::Index(vocabulary as u32)));
        }
    }
    cases
}

/// A row sums at most all tokens and what was there.
fn backward_cases() -> Vec<Case> {
    SIZES
        .map(|[batch, time, vocabulary, width]| {
            let operands =
                [Spec::u32([batch, time]), Spec::f32([batch, time, width]), Spec::f32([vocabulary, width])];
            Case::new(EmbeddingBackward, &operands, Bound::sum(batch * time + 1, 1.0))
                .with(0, Fill::Index(vocabulary as u32))
        })
        .into()
}
