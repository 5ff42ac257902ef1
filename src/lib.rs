//! Lal trains, fine-tunes, samples, verifies and profiles small language models on any Vulkan, Metal or DX12 GPU:
//! WGSL compute shaders, a Rust host on wgpu, and a CPU twin for every kernel.
//!
//! A model is a Rust function that records ops on a [tape](engine::tape) once; the tape is differentiated and
//! frozen into a [plan](engine::plan); a plan runs on the [GPU](engine::device::gpu) or on the
//! [CPU](engine::device::cpu); every tool walks the [registry of ops](ops::OPS) or a plan.
//!
//! In reading order:
//!
//! | module | what it holds |
//! |---|---|
//! | [`files`] | reading and writing files with care |
//! | [`engine`] | how ops run: tensors, ops, tape, plan, devices |
//! | [`ops`] | what runs: one file per op, with its contract, twin, derivative, cases and cost |
//! | [`nn`] | layers, as functions over the tape |
//! | [`models`] | Transformers, recurrent nets, an MLP, word vectors and a bigram table, from layers |
//! | [`objective`] | what models are trained for |
//! | [`optim`] | AdamW, Muon, SGD and schedules |
//! | [`text`] | tokenizers, corpora, the Tales world |
//! | [`run`] | settings, run folders, checkpoints |
//! | [`train`] | plans of a run, the model in training, the run around it |
//! | [`finetune`] | answers from conversations |
//! | [`sample`] | decoding strategies and the key-value cache |
//! | [`inspect`] | where a model's heads attend, what it expects next, how its tokens lie to each other |
//! | [`verify`] | kernels against the f64 oracle, derivatives against finite differences |
//! | [`profile`] | where the time of a step goes, and what the device could reach |
//! | [`cli`] | the programs |
//!
//! The library prints nothing but through [`cli`], reads no environment, and starts no threads beyond the CPU pool.
//!
//! # Example: y = GELU(x Wᵀ) and its gradient
//!
//! ```
//! use std::collections::HashMap;
//! use std::sync::Arc;
//!
//! use lal::engine::device::cpu::Cpu;
//! use lal::engine::device::{Device, HostData};
//! use lal::engine::plan::Plan;
//! use lal::engine::step::Step;
//! use lal::engine::tape::{Init, Parameter, Tape};
//! use lal::engine::tensor::Spec;
//! use lal::ops::gelu::{Form, Gelu};
//! use lal::ops::matmul::Matmul;
//!
//! let mut tape = Tape::new("step");
//! let x = tape.input("x", Spec::f32([1, 2]));
//! let weight = tape.parameter("weight", [3, 2], Init::Constant(0.5), Parameter::Hidden);
//! let hidden = tape.apply_one(Matmul::LINEAR, &[x, weight])?;
//! let y = tape.apply_one(Gelu(Form::Exact), &[hidden])?;
//! let dy = tape.input("dy", Spec::f32([1, 3]));
//! let gradients = tape.backward(&[(y, dy)], &HashMap::new())?;
//! let plan = Arc::new(Plan::new(&tape, &[y, gradients[&weight]])?);
//!
//! let mut cpu = Cpu::<f32>::default(); // or a `Gpu`: the plan is the same
//! let id = cpu.load(&plan, 0)?;
//! cpu.set_input(id, "x", HostData::F32(&[1.0, -1.0]))?;
//! cpu.set_input(id, "dy", HostData::F32(&[1.0, 2.0, 3.0]))?;
//! cpu.run(id, 0, &Step::default())?;
//! let results = cpu.results(true)?.expect("the phase has results");
//! assert_eq!(results[0], [0.0, 0.0, 0.0]);
//! // GELU'(0) = ½, so dW = ½ dyᵀ x.
//! for (got, want) in results[1].iter().zip([0.5, -0.5, 1.0, -1.0, 1.5, -1.5]) {
//!     assert!((got - want).abs() < 1e-6);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod cli;
pub mod engine;
pub mod files;
pub mod finetune;
pub mod inspect;
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
