//! Layers: functions that declare parameters under the tape's scope and record ops on them.

pub mod attention;
pub mod embedding;
pub mod linear;
pub mod lora;
pub mod mlp;
pub mod norm;
pub mod recurrent;

/// What a recording is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// With dropout, to be differentiated.
    Train,
    /// Without dropout, whole sequences.
    Evaluate,
    /// Without dropout, new tokens after those in the key-value cache.
    Decode,
}
