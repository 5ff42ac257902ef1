//! Writing text: decoding strategies, the key-value cache, one stream or many side by side, models loaded from run
//! folders, and conversations.

pub mod batch;
pub mod conversation;
pub mod generator;
pub mod load;
pub mod reply;
pub mod strategy;
pub mod writer;
