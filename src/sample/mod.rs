//! Writing text: decoding strategies, the key-value cache, models loaded from run folders, and conversations.

pub mod conversation;
pub mod generator;
pub mod load;
pub mod reply;
pub mod strategy;
