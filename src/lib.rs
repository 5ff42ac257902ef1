//! Lal trains, fine-tunes, samples, verifies and profiles small language models on any GPU.
pub mod text;
