//! Writing text: decoding strategies, the key-value cache, and models loaded from run folders.

pub mod generator;
pub mod load;
pub mod reply;
pub mod strategy;
