//! Lal trains, fine-tunes, samples, verifies and profiles small language models on any GPU.
pub mod engine;
pub mod models;
pub mod ops;
pub mod run;
pub mod sample;
pub mod text;
