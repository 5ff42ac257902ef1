//! Text: where it comes from, how it becomes tokens, how tokens become batches.
//!
//! [`corpus`] finds a text (a file, a download, or the built-in [`tales`]), [`tokenizer`] turns it into
//! numbers below the vocabulary size, and [`dataset`] splits those and draws random windows from them.
//! What need not fit into memory is a [`collection`] of files: their [`documents`] are read part by part, and made once
//! to [`tokens`] in a [`store`]; [`token_files`] are what other programs prepared. [`data`] tells which is which.
//! [`template`] writes conversations in the form of a published model. [`ngram`] predicts them by counting. [`chat`]
//! reads conversations, which [`pack`] puts into windows, and [`preferences`] which of two answers is the better;
//! [`skipgram`] pairs tokens with their neighbours, and [`masked`] hides tokens.

pub mod chat;
pub mod collection;
pub mod corpus;
pub mod data;
pub mod dataset;
pub mod documents;
pub mod masked;
pub mod ngram;
pub mod pack;
pub mod permutation;
pub mod preferences;
pub mod skipgram;
pub mod store;
pub mod tales;
pub mod template;
pub mod token_files;
pub mod tokenizer;
pub mod tokens;
