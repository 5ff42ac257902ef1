//! The objectives of fine-tuning against PyTorch: losses, margins and every gradient (fixtures of
//! `golden/make_objectives.py`).

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use lal::engine::device::cpu::Cpu;
use lal::engine::device::gpu::{Gpu, GpuOptions};
use lal::engine::device::{Device, HostData, Results};
use lal::engine::plan::Plan;
use lal::engine::step::Step;
use lal::engine::tape::Tape;
use lal::engine::tensor::Spec;
use lal::finetune::pair_source::PairSource;
use lal::finetune::preference_dataset::PreferenceDataset;
use lal::finetune::scorer::{Head, Scorer};
use lal::models::config::ModelConfig;
use lal::models::{ModelInputs, backbone};
use lal::nn::Pass;
use lal::objective::inputs::Input;
use lal::objective::policy::Policy;
use lal::objective::preference::{Preference, PreferenceLoss};
use lal::objective::reward::Reward;
use lal::objective::{BatchShape, Objective};
use lal::run::config::TrainConfig;
use lal::run::presets;
use lal::text::chat::Example;
use lal::text::dataset::{Purpose, Split};
use lal::text::preferences::EncodedPair;
use lal::train::source::{Batch, Source};
use safetensors::SafeTensors;
use serde_json::Value;

struct Golden {
    facts: Value,
    tensors: HashMap<String, Vec<f32>>,
}

const TIME: usize = 7;

fn model() -> ModelConfig {
    ModelConfig::gpt(17, TIME, 2, 3, 12)
}

impl Golden {
    fn open() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let facts = serde_json::from_slice(&std::fs::read(folder.join("objectives.json")).unwrap()).unwrap();
        let mut tensors = HashMap::new();
        for file in ["gpt_plain", "objectives"] {
            let bytes = std::fs::read(folder.join(format!("{file}.safetensors"))).unwrap();
            for (name, view) in SafeTensors::deserialize(&bytes).unwrap().iter() {
                let number = |b: &[u8]| f32::from_le_bytes(b.try_into().unwrap());
                let name = name.strip_prefix("weight/").unwrap_or(name).to_owned();
                tensors.insert(name, view.data().chunks_exact(4).map(number).collect());
            }
        }
        Self { facts, tensors }
    }

    fn number(&self, key: &str) -> f32 {
        self.facts[key].as_f64().unwrap() as f32
    }

    /// An answer behind its prompt as an example.
    fn example(&self, tokens: &Value, prompt: &Value) -> Example {
        let tokens: Vec<u32> =
            tokens.as_array().unwrap().iter().map(|x| x.as_u64().unwrap() as u32).collect();
        let prompt = prompt.as_u64().unwrap() as usize;
        let answer = (0..tokens.len()).map(|at| at >= prompt).collect();
        Example { tokens, answer, place: "golden".into() }
    }

    fn pairs(&self) -> Vec<EncodedPair> {
        let pair = |pair: &Value| EncodedPair {
            chosen: self.example(&pair[0], &pair[2]),
            rejected: self.example(&pair[1], &pair[2]),
        };
        self.facts["pairs"].as_array().unwrap().iter().map(pair).collect()
    }

    /// The replies as a batch for a policy.
    fn replies(&self, policy: &Policy) -> Batch {
        let replies = self.facts["replies"].as_array().unwrap();
        let places = replies.len() * TIME;
        let shape = BatchShape { sequences: replies.len(), predictions: places };
        let mut batch = Batch::zeros(&Objective::Policy(*policy), shape, TIME);
        let examples: Vec<_> = replies.iter().map(|reply| self.example(&reply[0], &reply[1])).collect();
        let said: usize = examples.iter().flat_map(|e| &e.answer).filter(|&&answer| answer).count();
        for (row, example) in examples.iter().enumerate() {
            let first = row * TIME;
            batch.tokens[first..][..example.tokens.len()].copy_from_slice(&example.tokens);
            batch.targets[first..][..example.tokens.len() - 1].copy_from_slice(&example.tokens[1..]);
            let answer = (0..example.tokens.len()).filter(|&at| example.answer[at]);
            for (i, at) in answer.enumerate() {
                batch.weights[first + at - 1] = 1.0 / said as f32;
                for (input, numbers) in &mut batch.others {
                    let number = self.facts["experience"][row][input.name()][i].as_f64().unwrap() as f32;
                    // The fixture has log-probabilities, and Lal their negatives.
                    let sign = if [Input::OldNll, Input::ReferenceNll].contains(input) { -1.0 } else { 1.0 };
                    numbers[first + at - 1] = sign * number;
                }
            }
        }
        batch
    }
}

/// |got - want| relative to the largest element of the tensor: elements near zero are sums that cancelled.
fn assert_near(name: &str, got: &[f32], want: &[f32], relative: f32) {
    assert_eq!(got.len(), want.len(), "{name}");
    let scale = want.iter().fold(0f32, |m, x| m.max(x.abs()));
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!(
            (got - want).abs() <= relative * scale,
            "{name}[{i}]: {got} instead of {want}, scale {scale}"
        );
    }
}

/// Runs the objective on a batch: its loss and outputs, and by name the gradient of every parameter.
fn run(
    device: &mut dyn Device,
    golden: &Golden,
    objective: Objective,
    batch: &Batch,
) -> (Results, Vec<(String, Vec<f32>)>) {
    let sequences = batch.tokens.len() / TIME;
    let mut tape = Tape::new("gradients");
    let tokens = tape.input("tokens", Spec::u32([sequences, TIME]));
    let backbone =
        backbone(&mut tape, &model(), ModelInputs { tokens, segments: None }, Pass::Train).unwrap();
    let head = objective.head(&mut tape, model().n_embd);
    let places = batch.places.as_ref().map_or(sequences * TIME, Vec::len);
    let backbone = match batch.places {
        Some(_) => {
            let places = tape.input("places", Spec::u32([1, places]));
            backbone.at(&mut tape, places).unwrap()
        }
        None => backbone,
    };
    let shape = BatchShape { sequences, predictions: places };
    let loss = objective.record(&mut tape, &backbone, head.as_ref(), shape, true, &HashMap::new()).unwrap();
    let gradients = tape.backward(&loss.seeds, &HashMap::new()).unwrap();
    let parameters: Vec<_> = tape.parameters().into_iter().filter(|p| gradients.contains_key(p)).collect();
    let mut results = vec![loss.total];
    results.extend(&loss.outputs);
    let first = results.len();
    results.extend(parameters.iter().map(|parameter| gradients[parameter]));
    let plan = Arc::new(Plan::new(&tape, &results).unwrap());
    let id = device.load(&plan, 0).unwrap();
    for (name, ..) in plan.parameters() {
        device.write(name, &golden.tensors[name]).unwrap();
    }
    device.set_input(id, "tokens", HostData::U32(&batch.tokens)).unwrap();
    device.set_input(id, "weights", HostData::F32(&batch.weights)).unwrap();
    if !batch.targets.is_empty() {
        device.set_input(id, "targets", HostData::U32(&batch.targets)).unwrap();
    }
    if let Some(places) = &batch.places {
        device.set_input(id, "places", HostData::U32(places)).unwrap();
    }
    for (input, numbers) in &batch.others {
        device.set_input(id, input.name(), HostData::F32(numbers)).unwrap();
    }
    device.run(id, 0, &Step::default()).unwrap();
    let mut results = device.results(true).unwrap().unwrap();
    let of_parameters = results.split_off(first);
    let names = parameters.iter().map(|&parameter| tape.name(parameter).to_owned());
    (results, names.zip(of_parameters).collect())
}

/// Compares with the fixture of this name; `margins` is what the first output must be.
fn check(
    device: &mut dyn Device,
    golden: &Golden,
    name: &str,
    objective: Objective,
    batch: &Batch,
    margins: Option<&str>,
    relative: f32,
) {
    let (results, gradients) = run(device, golden, objective, batch);
    let want = golden.facts["losses"][name].as_f64().unwrap() as f32;
    assert_near(&format!("{name} loss"), &results[0], &[want], relative);
    if let Some(margins) = margins {
        let want = golden.facts["margins"][margins].as_array().unwrap();
        let want: Vec<f32> = want.iter().map(|x| x.as_f64().unwrap() as f32).collect();
        assert_near(&format!("{name} margins"), &results[1], &want, relative);
    }
    let prefix = format!("{name}/grad/");
    let expected = golden.tensors.keys().filter(|key| key.starts_with(&prefix)).count();
    assert_eq!(gradients.len(), expected, "{name}");
    for (parameter, got) in gradients {
        let name = format!("{prefix}{parameter}");
        assert_near(&name, &got, &golden.tensors[&name], 10.0 * relative);
    }
}

/// As a run of fine-tuning makes them, against a reference of the weights times 0.9.
fn pairs(device: &mut dyn Device, golden: &Golden, objective: Objective) -> Batch {
    let config = TrainConfig { batch_size: 2, ..presets::named("mini").unwrap() };
    let [train, held_out] = [(); 2].map(|()| golden.pairs());
    let dataset = PreferenceDataset { name: "golden".into(), train, held_out };
    let source = match objective {
        Objective::Reward(_) => PairSource::without_reference(objective, dataset, &config).unwrap(),
        _ => {
            let reference = Scorer::load(device, &model(), "reference", Head::Tokens, [3, TIME]).unwrap();
            for parameter in reference.parameters() {
                let name = parameter.name.strip_prefix("reference.").unwrap();
                let weights: Vec<f32> = golden.tensors[name].iter().map(|x| 0.9 * x).collect();
                device.write(&parameter.name, &weights).unwrap();
            }
            PairSource::for_preferences(objective, dataset, &config, device, &reference, &mut |_, _| ())
                .unwrap()
        }
    };
    assert_eq!(source.time(), Some(TIME));
    // In the order of the fixture, which estimates keep.
    source.batch(Split::Val, Purpose::Estimating, 0, 0).unwrap()
}

fn preferences(device: &mut dyn Device, relative: f32) {
    let golden = Golden::open();
    let plain = Preference { beta: golden.number("beta"), sft_weight: 0.0, ..Preference::default() };
    let smooth = Preference { label_smoothing: golden.number("label_smoothing"), ..plain };
    let demonstrated = Preference { sft_weight: golden.number("sft_weight"), ..plain };
    let ipo = Preference { loss: PreferenceLoss::Ipo, ..plain };
    for (name, preference, margins) in [
        ("dpo", plain, "dpo"),
        ("dpo_smooth", smooth, "dpo"),
        ("dpo_sft", demonstrated, "dpo"),
        ("ipo", ipo, "ipo"),
    ] {
        let objective = Objective::Preference(preference);
        let batch = pairs(device, &golden, objective);
        check(device, &golden, name, objective, &batch, Some(margins), relative);
    }
    for (name, sft_weight) in [("reward", 0.0), ("reward_sft", golden.number("sft_weight"))] {
        let objective = Objective::Reward(Reward { sft_weight });
        let batch = pairs(device, &golden, objective);
        check(device, &golden, name, objective, &batch, Some("reward"), relative);
    }
}

fn policies(device: &mut dyn Device, relative: f32) {
    let golden = Golden::open();
    let ppo = Policy {
        clip: golden.number("clip"),
        kl: 0.0,
        reward_kl: 0.05,
        value: Some(golden.number("value")),
        entropy: golden.number("entropy"),
    };
    let grpo = Policy { kl: golden.number("kl"), value: None, entropy: 0.0, ..ppo };
    for (name, policy) in [("ppo", ppo), ("grpo", grpo)] {
        let batch = golden.replies(&policy);
        check(device, &golden, name, Objective::Policy(policy), &batch, None, relative);
    }
}

#[test]
fn the_oracle_is_pytorchs() {
    // The weights of the reference are rounded.
    preferences(&mut Cpu::<f64>::default(), 3e-6);
    policies(&mut Cpu::<f64>::default(), 1e-6);
}

#[test]
fn the_cpu_is_pytorchs() {
    preferences(&mut Cpu::<f32>::default(), 1e-5);
    policies(&mut Cpu::<f32>::default(), 1e-5);
}

#[test]
fn the_gpu_is_pytorchs() {
    let mut gpu = match Gpu::open(GpuOptions::default()) {
        Ok(gpu) => gpu,
        Err(_) if std::env::var_os("LAL_ALLOW_NO_GPU").is_some() => return,
        Err(error) => panic!("{error}\nSet LAL_ALLOW_NO_GPU=1 to run the tests without one."),
    };
    preferences(&mut gpu, 1e-5);
    policies(&mut gpu, 1e-5);
}
