//! Layers and optimisers against PyTorch (fixtures of `golden/make_layers.py`): outputs to a relative 1e-5,
//! gradients to 1e-4, on the CPU, the GPU and the oracle.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use lal::engine::device::cpu::Cpu;
use lal::engine::device::gpu::{Gpu, GpuOptions};
use lal::engine::device::{Device, HostData, PlanId};
use lal::engine::op::{OpError, Record, Var};
use lal::engine::plan::Plan;
use lal::engine::step::Step;
use lal::engine::tape::{Class, Init, Parameter, State, Tape};
use lal::engine::tensor::{Shape, Spec};
use lal::nn::Pass;
use lal::nn::recurrent::{Cell, Recurrent, carry};
use lal::ops::activation::{Activation, ActivationFunction};
use lal::ops::adamw::AdamW;
use lal::ops::combine::Combine;
use lal::ops::gated::Gated;
use lal::ops::logistic_loss::LogisticLoss;
use lal::ops::matmul::Matmul;
use lal::ops::reshape::Reshape;
use lal::ops::rms_norm::RmsNorm;
use lal::ops::sgd::Sgd;
use lal::optim::{muon, sgd};
use safetensors::SafeTensors;

struct Tensor {
    shape: Shape,
    elements: Vec<f32>,
}

struct Golden(HashMap<String, Tensor>);

impl Golden {
    fn open() -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/layers.safetensors");
        let bytes = std::fs::read(file).unwrap();
        let number = |b: &[u8]| f32::from_le_bytes(b.try_into().unwrap());
        let tensor = |view: &safetensors::tensor::TensorView| Tensor {
            shape: Shape::new(view.shape()),
            elements: view.data().chunks_exact(4).map(number).collect(),
        };
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        Self(tensors.iter().map(|(name, view)| (name.to_owned(), tensor(&view))).collect())
    }

    fn get(&self, case: &str, name: &str) -> &Tensor {
        &self.0[&format!("{case}/{name}")]
    }

    /// |got - want| relative to the largest element of the tensor: elements near zero are sums that cancelled.
    fn assert(&self, case: &str, name: &str, got: &[f32], relative: f32) {
        let want = &self.get(case, name).elements;
        assert_eq!(got.len(), want.len(), "{case}/{name}");
        let scale = want.iter().fold(0f32, |m, x| m.max(x.abs()));
        for (i, (got, want)) in got.iter().zip(want).enumerate() {
            assert!(
                (got - want).abs() <= relative * scale,
                "{case}/{name}[{i}]: {got} instead of {want}, scale {scale}"
            );
        }
    }

    /// A parameter of that name and shape.
    fn parameter(&self, tape: &mut Tape, case: &str, name: &str) -> Var {
        tape.parameter(name, self.get(case, name).shape, Init::Constant(0.0), Parameter::Hidden)
    }

    /// Loads a plan and gives its parameters the values of the fixture, where it has them.
    fn load(&self, device: &mut dyn Device, case: &str, plan: &Plan) -> PlanId {
        let id = device.load(&Arc::new(plan.clone()), 0).unwrap();
        for (name, ..) in plan.parameters() {
            if let Some(tensor) = self.0.get(&format!("{case}/{name}")) {
                device.write(name, &tensor.elements).unwrap();
            }
        }
        id
    }
}

/// Runs a check on the oracle, the CPU and the GPU, each with the errors it may make in outputs and gradients.
fn on_each_device(check: impl Fn(&mut dyn Device, &Golden, [f32; 2])) {
    let golden = Golden::open();
    check(&mut Cpu::<f64>::default(), &golden, [3e-7, 1e-6]);
    check(&mut Cpu::<f32>::default(), &golden, [1e-5, 1e-4]);
    match Gpu::open(GpuOptions::default()) {
        Ok(mut gpu) => check(&mut gpu, &golden, [1e-5, 1e-4]),
        Err(_) if std::env::var_os("LAL_ALLOW_NO_GPU").is_some() => {}
        Err(error) => panic!("{error}\nSet LAL_ALLOW_NO_GPU=1 to run the tests without one."),
    }
}

fn results(device: &mut dyn Device, id: PlanId, learning_rate: f32) -> Vec<Vec<f32>> {
    device.run(id, 0, &Step { learning_rate, ..Step::default() }).unwrap();
    device.results(true).unwrap().unwrap()
}

/// A layer's output and the gradients of its operands.
fn check_layer(
    case: &'static str,
    operands: &'static [&'static str],
    layer: impl Fn(&mut Tape, &[Var]) -> Result<Var, OpError>,
) {
    on_each_device(|device, golden, [of_output, of_gradient]| {
        let mut tape = Tape::new("layer");
        let vars: Vec<_> = operands.iter().map(|name| golden.parameter(&mut tape, case, name)).collect();
        let y = layer(&mut tape, &vars).unwrap();
        let dy = golden.parameter(&mut tape, case, "dy");
        let gradients = tape.backward(&[(y, dy)], &HashMap::new()).unwrap();
        let mut wanted = vec![y];
        wanted.extend(vars.iter().map(|v| gradients[v]));
        let plan = Plan::new(&tape, &wanted).unwrap();
        let id = golden.load(device, case, &plan);
        let got = results(device, id, 0.0);
        golden.assert(case, "y", &got[0], of_output);
        for (name, got) in operands.iter().zip(&got[1..]) {
            golden.assert(case, &format!("d{name}"), got, of_gradient);
        }
    });
}

#[test]
fn activations_are_pytorchs() {
    for (case, kind) in [
        ("sigmoid", ActivationFunction::Sigmoid),
        ("tanh", ActivationFunction::Tanh),
        ("relu", ActivationFunction::Relu),
        ("relu_squared", ActivationFunction::ReluSquared),
        ("silu", ActivationFunction::Silu),
    ] {
        check_layer(case, &["input"], |tape, x| tape.apply_one(Activation(kind), x));
    }
    check_layer("swiglu", &["g", "u"], |tape, x| tape.apply_one(Gated, x));
}

#[test]
fn rms_norm_is_pytorchs() {
    check_layer("rms_norm", &["input", "weight"], |tape, x| Ok(tape.apply(RmsNorm { eps: 1e-5 }, x)?[0]));
}

/// Sums whose operands share one gradient, an operand used again, one given twice, and reshapes on the way.
#[test]
fn gradients_that_are_shared_stay_apart() {
    check_layer("residual", &["x", "weight"], |tape, operands| {
        let x = operands[0];
        let branch = tape.apply_one(Matmul::LINEAR, operands)?;
        let r = tape.apply_one(Combine::SUM, &[x, branch])?;
        let view = tape.apply_one(Reshape([3, 4, 7].into()), &[r])?;
        let active = tape.apply_one(Activation(ActivationFunction::Tanh), &[view])?;
        let active = tape.apply_one(Reshape([6, 14].into()), &[active])?;
        let twice = tape.apply_one(Combine::SUM, &[r, r])?;
        let s = tape.apply_one(Combine { a: 1.0, b: Some(0.5), in_place: false }, &[twice, active])?;
        let t = tape.apply_one(Combine::SUM, &[s, x])?;
        tape.apply_one(Combine::SUM, &[t, s])
    });
}

#[test]
fn logistic_loss_is_pytorchs() {
    on_each_device(|device, golden, [of_output, of_gradient]| {
        for gradient in [false, true] {
            let mut tape = Tape::new("loss");
            let vars = ["x", "target", "weight"]
                .map(|name| tape.input(name, Spec::f32(golden.get("bce", name).shape)));
            let outputs = tape.apply(LogisticLoss { gradient }, &vars).unwrap();
            let plan = Plan::new(&tape, &outputs).unwrap();
            let id = golden.load(device, "bce", &plan);
            for name in ["x", "target", "weight"] {
                let elements = &golden.get("bce", name).elements;
                device.set_input(id, name, HostData::F32(elements)).unwrap();
            }
            let got = results(device, id, 0.0);
            golden.assert("bce", "loss", &got[0], of_output);
            if gradient {
                golden.assert("bce", "dx", &got[1], of_gradient);
            }
        }
    });
}

/// Two windows of one sequence: the second starts from the state that the first ended with.
#[test]
fn recurrent_layers_are_pytorchs_and_carry_their_state() {
    for (case, cell) in [("rnn", Cell::Rnn), ("gru", Cell::Gru), ("lstm", Cell::Lstm)] {
        on_each_device(|device, golden, [of_output, of_gradient]| {
            let [time, batch_size, _] = *golden.get(case, "x1").shape.dims() else { panic!("x has rank 3") };
            let n_hidden = golden.get(case, "weight_hh").shape.width();
            let mut tape = Tape::new("window");
            let x = tape.parameter("x", golden.get(case, "x1").shape, Init::Constant(0.0), Parameter::Outer);
            let layer = Recurrent { cell, n_hidden, batch_size };
            let unrolled = layer.record(&mut tape, x, Pass::Train).unwrap();
            let dy = tape.input("dy", Spec::f32([time * batch_size, n_hidden]));
            let gradients = tape.backward(&[(unrolled.hidden, dy)], &HashMap::new()).unwrap();
            carry(&mut tape, &unrolled.carried).unwrap();
            let parameters = tape.parameters();
            let mut wanted = vec![unrolled.hidden];
            wanted.extend(parameters.iter().map(|p| gradients[p]));
            let plan = Plan::new(&tape, &wanted).unwrap();
            let id = golden.load(device, case, &plan);
            for window in ["1", "2"] {
                let named = |name: &str| golden.get(case, &format!("{name}{window}"));
                device.write("x", &named("x").elements).unwrap();
                device.set_input(id, "dy", HostData::F32(&named("dy").elements)).unwrap();
                let got = results(device, id, 0.0);
                golden.assert(case, &format!("y{window}"), &got[0], of_output);
                for (&parameter, got) in parameters.iter().zip(&got[1..]) {
                    let name = format!("d{}{window}", tape.name(parameter));
                    golden.assert(case, &name, got, of_gradient);
                }
            }
        });
    }
}

/// Steps of an optimiser on the fixture's gradients.
fn check_steps(
    case: &str,
    steps: usize,
    learning_rate: f32,
    update: impl Fn(&mut Tape, &[(Var, Var)]) -> Result<Var, OpError>,
) {
    on_each_device(|device, golden, [_, allowed]| {
        let mut tape = Tape::new("update");
        let p = golden.parameter(&mut tape, case, "p");
        let gradient = tape.input("gradient", tape.spec(p));
        let norm = update(&mut tape, &[(p, gradient)]).unwrap();
        let plan = Plan::new(&tape, &[norm]).unwrap();
        let id = golden.load(device, case, &plan);
        for step in 0..steps {
            let g = &golden.get(case, &format!("g{step}")).elements;
            device.set_input(id, "gradient", HostData::F32(g)).unwrap();
            let want = g.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt() as f32;
            let norm = results(device, id, learning_rate)[0][0];
            assert!((norm - want).abs() <= 1e-6 * want, "{case}: {norm} instead of {want}");
        }
        golden.assert(case, "final", &device.read("p").unwrap(), allowed);
    });
}

#[test]
fn sgd_is_pytorchs() {
    for (case, nesterov) in [("sgd", false), ("nesterov", true)] {
        let rule = Sgd { momentum: 0.9, nesterov, weight_decay: 0.0, clip: 2.0 };
        check_steps(case, 4, 0.1, |tape, gradients| sgd::update(tape, rule, gradients));
    }
}

const REST: AdamW = AdamW { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.1, clip: 1.0 };

#[test]
fn muon_is_the_papers() {
    for case in ["muon_wide", "muon_tall"] {
        let rule = muon::Muon::default();
        check_steps(case, 3, 0.5, |tape, gradients| muon::update(tape, rule, REST, gradients));
    }
}

#[test]
fn muon_leaves_embeddings_and_vectors_to_adamw() {
    let mut tape = Tape::new("update");
    let all = [
        ("hidden.weight", Shape::from([4, 3]), Parameter::Hidden),
        ("embedding.weight", [5, 3].into(), Parameter::Outer),
        ("norm", [3].into(), Parameter::Outer),
    ];
    let pairs: Vec<_> = all
        .into_iter()
        .map(|(name, shape, kind)| {
            let p = tape.parameter(name, shape, Init::Constant(0.0), kind);
            (p, tape.input(&format!("d{name}"), Spec::f32(shape)))
        })
        .collect();
    let norm = muon::update(&mut tape, muon::Muon::default(), REST, &pairs).unwrap();
    let plan = Plan::new(&tape, &[norm]).unwrap();
    let saved = |(name, _, class)| (class == Class::State(State::Saved)).then_some(name);
    let mut states: Vec<&str> = plan.persistent().filter_map(saved).collect();
    states.sort_unstable();
    let expected = [
        "adamw.m.embedding.weight",
        "adamw.m.norm",
        "adamw.v.embedding.weight",
        "adamw.v.norm",
        "muon.m.hidden.weight",
    ];
    assert_eq!(states, expected);
}
