//! Shaders that keep a record of one workgroup: which addresses each invocation accesses, in order, and how often it
//! runs each part of the shader. What a kernel costs can be counted from it, on any adapter.

mod anatomy;
mod fusion;
mod operations;
mod pointer;
mod registers;
mod rewriting;
mod run;
mod types;

use std::sync::Arc;

use serde::Serialize;

pub use self::anatomy::{Anatomy, Block, Site, Space};
pub use self::operations::Operations;
pub(super) use self::rewriting::{NAME, instrument, prepared};
use crate::engine::dispatch::Shader;

/// Bytes of a record.
pub(super) const BYTES: u64 = 64 << 20;
/// Parts of a shader whose runs are counted.
const BLOCKS: u32 = 512;

/// What one workgroup did.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Invocations of the workgroup.
    pub invocations: usize,
    /// How often each invocation, by its `local_invocation_index`, ran each of [`Anatomy::blocks`].
    pub runs: Vec<Vec<u32>>,
    /// For each of [`Anatomy::sites`] the addresses that were accessed there, in bytes from the beginning of the
    /// variable: that of invocation i in turn n is number n · invocations + i; `None` where it made no access then.
    pub addresses: Vec<Vec<Option<u32>>>,
    /// Accesses of the workgroup, and those of them that the record had no room for.
    pub accesses: u64,
    pub left_out: u64,
}

/// A dispatch whose workgroups can be recorded.
#[derive(Clone, Debug)]
pub struct Recordable {
    pub shader: &'static str,
    pub grid: [u32; 3],
    /// The text that was compiled, with constants filled in.
    pub text: String,
    /// Of which file each line of the text is, and its number there, from 1 on.
    pub lines: Vec<(Part, usize)>,
    pub anatomy: Arc<Anatomy>,
}

/// What a pipeline that records is made of.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    pub text: String,
    pub lines: Vec<(Part, usize)>,
    pub anatomy: Arc<Anatomy>,
}

/// Which file of a shader's text a line is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// `shaders/common/`
    Common,
    /// The shader's own.
    Own,
    /// `shaders/frames/`
    Frame,
}

impl Part {
    /// Of which part each line of a shader's text is, and its number there, from 1 on.
    pub(super) fn lines(shader: &Shader) -> Vec<(Self, usize)> {
        let common = shader.common.iter().map(|text| (Self::Common, *text));
        let rest = [(Self::Own, shader.source), (Self::Frame, shader.frame)];
        let files = common.chain(rest).filter(|(_, text)| !text.is_empty());
        files
            .flat_map(|(part, text)| (0..format!("{text}\n").lines().count()).map(move |i| (part, i + 1)))
            .collect()
    }
}
