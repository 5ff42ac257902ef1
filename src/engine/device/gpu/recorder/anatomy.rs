//! What a shader is made of: its accesses to memory, the parts that run as a whole, and what it takes of a device.

use std::collections::BTreeMap;

use serde::Serialize;

use super::operations::Operations;

/// Which memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Space {
    /// Shared by the invocations of a workgroup.
    Workgroup,
    /// Of the device.
    Storage,
}

/// A place in a shader that reads or writes memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Site {
    /// The line of the text, from 1 on.
    pub line: usize,
    /// As the text has it: `tile_a[slot(s, local.y)]`.
    pub expression: String,
    pub variable: String,
    pub space: Space,
    pub writes: bool,
    /// Bytes that one access reads or writes.
    pub bytes: u32,
    /// Index into [`Anatomy::blocks`]: it is accessed once each time that block runs.
    pub block: usize,
    /// The block that begins the loop around it, or its function. Accesses of invocations in the same turn of that
    /// block are made together.
    #[serde(skip)]
    pub turn: usize,
}

/// Statements that run one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// What one run does, by line of the text.
    pub lines: BTreeMap<usize, Operations>,
}

/// A shader, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Anatomy {
    pub sites: Vec<Site>,
    pub blocks: Vec<Block>,
    /// Invocations of a workgroup.
    pub invocations: u32,
    /// Bytes of workgroup memory.
    pub workgroup_bytes: u32,
    /// 32-bit registers of an invocation: an estimate, from the values that are alive at once in the text as it is
    /// written. A compiler may need fewer, or more.
    pub registers: u32,
}
