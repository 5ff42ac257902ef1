//! Published families against `transformers`: logits, decoding, loss, gradients and training steps of tiny models
//! (`golden/make_families.py`), and what is written back.

#[path = "support/families.rs"]
mod published;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lal::engine::device::cpu::Cpu;
use lal::engine::device::gpu::{Gpu, GpuOptions};
use lal::engine::device::{Device, HostData, PlanId};
use lal::engine::plan::Plan;
use lal::engine::step::Step;
use lal::engine::tape::Tape;
use lal::engine::tensor::Spec;
use lal::interop::families::{Family, Heads, How};
use lal::models::config::ModelConfig;
use lal::models::{ModelInputs, backbone};
use lal::nn::Pass;
use lal::objective::tokens;
use lal::ops::adamw::AdamW;
use lal::optim::{Optimizer, OptimizerConfig};
use lal::run::model_file::{self, CONFIG, Layout, MODEL};
use lal::run::tensor_file::Entry;
use lal::sample::load::{Stored, load};
use lal::text::tokenizer::Tokenizer;
use lal::train::plans::{StepShape, training};
use published::FAMILIES;
use serde_json::{Value, json};

const CHARACTERS: &str = "abcdefghijklmnopqrstuvwxyzABCDE";

/// A tiny model, and what `transformers` computes with it.
struct Golden {
    name: &'static str,
    folder: tempfile::TempDir,
    expected: Value,
    config: ModelConfig,
    /// By the tape's names.
    weights: HashMap<String, Vec<f32>>,
}

fn from(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/families").join(name)
}

/// The folder of a variant with a tokenizer of as many characters.
fn imported(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in [CONFIG, MODEL] {
        fs::copy(from(name).join(file), folder.path().join(file)).unwrap();
    }
    Tokenizer::from_name("char", CHARACTERS).unwrap().save(folder.path()).unwrap();
    folder
}

impl Golden {
    fn load(name: &'static str) -> Self {
        let folder = imported(name);
        let mut stored = Stored::open(folder.path()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let config = stored.config.clone();
        let parameters = config.parameters().unwrap();
        let read = |(name, shape): (String, _)| {
            let elements = stored.read(&Entry { name: name.clone(), shape }).unwrap();
            (name, elements)
        };
        let weights = parameters.into_iter().map(read).collect();
        let expected = serde_json::from_slice(&fs::read(from(name).join("expected.json")).unwrap()).unwrap();
        Self { name, folder, expected, config, weights }
    }

    fn tokens(&self) -> Vec<u32> {
        serde_json::from_value(self.expected["tokens"].clone()).unwrap()
    }

    /// A plan on a device, with the weights and the inputs of the first `time` tokens.
    fn start(&self, device: &mut dyn Device, plan: Plan, time: usize, is_trained: bool) -> PlanId {
        let id = device.load(&Arc::new(plan), 0).unwrap();
        for (name, elements) in &self.weights {
            device.write(name, elements).unwrap();
        }
        let tokens = self.tokens();
        device.set_input(id, "tokens", HostData::U32(&tokens[..time])).unwrap();
        if is_trained {
            device.set_input(id, "targets", HostData::U32(&tokens[1..=time])).unwrap();
            device.set_input(id, "weights", HostData::F32(&vec![1.0 / time as f32; time])).unwrap();
        }
        id
    }

    fn near(&self, what: &str, got: &[f32], want: &[f64], relative: f64) {
        assert_eq!(got.len(), want.len(), "{} {what}", self.name);
        let scale = want.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
        for (i, (&got, want)) in got.iter().zip(want).enumerate() {
            let error = (f64::from(got) - want).abs() / scale;
            assert!(error <= relative, "{} {what}[{i}]: {got} and not {want}, of {scale}", self.name);
        }
    }

    fn logits(&self) -> Vec<Vec<f64>> {
        serde_json::from_value(self.expected["logits"].clone()).unwrap()
    }

    fn has_logits_of_transformers(&self, device: &mut dyn Device, relative: f64) {
        let time = self.tokens().len();
        let mut tape = Tape::new("logits");
        let tokens = tape.input("tokens", Spec::u32([1, time]));
        let read = ModelInputs { tokens, segments: None };
        let top = backbone(&mut tape, &self.config, read, Pass::Evaluate).unwrap();
        let logits = top.logits(&mut tape, 0, time).unwrap();
        let id = self.start(device, Plan::new(&tape, &[logits]).unwrap(), time, false);
        device.run(id, 0, &Step::default()).unwrap();
        let got = device.results(true).unwrap().unwrap().pop().unwrap();
        self.near("logits", &got, &self.logits().concat(), relative);
    }

    /// The first tokens at once, the others one by one.
    fn decodes(&self, device: &mut dyn Device, relative: f64) {
        let (tokens, logits) = (self.tokens(), self.logits());
        let mut model = load(device, self.folder.path()).unwrap();
        let mut got = model.generator.start(device, &tokens[..60]).unwrap();
        for at in 60..tokens.len() {
            self.near(&format!("decoded after {at} tokens"), &got, &logits[at - 1], relative);
            got = model.generator.push(device, tokens[at]).unwrap();
        }
        self.near("decoded last", &got, &logits[tokens.len() - 1], relative);
    }

    /// Gradients by the names of `transformers`.
    fn has_loss_and_gradients_of_transformers(&self, device: &mut dyn Device, relative: f64) {
        let time = self.tokens().len() - 1;
        let mut tape = Tape::new("gradients");
        let tokens = tape.input("tokens", Spec::u32([1, time]));
        let targets = tape.input("targets", Spec::u32([time]));
        let weights = tape.input("weights", Spec::f32([time]));
        let read = ModelInputs { tokens, segments: None };
        let top = backbone(&mut tape, &self.config, read, Pass::Train).unwrap();
        let loss = tokens::loss(&mut tape, &top, targets, weights, true, &HashMap::new()).unwrap();
        let gradients = tape.backward(&loss.seeds, &HashMap::new()).unwrap();
        let parameters = tape.parameters();
        let results: Vec<_> =
            [loss.total].into_iter().chain(parameters.iter().map(|p| gradients[p])).collect();
        let id = self.start(device, Plan::new(&tape, &results).unwrap(), time, true);
        device.run(id, 0, &Step::default()).unwrap();
        let got = device.results(true).unwrap().unwrap();
        self.near("loss", &got[0], &[self.expected["loss"].as_f64().unwrap()], relative);

        let (family, heads) = (self.family(), Heads::of(&self.config));
        // Halves of a tensor meet in it, in the order of their numbers.
        let mut theirs: HashMap<String, Vec<(usize, Vec<f32>)>> = HashMap::new();
        for (parameter, gradient) in parameters.iter().zip(&got[1..]) {
            let (row, layer) = family.row(tape.name(*parameter)).unwrap();
            // The gradient of what is added to 1 is that of the sum.
            let how = if row.how == How::AddedToOne { How::Same } else { row.how };
            let half = if let How::Half(half) = how { half } else { 0 };
            for (part, (name, _)) in row.stored(heads, tape.shape(*parameter), layer).into_iter().enumerate()
            {
                let elements = how.split(heads, gradient.clone(), part);
                theirs.entry(name).or_default().push((half, elements));
            }
        }
        let expected = self.expected["gradients"].as_object().unwrap();
        assert_eq!(theirs.len(), expected.len(), "{}", self.name);
        for (name, mut parts) in theirs {
            parts.sort_by_key(|(half, _)| *half);
            let gradient: Vec<f64> = parts.into_iter().flat_map(|(_, x)| x).map(f64::from).collect();
            let norm = gradient.iter().map(|x| x * x).sum::<f64>().sqrt();
            let cosines: f64 = gradient.iter().enumerate().map(|(i, x)| x * (i as f64 + 1.0).cos()).sum();
            let want: [f64; 2] = serde_json::from_value(expected[&name].clone()).unwrap();
            // Keys' biases have no gradient but rounding.
            let scale = want[0].max(1e-4);
            for (got, want) in [norm, cosines].into_iter().zip(want) {
                let error = (got - want).abs() / scale;
                assert!(error <= 10.0 * relative, "{} gradient of {name}: {got} and not {want}", self.name);
            }
        }
    }

    fn family(&self) -> &'static Family {
        let json: Value =
            serde_json::from_slice(&fs::read(self.folder.path().join(CONFIG)).unwrap()).unwrap();
        Family::named(json["model_type"].as_str().unwrap()).unwrap()
    }

    fn trains(&self, device: &mut dyn Device, relative: f64) {
        let time = self.tokens().len() - 1;
        let config = ModelConfig { block_size: time, ..self.config.clone() };
        let adamw = AdamW { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.1, clip: 0.0 };
        let rule = OptimizerConfig { optimizer: Optimizer::AdamW, adamw };
        let plan = training(&config, StepShape::pretraining(&config, 1, 1), &rule).unwrap();
        let id = self.start(device, plan, time, true);
        let losses: Vec<f64> = serde_json::from_value(self.expected["losses"].clone()).unwrap();
        let losses = [self.expected["loss"].as_f64().unwrap()].into_iter().chain(losses);
        for (t, want) in losses.enumerate() {
            let step = Step {
                learning_rate: 1e-3,
                correction1: 1.0 - 0.9f32.powi(t as i32 + 1),
                correction2: 1.0 - 0.95f32.powi(t as i32 + 1),
                ..Step::default()
            };
            device.run(id, 0, &step).unwrap();
            let got = device.results(true).unwrap().unwrap()[0].clone();
            self.near(&format!("loss of step {t}"), &got[..1], &[want], relative);
        }
    }
}

#[test]
fn the_cpu_agrees_with_transformers() {
    for golden in FAMILIES.map(Golden::load) {
        golden.has_logits_of_transformers(&mut Cpu::<f32>::default(), 1e-5);
        golden.decodes(&mut Cpu::<f32>::default(), 1e-5);
        golden.has_loss_and_gradients_of_transformers(&mut Cpu::<f32>::default(), 1e-5);
        golden.trains(&mut Cpu::<f32>::default(), 1e-4);
    }
}

/// `transformers` rounds the angles of rotary embeddings to f32, which at position 69 moves them by 4e-6.
#[test]
fn the_oracle_is_transformers() {
    for golden in FAMILIES.map(Golden::load) {
        golden.has_logits_of_transformers(&mut Cpu::<f64>::default(), 5e-6);
        golden.has_loss_and_gradients_of_transformers(&mut Cpu::<f64>::default(), 5e-6);
        golden.trains(&mut Cpu::<f64>::default(), 5e-6);
    }
}

#[test]
fn the_gpu_agrees_with_transformers() {
    let mut gpu = match Gpu::open(GpuOptions::default()) {
        Ok(gpu) => gpu,
        Err(_) if std::env::var_os("LAL_ALLOW_NO_GPU").is_some() => return,
        Err(error) => panic!("{error}\nSet LAL_ALLOW_NO_GPU=1 to run the tests without one."),
    };
    for golden in FAMILIES.map(Golden::load) {
        gpu.clear();
        golden.has_logits_of_transformers(&mut gpu, 1e-5);
        gpu.clear();
        golden.decodes(&mut gpu, 1e-5);
        gpu.clear();
        golden.has_loss_and_gradients_of_transformers(&mut gpu, 1e-5);
        gpu.clear();
        golden.trains(&mut gpu, 1e-4);
    }
}

/// Every tensor of `transformers`' file is written again, to the bit but where 1 was added and taken away.
#[test]
fn what_is_read_is_written_again() {
    for golden in FAMILIES.map(Golden::load) {
        let (config, name) = (&golden.config, golden.name);
        let layout = Layout::of(config);
        let Layout::Family(family, _) = layout else { panic!("{name} is of no family") };
        let again = imported(name);
        let tokenizer = Tokenizer::load(again.path()).unwrap();
        fs::write(again.path().join(CONFIG), model_file::config_json(config, &tokenizer)).unwrap();
        let parameters = config.parameters().unwrap();
        let parameters: Vec<_> = parameters.into_iter().map(|(name, shape)| Entry { name, shape }).collect();
        let written = model_file::write(again.path(), layout, &parameters, |entry, give| {
            give(&golden.weights[&entry.name]);
            Ok(())
        });
        written.unwrap().commit().unwrap();
        let stored = Stored::open(again.path()).unwrap();
        assert_eq!(Family::of(&stored.config).map(|family| family.name), Some(family.name));
        assert_eq!(stored.config.parameters().unwrap(), config.parameters().unwrap());
        if family.name != golden.family().name {
            // A window of no layer, for one, makes a Qwen 2 with biases a Llama: all but the name is the same.
            continue;
        }
        let (before, after) = (from(name).join(MODEL), again.path().join(MODEL));
        assert!(
            same_tensors(&before, &after, if family.name == "gemma3_text" { 1e-7 } else { 0.0 }),
            "{name}"
        );
    }
}

fn same_tensors(before: &Path, after: &Path, tolerance: f32) -> bool {
    let bytes = [before, after].map(|path| fs::read(path).unwrap());
    let [before, after] = [&bytes[0], &bytes[1]].map(|x| safetensors::SafeTensors::deserialize(x).unwrap());
    let elements = |data: &[u8]| -> Vec<f32> {
        data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    before.len() == after.len()
        && before.iter().all(|(name, view)| {
            let other = after.tensor(name).unwrap();
            let (x, y) = (elements(view.data()), elements(other.data()));
            view.shape() == other.shape() && x.iter().zip(&y).all(|(x, y)| (x - y).abs() <= tolerance)
        })
}

/// Changes keys of a variant's `config.json`.
fn changed(name: &str, change: impl FnOnce(&mut serde_json::Map<String, Value>)) -> tempfile::TempDir {
    let folder = imported(name);
    let path = folder.path().join(CONFIG);
    let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(json.as_object_mut().unwrap());
    fs::write(path, json.to_string()).unwrap();
    folder
}

#[test]
fn what_lal_does_not_compute_is_refused_by_name() {
    let rope = |kind: &str| json!({ "rope_type": kind, "rope_theta": 1e4, "factor": 4.0 });
    let share = json!({ "rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 2.0 });
    for (variant, key, value, named) in [
        ("llama", "rope_parameters", rope("yarn"), "rope_type is \"yarn\""),
        ("llama", "rope_parameters", rope("default"), "rope_parameters.factor is 4.0"),
        ("llama", "rope_scaling", rope("linear"), "rope_parameters and rope_scaling are both there"),
        ("gemma3", "rope_scaling", rope("linear"), "rope_parameters and rope_scaling are both there"),
        ("llama", "rope_interleaved", json!(true), "rope_interleaved is true"),
        ("llama", "hidden_act", json!("relu6"), "hidden_act is \"relu6\""),
        ("llama", "attention_dropout", json!(0.1), "attention_dropout is 0.1"),
        ("llama", "logit_scale", json!(2.0), "logit_scale is 2.0"),
        ("llama", "num_attention_heads", json!("four"), "num_attention_heads is \"four\""),
        ("llama", "hidden_size", json!(null), "hidden_size is missing"),
        ("llama", "num_key_value_heads", json!(3), "n_kv_head = 3"),
        ("llama", "rms_norm_eps", json!(-1e-6), "epsilon of norms"),
        ("llama", "model_type", json!("llama9"), "model_type is \"llama9\""),
        ("llama_linear", "rope_parameters", json!({ "rope_type": "linear" }), "factor"),
        ("gemma3", "final_logit_softcapping", json!(30.0), "final_logit_softcapping is 30.0"),
        ("gemma3", "use_bidirectional_attention", json!(true), "use_bidirectional_attention is true"),
        ("gemma3", "layer_types", json!(["full_attention"]), "layer_types has 1 entries for 3 layers"),
        ("qwen2", "layer_types", json!(["full_attention", "chunked_attention"]), "\"chunked_attention\""),
        ("qwen2", "layer_types", json!(["full_attention", "sliding_attention"]), "use_sliding_window"),
        ("smollm3", "no_rope_layers", json!([1, 0]), "no_rope_layers is [1,0]"),
        ("phi3", "resid_pdrop", json!(0.1), "resid_pdrop is 0.1"),
        ("phi3", "rope_parameters", rope("longrope"), "rope_type is \"longrope\""),
        ("gpt_neox", "rope_parameters", share, "partial_rotary_factor is 2"),
        ("gpt_neox", "hidden_act", json!("silu"), "hidden_act is \"silu\""),
    ] {
        let folder = changed(variant, |keys| drop(keys.insert(key.into(), value)));
        let complaint = Stored::open(folder.path()).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(complaint.contains(named), "{variant} {key}: {complaint:?}");
    }
}

/// Files of before 2025 have the rotary embeddings' settings among the other keys.
#[test]
fn older_keys_say_the_same() {
    let config = |folder: tempfile::TempDir| Stored::open(folder.path()).unwrap().config;
    let older = changed("llama_scaled", |keys| {
        let mut rope = keys.remove("rope_parameters").unwrap();
        keys.insert("rope_theta".into(), rope["rope_theta"].take());
        rope.as_object_mut().unwrap().remove("rope_theta");
        keys.insert("rope_scaling".into(), rope);
    });
    assert_eq!(config(older), Golden::load("llama_scaled").config);
    let older = changed("gpt_neox", |keys| {
        keys.remove("rope_parameters");
        keys.extend([("rotary_pct".into(), json!(0.5)), ("rotary_emb_base".into(), json!(10_000))]);
    });
    assert_eq!(config(older), Golden::load("gpt_neox").config);
    let older = changed("gemma3", |keys| {
        keys.remove("rope_parameters");
        keys.extend([("rope_local_base_freq".into(), json!(100.0)), ("rope_theta".into(), json!(1e4))]);
        keys.insert("rope_scaling".into(), json!({ "rope_type": "linear", "factor": 8.0 }));
        keys.remove("layer_types");
        keys.insert("sliding_window_pattern".into(), json!(2));
    });
    assert_eq!(config(older), Golden::load("gemma3").config);
}
