//! The low-rank adapters of a Transformer: which there are, and what of a weight each is added to.

use std::ops::Range;

use super::config::{Architecture, ModelConfig};
use crate::nn::lora::Site;

/// An adapter of a weight, or of some of its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterPart {
    /// The scope of its factors on the tape.
    pub scope: String,
    /// The first row of the weight.
    pub row: usize,
    /// The rows of B that are added there and below.
    pub of_b: Range<usize>,
}

impl ModelConfig {
    /// The sites of each block that have an adapter, with n_in and n_out.
    pub fn adapters(&self) -> Vec<(Site, [usize; 2])> {
        let has = |site: &Site| self.lora.has(*site);
        Site::ALL.into_iter().filter(has).filter_map(|site| Some((site, self.site(site)?))).collect()
    }

    /// What a site reads and gives, n_in and n_out; `None` where a block has no such site.
    pub fn site(&self, site: Site) -> Option<[usize; 2]> {
        if self.architecture != Architecture::Transformer {
            return None;
        }
        let (n, inner) = (self.n_embd, self.n_inner);
        let head = if self.head_size > 0 { self.head_size } else { n / self.n_head.max(1) };
        let [own, shared] = [self.n_head, self.n_kv_head].map(|heads| head.saturating_mul(heads));
        match site {
            Site::Qkv => Some([n, own.saturating_add(shared.saturating_mul(2))]),
            Site::Query => Some([n, own]),
            Site::Key | Site::Value => Some([n, shared]),
            Site::Mixed => Some([own, n]),
            Site::Gate => self.feed_forward.is_gated().then_some([n, inner]),
            Site::GateUp => self.feed_forward.is_gated().then_some([n, inner.saturating_mul(2)]),
            Site::Up => Some([n, inner]),
            Site::Down => Some([inner, n]),
        }
    }

    /// What is added to a parameter of the tape.
    pub fn adapters_of(&self, parameter: &str) -> Vec<AdapterPart> {
        let Some(weight) = parameter.strip_suffix(".weight") else { return Vec::new() };
        let part = |(site, [_, n_out]): (Site, [usize; 2])| {
            let (matrix, row, of_b) = self.place(site, n_out, weight)?;
            let block = weight.strip_suffix(matrix)?;
            Some(AdapterPart { scope: format!("{block}{}", site.scope()), row, of_b })
        };
        self.adapters().into_iter().filter_map(part).collect()
    }

    /// The matrix that a site is added to, from which row on, and with which rows of its B.
    fn place(&self, site: Site, n_out: usize, weight: &str) -> Option<(&'static str, usize, Range<usize>)> {
        let [own, shared] = [Site::Query, Site::Key].map(|site| self.site(site).map_or(0, |[_, n]| n));
        let qkv = Site::Qkv.scope();
        Some(match site {
            Site::Query => (qkv, 0, 0..n_out),
            Site::Key => (qkv, own, 0..n_out),
            Site::Value => (qkv, own + shared, 0..n_out),
            Site::GateUp if weight.ends_with(Site::Gate.scope()) => (Site::Gate.scope(), 0, 0..n_out / 2),
            Site::GateUp if weight.ends_with(Site::Up.scope()) => (Site::Up.scope(), 0, n_out / 2..n_out),
            Site::GateUp => return None,
            matrix => (matrix.scope(), 0, 0..n_out),
        })
    }
}
