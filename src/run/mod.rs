//! What a run is made of: its settings, its folder, its checkpoints, its picture.
//!
//! [`settings`] (flags, variables, a TOML file) laid over [`presets`] make a [`config`]; [`folder`] is where a
//! run's files are and [`journal`] what it says on the way; [`checkpoint`] saves and restores, [`model_file`]
//! being the part that `transformers` can load where a model has GPT-2's form; [`plot`] draws the loss. [`origin`] says
//! what a run was made of, [`resume`] what of it may change when it is continued, and [`lock`] keeps a second process out.

pub mod checkpoint;
pub mod choice;
pub mod config;
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
