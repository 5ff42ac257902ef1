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
//! | [`files`] | reading files of bounded size, writing them atomically |
//! | [`engine`] | how ops run: tensors, the tape and its derivatives, plans, the GPU and the CPU |
//! | [`ops`] | the ops: one file each, with shapes, kernels, CPU twin, derivative, test cases and cost |
//! | [`nn`] | layers, as functions over the tape |
//! | [`models`] | Transformers, recurrent nets, an MLP, word vectors and a bigram table, made of layers |
//! | [`objective`] | losses: cross-entropy, negative sampling, DPO, reward models, PPO and GRPO |
//! | [`optim`] | AdamW, Muon, SGD, clipping and learning-rate schedules |
//! | [`interop`] | published models: their families; safetensors and GGUF files in their number formats |
//! | [`hub`] | published models of the Hugging Face Hub: its cache, and downloads into it |
//! | [`text`] | tokenizers, corpora, conversations, the Tales world |
//! | [`run`] | settings and presets, run folders, checkpoints, model files |
//! | [`train`] | pretraining: batches, the training loop, evaluation |
//! | [`finetune`] | SFT, reward models, DPO, PPO, GRPO and Constitutional AI: a stage each |
//! | [`sample`] | generating text: sampling strategies, the key-value cache, conversations |
//! | [`embed`] | vectors of texts, by pooling what a Transformer makes of their tokens |
//! | [`inspect`] | looking into a model: attention maps, logits, nearest embeddings |
//! | [`verify`] | checks of kernels against the f64 oracle, of derivatives, and mutation tests of the checks |
//! | [`profile`] | the time of each kernel, and the rooflines of the device |
//! | [`explain`] | what a kernel's accesses and arithmetic need of each unit of a GPU, counted on any adapter |
//! | [`cli`] | the command line: parses, calls the library, prints |
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
//! use lal::ops::gelu::{GeluApproximation, Gelu};
//! use lal::ops::matmul::Matmul;
//!
//! let mut tape = Tape::new("step");
//! let x = tape.input("x", Spec::f32([1, 2]));
//! let weight = tape.parameter("weight", [3, 2], Init::Constant(0.5), Parameter::Hidden);
//! let hidden = tape.apply_one(Matmul::LINEAR, &[x, weight])?;
//! let y = tape.apply_one(Gelu(GeluApproximation::Exact), &[hidden])?;
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
pub mod embed;
pub mod engine;
pub mod explain;
pub mod files;
pub mod finetune;
pub mod hub;
pub mod inspect;
pub mod interop;
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
