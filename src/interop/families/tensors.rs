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
    /// One of two halves, by rows, of one tensor.
    Half(usize),
    /// As what is added to 1.
    AddedToOne,
    /// Queries, keys and values of each head one after the other.
    ByHead,
}

/// The heads of a model's attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    pub n_head: usize,
    pub n_kv_head: usize,
    pub head_size: usize,
}

impl Heads {
    pub fn of(config: &ModelConfig) -> Self {
        Self { n_head: config.n_head, n_kv_head: config.n_kv_head, head_size: config.head_size() }
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

impl Tensor {
    pub const fn new(ours: &'static str, theirs: &'static [&'static str], how: How) -> Self {
        Self { ours, theirs, how }
    }

    /// The same numbers under another name.
    pub const fn same(ours: &'static str, theirs: &'static [&'static str; 1]) -> Self {
        Self { ours, theirs, how: How::Same }
    }

    /// The number of the layer that a parameter of this row belongs to, 0 for one of no layer; `None` for one of another
    /// row.
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
            How::Joined => heads.parts().map(with_rows).to_vec(),
            How::Half(_) => vec![with_rows(2 * shape.dims()[0])],
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
            Self::Same => stored.swap_remove(0),
            Self::Half(half) => {
                let whole = &stored[0];
                whole[half * whole.len() / 2..][..whole.len() / 2].to_vec()
            }
            Self::AddedToOne => stored[0].iter().map(|x| 1.0 + x).collect(),
            Self::ByHead => by_part(heads.n_head, &stored[0]),
        }
    }

    /// The elements of stored tensor `part` of a parameter; of a half, those of that half.
    pub fn split(self, heads: Heads, elements: Vec<f32>, part: usize) -> Vec<f32> {
        match self {
            Self::Joined => {
                let parts = heads.parts();
                let row = elements.len() / parts.iter().sum::<usize>();
                let before: usize = parts[..part].iter().sum();
                elements[before * row..][..parts[part] * row].to_vec()
            }
            Self::Same | Self::Half(_) => elements,
            Self::AddedToOne => elements.iter().map(|x| x - 1.0).collect(),
            Self::ByHead => by_head(heads.n_head, &elements),
        }
    }
}

/// (n_head, 3, head) rows as (3, n_head, head).
fn by_part(n_head: usize, elements: &[f32]) -> Vec<f32> {
    let rows = elements.len() / (3 * n_head);
    let at = |part: usize, head: usize| &elements[(head * 3 + part) * rows..][..rows];
    (0..3).flat_map(|part| (0..n_head).flat_map(move |head| at(part, head).iter().copied())).collect()
}

/// (3, n_head, head) rows as (n_head, 3, head).
fn by_head(n_head: usize, elements: &[f32]) -> Vec<f32> {
    let rows = elements.len() / (3 * n_head);
    let at = |part: usize, head: usize| &elements[(part * n_head + head) * rows..][..rows];
    (0..n_head).flat_map(|head| (0..3).flat_map(move |part| at(part, head).iter().copied())).collect()
}
