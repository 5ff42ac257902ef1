//! A training run: its settings, its folder, its checkpoints, its plot.
//!
//! [`settings`] (flags, variables, a TOML file) laid over [`presets`] make a [`config`], of which [`ranges`] checks the
//! numbers and [`choice`] the words. [`folder`] has the files of a run: [`journal`] appends its metrics and samples,
//! [`checkpoint`] saves and restores it in a [`tensor_file`], [`model_file`] is the part that `transformers` loads
//! where a model is a GPT-2, [`convert`] writes models for other programs, and [`plot`] draws the loss. [`origin`]
//! identifies the inputs of a run, [`resume`] says which settings may change when it is continued, and [`lock`] keeps a
//! second process out.

pub mod checkpoint;
pub mod choice;
pub mod config;
pub mod config_error;
pub mod convert;
pub mod folder;
pub mod journal;
pub mod lock;
pub mod model_file;
pub mod origin;
pub mod plot;
pub mod presets;
pub mod ranges;
pub mod resume;
pub mod settings;
pub mod tensor_file;
