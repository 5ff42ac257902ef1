//! Every form of attention against PyTorch (fixtures of `golden/make_attention.py`): groups of heads, ALiBi, rotary
//! positions, a convolution before, packed sequences, causal or not; and decoding with a cache against attending to all
//! at once.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use lal::engine::device::cpu::Cpu;
use lal::engine::device::gpu::{Gpu, GpuOptions};
use lal::engine::device::{Device, HostData};
use lal::engine::op::Var;
use lal::engine::plan::Plan;
use lal::engine::step::Step;
use lal::engine::tape::{Init, Parameter, RopeScaling, Rotary, State, Tape};
use lal::engine::tensor::Spec;
use lal::nn::attention::rotary_table;
use lal::ops::attention::Attention;
use lal::ops::attention_cached::AttentionCached;
use lal::ops::causal_conv::CausalConv;
use lal::ops::causal_conv_cached::CausalConvCached;
use lal::ops::rope::Rope;
use safetensors::SafeTensors;
use serde_json::Value;

const ZERO: Init = Init::Constant(0.0);

struct Form {
    name: String,
    /// (batch, time).
    rows: [usize; 2],
    width: usize,
    op: Attention,
    rope_base: Option<f32>,
    /// Taps of the convolution before; 0 for none.
    conv_kernel: usize,
    segments: Vec<u32>,
}

impl Form {
    fn read(name: &str, json: &Value) -> Self {
        let size = |key: &str| json[key].as_u64().unwrap() as usize;
        let flag = |key: &str| json[key].as_bool().unwrap();
        let base = json["rope_base"].as_f64().unwrap() as f32;
        let segments = json["segments"].as_array().unwrap().iter();
        Self {
            name: name.into(),
            rows: ["batch", "time"].map(size),
            width: size("width"),
            op: Attention {
                n_kv_head: size("n_kv_head"),
                alibi: flag("alibi"),
                ..Attention::new(size("n_head"), flag("causal"))
            },
            rope_base: (base > 0.0).then_some(base),
            conv_kernel: size("conv_kernel"),
            segments: segments.map(|s| s.as_u64().unwrap() as u32).collect(),
        }
    }

    fn row(&self) -> usize {
        (self.op.n_head + 2 * self.op.n_kv_head) * self.width
    }

    /// The name of the convolution's weights.
    fn weights(&self) -> String {
        format!("{}.w", self.name)
    }

    fn rotate(&self, tape: &mut Tape, qkv: Var, positions: usize) -> Var {
        let Some(base) = self.rope_base else { return qkv };
        let rotary = Rotary { base, width: self.width, scaling: RopeScaling::None };
        let table = rotary_table(tape, positions, rotary);
        let rope = Rope { n_rotated: self.op.n_head + self.op.n_kv_head, width: self.width, inverse: false };
        tape.apply_one(rope, &[qkv, table]).unwrap()
    }
}

type Tensors = HashMap<String, Vec<f32>>;

fn golden() -> (Vec<Form>, Tensors) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let json: Value = serde_json::from_slice(&std::fs::read(folder.join("attention.json")).unwrap()).unwrap();
    let forms = json.as_object().unwrap().iter().filter(|(_, form)| form.is_object());
    let forms: Vec<_> = forms.map(|(name, form)| Form::read(name, form)).collect();
    assert_eq!(forms.len(), 12);
    let bytes = std::fs::read(folder.join("attention.safetensors")).unwrap();
    let elements =
        |data: &[u8]| data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    (forms, tensors.iter().map(|(name, view)| (name.to_owned(), elements(view.data()))).collect())
}

/// |got - want| relative to the largest element of the tensor: elements near zero are sums that cancelled.
fn assert_tensor(name: &str, got: &[f32], want: &[f32], relative: f32) {
    assert_eq!(got.len(), want.len(), "{name}");
    let scale = want.iter().fold(0f32, |m, x| m.max(x.abs()));
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let near = (got - want).abs() <= relative * scale;
        assert!(near, "{name}[{i}]: {got} instead of {want}, scale {scale}");
    }
}

/// Outputs within `relative` of PyTorch's and gradients within ten times that.
fn agrees_with_pytorch(device: &mut dyn Device, form: &Form, tensors: &Tensors, relative: f32) {
    let [batch, time] = form.rows;
    let mut tape = Tape::new("all");
    let qkv_name = format!("{}.qkv", form.name);
    let qkv = tape.parameter(&qkv_name, [batch, time, form.row()], ZERO, Parameter::Outer);
    let dout = tape.input("dout", Spec::f32([batch, time, form.op.n_head * form.width]));
    let segments = (!form.segments.is_empty()).then(|| tape.input("segments", Spec::u32(form.rows)));
    let with_segments = |operands: &[Var]| operands.iter().copied().chain(segments).collect::<Vec<_>>();
    let w = (form.conv_kernel > 0)
        .then(|| tape.parameter(&form.weights(), [form.conv_kernel, form.row()], ZERO, Parameter::Outer));
    let convolved = w.map_or(qkv, |w| {
        tape.apply_one(CausalConv { transposed: false }, &with_segments(&[qkv, w])).unwrap()
    });
    let rotated = form.rotate(&mut tape, convolved, time);
    let out = tape.apply(form.op, &with_segments(&[rotated])).unwrap()[0];
    let gradients = tape.backward(&[(out, dout)], &HashMap::new()).unwrap();
    let results: Vec<Var> = [out, gradients[&qkv]].into_iter().chain(w.map(|w| gradients[&w])).collect();
    let plan = Arc::new(Plan::new(&tape, &results).unwrap());
    let id = device.load(&plan, 0).unwrap();
    let golden = |what: &str| &tensors[&format!("{}/{what}", form.name)];
    device.write(&qkv_name, golden("qkv")).unwrap();
    if w.is_some() {
        device.write(&form.weights(), golden("w")).unwrap();
    }
    device.set_input(id, "dout", HostData::F32(golden("dout"))).unwrap();
    if !form.segments.is_empty() {
        device.set_input(id, "segments", HostData::U32(&form.segments)).unwrap();
    }
    device.run(id, 0, &Step::default()).unwrap();
    let got = device.results(true).unwrap().unwrap();
    assert_tensor(&format!("out of {}", form.name), &got[0], golden("out"), relative);
    assert_tensor(&format!("dqkv of {}", form.name), &got[1], golden("dqkv"), 10.0 * relative);
    if w.is_some() {
        assert_tensor(&format!("dw of {}", form.name), &got[2], golden("dw"), 10.0 * relative);
    }
}

/// A device for each form, as their tables differ in shape.
fn open_gpu() -> Option<Gpu> {
    match Gpu::open(GpuOptions::default()) {
        Ok(gpu) => Some(gpu),
        Err(_) if std::env::var_os("LAL_ALLOW_NO_GPU").is_some() => None,
        Err(error) => panic!("{error}\nSet LAL_ALLOW_NO_GPU=1 to run the tests without one."),
    }
}

#[test]
fn the_oracle_is_pytorch() {
    let (forms, tensors) = golden();
    for form in &forms {
        // Fixtures and tables are rounded to f32: the oracle may differ by that rounding only.
        agrees_with_pytorch(&mut Cpu::<f64>::default(), form, &tensors, 2e-7);
    }
}

#[test]
fn the_cpu_agrees_with_pytorch() {
    let (forms, tensors) = golden();
    for form in &forms {
        agrees_with_pytorch(&mut Cpu::<f32>::default(), form, &tensors, 1e-5);
    }
}

#[test]
fn the_gpu_agrees_with_pytorch() {
    let Some(mut gpu) = open_gpu() else { return };
    let (forms, tensors) = golden();
    for form in &forms {
        for variant in ["plain", "flash"] {
            gpu.clear();
            gpu.force_variant(Some(variant));
            agrees_with_pytorch(&mut gpu, form, &tensors, 1e-5);
        }
    }
}

/// Tokens that are decoded at once, in order; the first are a prompt.
const PORTIONS: [usize; 5] = [3, 1, 1, 5, 1];

/// Keys and values, and rotations, that the cache has room for.
const ROOM: usize = 14;

/// The fixture's first item, decoded through a cache: what PyTorch gives for all tokens at once.
fn decodes_as_at_once(device: &mut dyn Device, form: &Form, tensors: &Tensors, relative: f32) {
    let (time, op) = (form.rows[1], form.op);
    let (qkv, out) = (&tensors[&format!("{}/qkv", form.name)], &tensors[&format!("{}/out", form.name)]);
    assert_eq!(time, PORTIONS.iter().sum::<usize>());
    let (mut got, mut position) = (Vec::new(), 0);
    for n in PORTIONS {
        let mut tape = Tape::new("decode");
        let x = tape.input("qkv", Spec::f32([1, n, form.row()]));
        let x = match form.conv_kernel {
            0 => x,
            taps => {
                let w = tape.parameter(&form.weights(), [taps, form.row()], ZERO, Parameter::Outer);
                let tail = tape.state("tail", [1, taps - 1, form.row()], ZERO, State::Transient);
                tape.apply(CausalConvCached, &[x, w, tail]).unwrap()[0]
            }
        };
        let x = form.rotate(&mut tape, x, ROOM);
        let cache = ["keys", "values"]
            .map(|name| tape.state(name, [1, ROOM, op.n_kv_head * form.width], ZERO, State::Transient));
        let cached = AttentionCached {
            n_head: op.n_head,
            n_kv_head: op.n_kv_head,
            alibi: op.alibi,
            window: op.window,
            scale: op.scale,
        };
        let result = tape.apply(cached, &[x, cache[0], cache[1]]).unwrap()[0];
        let plan = Arc::new(Plan::new(&tape, &[result]).unwrap());
        let id = device.load(&plan, 0).unwrap();
        if form.conv_kernel > 0 {
            device.write(&form.weights(), &tensors[&format!("{}/w", form.name)]).unwrap();
        }
        let tokens = &qkv[position * form.row()..][..n * form.row()];
        device.set_input(id, "qkv", HostData::F32(tokens)).unwrap();
        device.run(id, 0, &Step { position: position as u32, ..Step::default() }).unwrap();
        got.append(&mut device.results(true).unwrap().unwrap()[0]);
        position += n;
    }
    assert_tensor(&format!("decoded {}", form.name), &got, &out[..got.len()], relative);
}

#[test]
fn decoding_with_a_cache_gives_what_attending_to_all_at_once_does() {
    let (forms, tensors) = golden();
    let mut gpu = open_gpu();
    for name in ["gqa", "mqa", "alibi", "rope", "llama", "conv"] {
        let form = forms.iter().find(|form| form.name == name).unwrap();
        decodes_as_at_once(&mut Cpu::<f64>::default(), form, &tensors, 2e-7);
        decodes_as_at_once(&mut Cpu::<f32>::default(), form, &tensors, 1e-5);
        if let Some(gpu) = &mut gpu {
            gpu.clear();
            decodes_as_at_once(gpu, form, &tensors, 1e-5);
        }
    }
}
