//! Low-rank adapters (LoRA, Hu et al. 2021): the frozen product x Wᵀ gains α/r (x Aᵀ) Bᵀ.

use super::Pass;
use crate::engine::matrix::{Mat, MatMut, product};
use crate::engine::op::{OpError, Record, Var};
use crate::engine::tape::{Init, Parameter, Tape};
use crate::ops::columns::{ConcatColumns, SplitColumns};
use crate::ops::combine::Combine;
use crate::ops::dropout::Dropout;
use crate::ops::matmul::Matmul;
use crate::ops::zeros::Zeros;

/// What an adapter is added to: a matrix of a Transformer's block, a part of its rows, or two matrices together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// Queries, keys and values together.
    Qkv,
    Query,
    Key,
    Value,
    /// Attention's output.
    Mixed,
    /// A gate and what it multiplies together.
    GateUp,
    Gate,
    /// The first matrix of a feed-forward half, or what its gate multiplies.
    Up,
    /// Its last.
    Down,
}

impl Site {
    pub const ALL: [Self; 9] = [
        Self::Qkv,
        Self::Query,
        Self::Key,
        Self::Value,
        Self::Mixed,
        Self::GateUp,
        Self::Gate,
        Self::Up,
        Self::Down,
    ];

    /// Where its adapter is in a block of the tape.
    pub fn scope(self) -> &'static str {
        match self {
            Self::Qkv => "attn.c_attn",
            Self::Query => "attn.c_attn.q",
            Self::Key => "attn.c_attn.k",
            Self::Value => "attn.c_attn.v",
            Self::Mixed => "attn.c_proj",
            Self::GateUp => "mlp.gate_up",
            Self::Gate => "mlp.c_gate",
            Self::Up => "mlp.c_fc",
            Self::Down => "mlp.c_proj",
        }
    }

    /// The last part of its scope.
    fn name(self) -> &'static str {
        self.scope().rsplit('.').next().expect("a split text has a part")
    }
}

/// Which sites have adapters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sites(u16);

impl Sites {
    /// One for each matrix.
    pub const MATRICES: Self = Self(
        1 << Site::Qkv as u16
            | 1 << Site::Mixed as u16
            | 1 << Site::Gate as u16
            | 1 << Site::Up as u16
            | 1 << Site::Down as u16,
    );

    pub fn has(self, site: Site) -> bool {
        self.0 >> site as u16 & 1 == 1
    }
}

impl FromIterator<Site> for Sites {
    fn from_iter<T: IntoIterator<Item = Site>>(sites: T) -> Self {
        Self(sites.into_iter().fold(0, |all, site| all | 1 << site as u16))
    }
}

/// The adapters of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Lora {
    /// Rows of A and columns of B; 0 for no adapters.
    pub rank: usize,
    /// What the product is multiplied by: α / r.
    pub scale: f32,
    /// The share of an adapter's inputs zeroed in training.
    pub dropout: f32,
    pub sites: Sites,
}

impl Lora {
    /// One for each matrix, with α = 2 r.
    pub fn of_rank(rank: usize) -> Self {
        Self { rank, scale: 2.0, dropout: 0.0, sites: Sites::MATRICES }
    }

    pub fn is_on(self) -> bool {
        self.rank > 0
    }

    pub fn has(self, site: Site) -> bool {
        self.is_on() && self.sites.has(site)
    }

    /// The same as it is in a pass.
    pub fn during(self, pass: Pass) -> Self {
        Self { dropout: if pass == Pass::Train { self.dropout } else { 0.0 }, ..self }
    }

    /// y (…, n_out), with the adapter of a site that reads x (…, n_in) added in place; y where it has none.
    pub fn add(self, tape: &mut Tape, site: Site, x: Var, y: Var) -> Result<Var, OpError> {
        if !self.has(site) {
            return Ok(y);
        }
        let n_out = tape.spec(y).shape.width();
        let product = self.product(tape, x, n_out)?;
        self.sum(tape, y, product)
    }

    /// The same of sites that are parts of y's columns, each with its width.
    pub fn add_parts<const N: usize>(
        self,
        tape: &mut Tape,
        parts: [(Site, usize); N],
        x: Var,
        y: Var,
    ) -> Result<Var, OpError> {
        if !parts.iter().any(|&(site, _)| self.has(site)) {
            return Ok(y);
        }
        let shape = tape.spec(y).shape;
        let mut products = Vec::with_capacity(N);
        for (site, width) in parts {
            products.push(match self.has(site) {
                true => tape.scoped(site.name(), |t| self.product(t, x, width))?,
                false => tape.apply_one(Zeros(shape.with_width(width)), &[])?,
            });
        }
        let product = tape.apply_one(ConcatColumns, &products)?;
        self.sum(tape, y, product)
    }

    /// The same of a site that is several ys of one x side by side.
    pub fn add_split<const N: usize>(
        self,
        tape: &mut Tape,
        site: Site,
        x: Var,
        mut ys: [Var; N],
    ) -> Result<[Var; N], OpError> {
        if !self.has(site) {
            return Ok(ys);
        }
        let widths: Vec<_> = ys.iter().map(|&y| tape.spec(y).shape.width()).collect();
        let product = tape.scoped(site.name(), |t| self.product(t, x, widths.iter().sum()))?;
        let parts = tape.apply(SplitColumns { widths }, &[product])?;
        for (y, part) in ys.iter_mut().zip(parts) {
            *y = self.sum(tape, *y, part)?;
        }
        Ok(ys)
    }

    /// (x Aᵀ) Bᵀ, (…, n_out). Declares `lora_a` (rank, n_in), normal, and `lora_b` (n_out, rank), zero: at first an
    /// adapter changes nothing.
    fn product(self, tape: &mut Tape, x: Var, n_out: usize) -> Result<Var, OpError> {
        let (n_in, rank) = (tape.spec(x).shape.width(), self.rank);
        let std = 1.0 / (n_in as f32).sqrt();
        let a = tape.parameter("lora_a", [rank, n_in], Init::Normal(std), Parameter::Adapter);
        let b = tape.parameter("lora_b", [n_out, rank], Init::Constant(0.0), Parameter::Adapter);
        let x = match self.dropout {
            0.0 => x,
            p => tape.apply_one(Dropout { p, salt: tape.salt() }, &[x])?,
        };
        let low = tape.apply_one(Matmul::LINEAR, &[x, a])?;
        tape.apply_one(Matmul::LINEAR, &[low, b])
    }

    fn sum(self, tape: &mut Tape, y: Var, product: Var) -> Result<Var, OpError> {
        tape.apply_one(Combine { a: 1.0, b: Some(self.scale), in_place: true }, &[y, product])
    }
}

/// Adds `scale` B A to `rows` (n_out, n_in) of a weight, with A (rank, n_in) and B (n_out, rank).
pub fn merge(rows: &mut [f32], a: &[f32], b: &[f32], rank: usize, scale: f32) {
    let (n_in, n_out) = (a.len() / rank, b.len() / rank);
    let mut sum = MatMut::new(rows, n_out, n_in);
    product(&mut sum, true, scale, Mat::new(b, n_out, rank), Mat::new(a, rank, n_in));
}
