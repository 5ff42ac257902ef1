//! The GPT against PyTorch: logits, loss, every gradient, and ten steps of AdamW (fixtures of `golden/make_gpt.py`).

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use lal::engine::device::cpu::Cpu;
use lal::engine::device::gpu::{Gpu, GpuOptions};
use lal::engine::device::{Device, HostData};
use lal::engine::plan::Plan;
use lal::engine::step::Step;
use lal::engine::tape::Tape;
use lal::engine::tensor::Spec;
use lal::models::config::ModelConfig;
use lal::models::{ModelInputs, backbone};
use lal::nn::Pass;
use lal::nn::mlp::FeedForward;
use lal::objective::tokens;
use lal::ops::adamw::AdamW;
use lal::optim::{Optimizer, OptimizerConfig};
use lal::train::plans::{StepShape, training};
use safetensors::SafeTensors;
use serde_json::Value;

struct Golden {
    config: ModelConfig,
    batch: usize,
    json: Value,
    tensors: HashMap<String, Vec<f32>>,
}

fn golden(name: &str) -> Golden {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let json: Value =
        serde_json::from_slice(&std::fs::read(folder.join(format!("{name}.json"))).unwrap()).unwrap();
    let bytes = std::fs::read(folder.join(format!("{name}.safetensors"))).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let elements =
        |data: &[u8]| data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    let tensors = tensors.iter().map(|(name, view)| (name.to_owned(), elements(view.data()))).collect();
    let size = |key: &str| json[key].as_u64().unwrap() as usize;
    let is_gpt2 = name == "gpt_bias";
    let config = ModelConfig {
        bias: is_gpt2,
        feed_forward: if is_gpt2 { FeedForward::GeluTanh } else { FeedForward::Gelu },
        ..ModelConfig::gpt(
            size("vocab_size"),
            size("block_size"),
            size("n_layer"),
            size("n_head"),
            size("n_embd"),
        )
    };
    let batch = json["batch_size"].as_u64().unwrap() as usize;
    Golden { config, batch, json, tensors }
}

fn flat(value: &Value) -> Vec<u32> {
    match value {
        Value::Array(items) => items.iter().flat_map(flat).collect(),
        number => vec![number.as_u64().unwrap() as u32],
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

impl Golden {
    fn load(&self, device: &mut dyn Device, plan: &Plan, weight: f32) -> lal::engine::device::PlanId {
        let id = device.load(&Arc::new(plan.clone()), 0).unwrap();
        for (name, ..) in plan.parameters() {
            device.write(name, &self.tensors[&format!("weight/{name}")]).unwrap();
        }
        let tokens = flat(&self.json["tokens"]);
        device.set_input(id, "tokens", HostData::U32(&tokens)).unwrap();
        if weight > 0.0 {
            device.set_input(id, "targets", HostData::U32(&flat(&self.json["targets"]))).unwrap();
            device.set_input(id, "weights", HostData::F32(&vec![weight; tokens.len()])).unwrap();
        }
        id
    }

    fn rows(&self) -> usize {
        self.batch * self.config.block_size
    }
}

/// |got - want| relative to the largest element of the tensor: elements near zero are sums that cancelled.
fn assert_tensor(name: &str, got: &[f32], want: &[f32], relative: f32) {
    assert_eq!(got.len(), want.len(), "{name}");
    let scale = want.iter().fold(0f32, |m, x| m.max(x.abs()));
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!(
            (got - want).abs() <= relative * scale,
            "{name}[{i}]: {got} instead of {want}, scale {scale}"
        );
    }
}

fn logits_loss_and_gradients(device: &mut dyn Device, name: &str, relative: f32) {
    let golden = golden(name);
    let (batch, time) = (golden.batch, golden.config.block_size);

    let mut tape = Tape::new("logits");
    let tokens = tape.input("tokens", Spec::u32([batch, time]));
    let read = ModelInputs { tokens, segments: None };
    let top = backbone(&mut tape, &golden.config, read, Pass::Evaluate).unwrap();
    let logits = top.logits(&mut tape, 0, batch * time).unwrap();
    let plan = Plan::new(&tape, &[logits]).unwrap();
    let id = golden.load(device, &plan, 0.0);
    device.run(id, 0, &Step::default()).unwrap();
    let got = device.results(true).unwrap().unwrap().pop().unwrap();
    assert_tensor("logits", &got, &golden.tensors["logits"], relative);

    let mut tape = Tape::new("gradients");
    let tokens = tape.input("tokens", Spec::u32([batch, time]));
    let targets = tape.input("targets", Spec::u32([batch * time]));
    let weights = tape.input("weights", Spec::f32([batch * time]));
    let top =
        backbone(&mut tape, &golden.config, ModelInputs { tokens, segments: None }, Pass::Train).unwrap();
    let loss = tokens::loss(&mut tape, &top, targets, weights, true, &HashMap::new()).unwrap();
    let gradients = tape.backward(&loss.seeds, &HashMap::new()).unwrap();
    let parameters = tape.parameters();
    let mut results = vec![loss.total];
    results.extend(parameters.iter().map(|p| gradients[p]));
    let plan = Plan::new(&tape, &results).unwrap();
    let id = golden.load(device, &plan, 1.0 / golden.rows() as f32);
    device.run(id, 0, &Step::default()).unwrap();
    let got = device.results(true).unwrap().unwrap();
    assert_tensor("loss", &got[0], &[golden.json["loss"].as_f64().unwrap() as f32], relative);
    let expected = golden.tensors.keys().filter(|name| name.starts_with("grad/")).count();
    assert_eq!(parameters.len(), expected);
    for (parameter, got) in parameters.iter().zip(&got[1..]) {
        let name = format!("grad/{}", tape.name(*parameter));
        assert_tensor(&name, got, &golden.tensors[&name], 10.0 * relative);
    }
}

fn ten_steps(device: &mut dyn Device, name: &str, relative: f64) {
    let golden = golden(name);
    let adamw = AdamW { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.1, clip: 1.0 };
    let shape = StepShape::pretraining(&golden.config, golden.batch, 1);
    let rule = OptimizerConfig { optimizer: Optimizer::AdamW, adamw };
    let plan = training(&golden.config, shape, &rule).unwrap();
    let id = golden.load(device, &plan, 1.0 / golden.rows() as f32);
    for (t, want) in numbers(&golden.json["losses"]).into_iter().enumerate() {
        let step = Step {
            learning_rate: 1e-3,
            correction1: 1.0 - 0.9f32.powi(t as i32 + 1),
            correction2: 1.0 - 0.99f32.powi(t as i32 + 1),
            ..Step::default()
        };
        device.run(id, 0, &step).unwrap();
        let got = f64::from(device.results(true).unwrap().unwrap()[0][0]);
        assert!((got - want).abs() <= relative * want, "{name}, step {t}: {got} instead of {want}");
    }
    for (name, want) in golden.tensors.iter().filter(|(name, _)| name.starts_with("final/")) {
        let mut got = device.read(name.trim_start_matches("final/")).unwrap();
        if name.ends_with("c_attn.bias") {
            // Softmax ignores what is the same for all keys, so a bias of keys has no gradient but rounding,
            // whose sign is all that AdamW looks at.
            let keys = golden.config.n_embd..2 * golden.config.n_embd;
            got[keys.clone()].copy_from_slice(&want[keys]);
        }
        assert_tensor(name, &got, want, 1e-3);
    }
}

const VARIANTS: [&str; 2] = ["gpt_plain", "gpt_bias"];

#[test]
fn the_oracle_is_pytorch() {
    for name in VARIANTS {
        // Fixtures are rounded to f32: the oracle may differ by that rounding only.
        logits_loss_and_gradients(&mut Cpu::<f64>::default(), name, 2e-7);
        ten_steps(&mut Cpu::<f64>::default(), name, 1e-6);
    }
}

#[test]
fn the_cpu_agrees_with_pytorch() {
    for name in VARIANTS {
        logits_loss_and_gradients(&mut Cpu::<f32>::default(), name, 1e-5);
        ten_steps(&mut Cpu::<f32>::default(), name, 1e-5);
    }
}

#[test]
fn the_gpu_agrees_with_pytorch() {
    let mut gpu = match Gpu::open(GpuOptions::default()) {
        Ok(gpu) => gpu,
        Err(_) if std::env::var_os("LAL_ALLOW_NO_GPU").is_some() => return,
        Err(error) => panic!("{error}\nSet LAL_ALLOW_NO_GPU=1 to run the tests without one."),
    };
    for name in VARIANTS {
        gpu.clear();
        logits_loss_and_gradients(&mut gpu, name, 1e-5);
        gpu.clear();
        ten_steps(&mut gpu, name, 1e-5);
    }
}
