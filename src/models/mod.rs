//! Models: functions that record themselves on a tape, and the sizes they are recorded at.

pub mod config;
