//! Where a parameter of the tape is stored: under which names, and how its elements lie there.

use crate::engine::tensor::Shape;
use crate::models::config::ModelConfig;

/// How a parameter is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// As on the tape.
    Same,
    /// Queries, keys and values in a tensor each.
    Joined,
    /// The same, with the two rows that rotary embeddings turn together next to each other, in each head of queries and
    /// keys (llama.cpp's `llama`).
    JoinedInPairs,
    /// One of two halves, by rows, of one tensor.
    Half(usize),
    /// As what is added to 1.
    AddedToOne,
    /// Queries, keys and values of each head one after the other.
    ByHead,
    /// In two tensors, the first row of the second added to each of the first (BERT's positions and kinds of tokens).
    WithFirstRow,
}

/// The heads of a model's attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    pub n_head: usize,
    pub n_kv_head: usize,
    pub head_size: usize,
    /// Rows of a second table, of the first with [`How::WithFirstRow`].
    pub token_types: usize,
}

impl Heads {
    pub fn of(config: &ModelConfig) -> Self {
        Self {
            n_head: config.n_head,
            n_kv_head: config.n_kv_head,
            head_size: config.head_size(),
            token_types: config.details.token_types,
        }
    }

    /// Heads of queries and of keys.
    fn turned(self) -> [usize; 2] {
        [self.n_head, self.n_kv_head]
    }

    /// Rows of queries, keys and values.
    fn parts(self) -> [usize; 3] {
        [self.n_head, self.n_kv_head, self.n_kv_head].map(|heads| heads * self.head_size)
    }
}

/// A row of a family's table. `{}` stands for the number of the layer.
#[derive(Debug)]
pub struct Tensor {
    pub ours: &'static str,
    pub theirs: &'static [&'static str],
    pub how: How,
}

/// The row of these tables that a parameter of the tape is stored by, and the number of its layer.
pub fn row(tables: &[&'static [Tensor]], parameter: &str) -> Option<(&'static Tensor, usize)> {
    let mut rows = tables.iter().flat_map(|table| table.iter());
    rows.find_map(|row| Some((row, row.layer_of(parameter)?)))
}

impl Tensor {
    pub const fn new(ours: &'static str, theirs: &'static [&'static str], how: How) -> Self {
        Self { ours, theirs, how }
    }

    /// The same numbers under another name.
    pub const fn same(ours: &'static str, theirs: &'static [&'static str; 1]) -> Self {
        Self { ours, theirs, how: How::Same }
    }

    /// The number of the layer that a parameter of this row belongs to, 0 for one of no layer; `None` for one of
    /// another row.
    pub fn layer_of(&self, parameter: &str) -> Option<usize> {
        match self.ours.split_once("{}") {
            None => (self.ours == parameter).then_some(0),
            Some((before, after)) => parameter.strip_prefix(before)?.strip_suffix(after)?.parse().ok(),
        }
    }

    /// The names and shapes of the stored tensors that hold a parameter of this shape, in order.
    pub fn stored(&self, heads: Heads, shape: Shape, layer: usize) -> Vec<(String, Shape)> {
        let rest = &shape.dims()[1..];
        let with_rows = |rows: usize| Shape::new(&[&[rows], rest].concat());
        let shapes = match self.how {
            How::Joined | How::JoinedInPairs => heads.parts().map(with_rows).to_vec(),
            How::Half(_) => vec![with_rows(2 * shape.dims()[0])],
            How::WithFirstRow => vec![shape, with_rows(heads.token_types)],
            How::Same | How::AddedToOne | How::ByHead => vec![shape],
        };
        let names = self.theirs.iter().map(|name| name.replace("{}", &layer.to_string()));
        names.zip(shapes).collect()
    }
}

impl How {
    /// The elements of a parameter, from those that are [stored](Tensor::stored).
    pub fn join(self, heads: Heads, mut stored: Vec<Vec<f32>>) -> Vec<f32> {
        match self {
            Self::Joined => stored.concat(),
            Self::JoinedInPairs => {
                for (count, rows) in heads.turned().into_iter().zip(&mut stored) {
                    *rows = swapped(count, [heads.head_size / 2, 2], rows);
                }
                stored.concat()
            }
            Self::Same => stored.swap_remove(0),
            Self::Half(half) => {
                let whole = &stored[0];
                whole[half * whole.len() / 2..][..whole.len() / 2].to_vec()
            }
            Self::AddedToOne => stored[0].iter().map(|x| 1.0 + x).collect(),
            Self::WithFirstRow => {
                let row = stored[1].len() / heads.token_types;
                let first = stored[1][..row].iter().cycle();
                stored[0].iter().zip(first).map(|(x, added)| x + added).collect()
            }
            Self::ByHead => swapped(1, [heads.n_head, 3], &stored[0]),
        }
    }

    /// The elements of stored tensor `part` of a parameter; of a half, those of that half.
    pub fn split(self, heads: Heads, elements: Vec<f32>, part: usize) -> Vec<f32> {
        match self {
            Self::JoinedInPairs => {
                let rows = Self::Joined.split(heads, elements, part);
                match heads.turned().get(part) {
                    Some(&count) => swapped(count, [2, heads.head_size / 2], &rows),
                    None => rows,
                }
            }
            Self::Joined => {
                let parts = heads.parts();
                let row = elements.len() / parts.iter().sum::<usize>();
                let before: usize = parts[..part].iter().sum();
                elements[before * row..][..parts[part] * row].to_vec()
            }
            Self::Same | Self::Half(_) => elements,
            Self::AddedToOne => elements.iter().map(|x| x - 1.0).collect(),
            // All of it is in the first tensor; a row is as wide as all heads.
            Self::WithFirstRow if part == 0 => elements,
            Self::WithFirstRow => vec![0.0; heads.token_types * heads.n_head * heads.head_size],
            Self::ByHead => swapped(1, [3, heads.n_head], &elements),
        }
    }
}

/// (count, a, b) rows as (count, b, a).
fn swapped(count: usize, [a, b]: [usize; 2], elements: &[f32]) -> Vec<f32> {
    let rows = elements.len() / (count * a * b);
    let at = |block: usize, i: usize, j: usize| &elements[((block * a + i) * b + j) * rows..][..rows];
    let of_block =
        |block| (0..b).flat_map(move |j| (0..a).flat_map(move |i| at(block, i, j).iter().copied()));
    (0..count).flat_map(of_block).collect()
}
