//! Lal trains, fine-tunes, samples, verifies and profiles small language models on any GPU.
pub mod cli;
pub mod engine;
pub mod models;
pub mod nn;
pub mod objective;
pub mod ops;
pub mod optim;
pub mod profile;
pub mod run;
pub mod sample;
pub mod text;
pub mod train;
pub mod verify;
