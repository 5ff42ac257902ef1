//! Lal trains, fine-tunes, samples, verifies and profiles small language models on any GPU.
pub mod engine;
pub mod ops;
pub mod text;
pub mod verify;
