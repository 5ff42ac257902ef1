//! Joined plans: fewer dispatches, no more memory, the same numbers.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use lal::engine::device::cpu::Cpu;
use lal::engine::device::gpu::{Gpu, GpuOptions};
use lal::engine::device::{Device, DeviceError, HostData};
use lal::engine::dispatch::Target;
use lal::engine::plan::{Plan, PlanTensor, Storage};
use lal::engine::step::Step;
use lal::engine::tape::Tape;
use lal::engine::tensor::Spec;
use lal::models::config::{ModelConfig, NormPlace};
use lal::models::{ModelInputs, backbone};
use lal::nn::Pass;
use lal::nn::lora::Lora;
use lal::ops::adamw::AdamW;
use lal::optim::{Optimizer, OptimizerConfig};
use lal::run::presets;
use lal::sample::generator::{decode_plan, drawing_plan};
use lal::sample::strategy::{Sampler, Strategy};
use lal::train::plans::{StepShape, evaluation, training};

/// Opens a GPU; `None` where tests may go without one.
fn gpu(options: GpuOptions) -> Option<Gpu> {
    match Gpu::open(options) {
        Ok(gpu) => Some(gpu),
        Err(DeviceError::NoAdapter) if std::env::var_os("LAL_ALLOW_NO_GPU").is_some() => None,
        Err(error) => panic!("{error}\nSet LAL_ALLOW_NO_GPU=1 to run the other tests without a GPU."),
    }
}

/// What a binding holds on every adapter.
const MOST_BYTES: u64 = Target::WEBGPU.max_binding_bytes;

/// The plan of a step of a preset's training.
fn plan(name: &str, change: impl Fn(&mut ModelConfig), grad_accum: usize, optimizer: Optimizer) -> Plan {
    let config = presets::named(name).expect("a preset");
    let mut model = config.model(if name == "lal" { 50_257 } else { 65 });
    change(&mut model);
    let shape = StepShape::pretraining(&model, config.batch_size.min(16), grad_accum);
    let rule = OptimizerConfig { optimizer, ..config.optimizer_config() };
    training(&model, shape, &rule).unwrap_or_else(|e| panic!("{e}"))
}

fn joined(plan: &Plan) -> Plan {
    plan.joined(MOST_BYTES).expect("an optimiser's nodes can be joined")
}

/// Dispatches of the kernels that a GPU takes without measuring, by op.
fn dispatches(plan: &Plan) -> BTreeMap<&'static str, usize> {
    let mut all = BTreeMap::new();
    for node in &plan.nodes {
        let kernels = node.op.kernels(&node.operands(), &Target::WEBGPU);
        let dispatches = kernels.last().map_or(0, |kernel| kernel.dispatches.len());
        *all.entry(node.op.info().name).or_default() += dispatches;
    }
    all
}

/// The piece of memory that a tensor lies in.
fn piece(plan: &Plan, tensor: usize) -> String {
    match &plan.tensors[tensor].storage {
        Storage::Slot(slot) => format!("slot {slot}"),
        Storage::Arena(arena) => format!("arena {arena}"),
        Storage::Input(name) => name.clone(),
        Storage::Persistent { name, .. } => {
            let arena = plan.arenas.iter().position(|arena| arena.contains(&tensor));
            arena.map_or_else(|| name.clone(), |arena| format!("arena {arena}"))
        }
    }
}

fn range(plan: &Plan, tensor: usize) -> Range<usize> {
    let PlanTensor { first, spec, .. } = plan.tensors[tensor];
    first..first + spec.shape.len()
}

/// Fails where a node reads what others have written since, or reads and writes one piece of memory.
fn check(plan: &Plan) {
    // What was last written where in each slot.
    let mut held: HashMap<String, Vec<Range<usize>>> = HashMap::new();
    for node in &plan.nodes {
        let is_only_read = |input: &&usize| !node.outputs.contains(input);
        for &input in node.inputs.iter().filter(is_only_read) {
            let clash = node.outputs.iter().find(|&&output| piece(plan, output) == piece(plan, input));
            assert_eq!(clash, None, "{} reads and writes {}", node.name, piece(plan, input));
        }
        for &input in node.inputs.iter().filter(|&&i| matches!(plan.tensors[i].storage, Storage::Slot(_))) {
            let wanted = range(plan, input);
            let written = held.get(&piece(plan, input)).map_or(&[][..], Vec::as_slice);
            // As itself, or as several that it stands for.
            let parts = written.iter().filter(|r| wanted.start <= r.start && r.end <= wanted.end);
            let whole: usize = parts.map(Range::len).sum();
            assert_eq!(whole, wanted.len(), "{}: operand {input} was overwritten", node.name);
        }
        for &output in &node.outputs {
            if let Storage::Slot(slot) = plan.tensors[output].storage {
                let fresh = range(plan, output);
                assert!(fresh.end <= plan.slots[slot], "{} writes beyond its slot", node.name);
                let held = held.entry(piece(plan, output)).or_default();
                held.retain(|old| old.end <= fresh.start || fresh.end <= old.start);
                held.push(fresh);
            }
        }
    }
    for arena in &plan.arenas {
        let mut next = 0;
        for &tensor in arena {
            assert_eq!((plan.tensors[tensor].first, next % 64), (next, 0), "bindings begin at 256 bytes");
            next += plan.tensors[tensor].spec.shape.len();
        }
    }
}

#[test]
fn joined_plans_take_no_more_memory_and_overwrite_nothing() {
    let no_change = |_: &mut ModelConfig| {};
    let mut plans = Vec::new();
    for name in ["mini", "llama-mini", "bert-mini", "lstm-mini", "mlp-mini", "char", "lal"] {
        plans.push((name, plan(name, no_change, 1, Optimizer::AdamW)));
    }
    plans.push(("accumulating", plan("mini", no_change, 3, Optimizer::AdamW)));
    plans.push(("muon", plan("mini", no_change, 1, Optimizer::Muon)));
    plans.push(("sgd", plan("llama-mini", no_change, 2, Optimizer::Sgd)));
    plans.push(("biases", plan("mini", |model| model.bias = true, 1, Optimizer::AdamW)));
    plans.push(("adapters", plan("mini", |model| model.lora = Lora::of_rank(8), 1, Optimizer::AdamW)));
    plans
        .push(("odd", plan("mini", |model| (model.n_embd, model.n_inner) = (100, 300), 1, Optimizer::AdamW)));
    for (name, plan) in &plans {
        let (whole, limit) = (plan.memory(), 1.02 * plan.memory().total() as f64);
        for most in [MOST_BYTES, 1 << 16] {
            let Some(joined) = plan.joined(most) else { continue };
            check(&joined);
            let memory = joined.memory();
            assert_eq!((memory.parameters, memory.states), (whole.parameters, whole.states), "{name}");
            assert!(memory.total() as f64 <= limit, "{name}: {memory:?} instead of {whole:?}");
            let flops = |plan: &Plan| (0..plan.phases.len()).map(|phase| plan.cost(phase).flops).sum::<u64>();
            assert_eq!(flops(&joined), flops(plan), "{name}");
            let longest = |storage: fn(&Storage) -> bool| {
                let long = joined.tensors.iter().filter(|tensor| storage(&tensor.storage));
                long.map(|tensor| tensor.spec.bytes()).max().unwrap_or(0)
            };
            assert!(longest(|storage| matches!(storage, Storage::Arena(_))) <= most, "{name}");
        }
        check(plan);
    }
    let names = |plan: &Plan| plan.persistent().map(|(name, ..)| name.to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&joined(&plans[0].1)), names(&plans[0].1), "checkpoints hold the same tensors");
}

/// Starting a kernel takes a fast GPU some five microseconds, and most of those of `mini` no longer.
#[test]
fn a_step_has_few_dispatches() {
    for (name, layers, most, optimiser) in [("mini", 4, MINI, 8), ("lal", 12, LAL, 13)] {
        let step = joined(&plan(name, |_| {}, 1, Optimizer::AdamW));
        let all = dispatches(&step);
        let total: usize = all.values().sum();
        println!("{name}: {total} dispatches {all:?}");
        assert!(total <= most, "{name}: {total} dispatches, {all:?}");
        assert!(all["adamw"] + all["grad_norm"] <= optimiser, "{name}: {all:?}");
        assert_eq!((all["attention_backward"], all["layer_norm_backward"]), (2 * layers, 2 * layers + 1));
    }
    let model = presets::named("mini").expect("a preset").model(65);
    let token = dispatches(&decode_plan(&model, 1).unwrap_or_else(|e| panic!("{e}")));
    println!("token: {token:?}");
    assert!(token.values().sum::<usize>() <= TOKEN, "{token:?}");
    // To draw it takes one more.
    let rule = Sampler::new(Strategy::default()).ok().and_then(|sampler| sampler.rule(65)).expect("a rule");
    let drawn = dispatches(&drawing_plan(&model, rule, 8).unwrap_or_else(|e| panic!("{e}")));
    assert_eq!(drawn.values().sum::<usize>(), token.values().sum::<usize>() + 1, "{drawn:?}");
}

const MINI: usize = 142;
const LAL: usize = 520;
const TOKEN: usize = 22;

/// A model whose parameters are whole pieces, but for two.
fn model() -> ModelConfig {
    ModelConfig { bias: true, ..ModelConfig::gpt(17, 8, 2, 2, 64) }
}

/// Parameters, moments and results of the norm after three steps.
fn train(device: &mut dyn Device, optimizer: Optimizer, grad_accum: usize) -> Vec<Vec<f32>> {
    let model = model();
    let adamw = AdamW { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.1, clip: 0.0 };
    let shape = StepShape::pretraining(&model, 3, grad_accum);
    let plan =
        training(&model, shape, &OptimizerConfig { optimizer, adamw }).unwrap_or_else(|e| panic!("{e}"));
    let plan = Arc::new(plan);
    let id = device.load(&plan, 7).unwrap_or_else(|e| panic!("{e}"));
    let mut all = Vec::new();
    for step in 1..=3 {
        let tokens: Vec<u32> = (0..24).map(|i| (i * 5 + step) % 17).collect();
        let targets: Vec<u32> = tokens.iter().map(|token| (token * 3 + 1) % 17).collect();
        for (name, data) in [
            ("tokens", HostData::U32(&tokens)),
            ("targets", HostData::U32(&targets)),
            ("weights", HostData::F32(&[1.0 / 24.0; 24])),
        ] {
            device.set_input(id, name, data).unwrap_or_else(|e| panic!("{e}"));
        }
        let step = Step { learning_rate: 1e-2, correction1: 0.1, correction2: 0.01, ..Step::default() };
        for phase in 0..plan.phases.len() {
            device.run(id, phase, &step).unwrap_or_else(|e| panic!("{e}"));
        }
        while let Some(results) = device.results(true).unwrap_or_else(|e| panic!("{e}")) {
            all.extend(results);
        }
    }
    let norm = all.pop().expect("the last result is the norm");
    let mut tensors: Vec<_> = plan
        .persistent()
        .filter(|(name, ..)| !name.starts_with("gradient"))
        .map(|(name, ..)| device.read(name).unwrap_or_else(|e| panic!("{name}: {e}")))
        .collect();
    tensors.push(norm);
    tensors
}

/// Each element is computed as before; only the norm, which sums in another order, may be another by rounding.
#[test]
fn joined_nodes_compute_the_same_to_the_bit() {
    for (optimizer, grad_accum) in
        [(Optimizer::AdamW, 1), (Optimizer::AdamW, 2), (Optimizer::Muon, 1), (Optimizer::Sgd, 2)]
    {
        let Some(mut fused) = gpu(GpuOptions::default()) else { return };
        let Some(mut apart) = gpu(GpuOptions { poison: true, ..GpuOptions::default() }) else { return };
        let mut got = train(&mut fused, optimizer, grad_accum);
        let mut want = train(&mut apart, optimizer, grad_accum);
        let (norm, norm_apart) = (got.pop().unwrap_or_default()[0], want.pop().unwrap_or_default()[0]);
        assert!((norm / norm_apart - 1.0).abs() < 1e-5, "{norm} instead of {norm_apart}");
        assert!(got == want, "{optimizer:?} {grad_accum}");
        let mut oracle = train(&mut Cpu::<f64>::default(), optimizer, grad_accum);
        let truth = oracle.pop().unwrap_or_default()[0];
        assert!((norm / truth - 1.0).abs() < 1e-3, "{norm} instead of {truth}");
    }
}

#[test]
fn a_plan_is_joined_unless_its_tensors_are_there_and_lie_apart() {
    let Some(mut gpu) = gpu(GpuOptions::default()) else { return };
    let (model, rule) = (model(), presets::named("mini").expect("a preset").optimizer_config());
    let shape = StepShape::pretraining(&model, 3, 1);
    let step = Arc::new(training(&model, shape, &rule).unwrap_or_else(|e| panic!("{e}")));
    let loss = Arc::new(evaluation(&model, shape).unwrap_or_else(|e| panic!("{e}")));
    let nodes = |gpu: &mut Gpu, plan: &Arc<Plan>| {
        let id = gpu.load(plan, 1).unwrap_or_else(|e| panic!("{e}"));
        gpu.plan(id).unwrap_or_else(|e| panic!("{e}")).nodes.len()
    };
    let few = nodes(&mut gpu, &step);
    assert!(few + 20 < step.nodes.len(), "{few} of {}", step.nodes.len());
    assert_eq!(nodes(&mut gpu, &loss), loss.nodes.len());
    // The same tensors, where they are.
    assert_eq!(nodes(&mut gpu, &step), few);
    gpu.clear();
    nodes(&mut gpu, &loss);
    assert_eq!(nodes(&mut gpu, &step), step.nodes.len());
    let joined = Arc::new(step.joined(MOST_BYTES).expect("it can be joined"));
    assert!(matches!(Cpu::<f32>::default().load(&joined, 1), Err(DeviceError::Joined)));
}

/// The logits of three tokens, one after another, and how many nodes a token has.
fn decode(device: &mut dyn Device, model: &ModelConfig, fused: bool) -> (Vec<Vec<f32>>, usize) {
    let mut tape = Tape::new("decode");
    let tokens = tape.input("tokens", Spec::u32([1, 1]));
    let inputs = ModelInputs { tokens, segments: None };
    let backbone = backbone(&mut tape, model, inputs, Pass::Decode).unwrap_or_else(|e| panic!("{e}"));
    let logits = backbone.last_logits(&mut tape).unwrap_or_else(|e| panic!("{e}"));
    if fused {
        tape.fuse_single_rows(&[logits]).unwrap_or_else(|e| panic!("{e}"));
    }
    let plan = Arc::new(Plan::new(&tape, &[logits]).unwrap_or_else(|e| panic!("{e}")));
    let id = device.load(&plan, 3).unwrap_or_else(|e| panic!("{e}"));
    let mut all = Vec::new();
    for (position, token) in (0..).zip([5, 16, 0]) {
        device.set_input(id, "tokens", HostData::U32(&[token])).unwrap_or_else(|e| panic!("{e}"));
        device.run(id, 0, &Step { position, ..Step::default() }).unwrap_or_else(|e| panic!("{e}"));
        all.extend(device.results(true).unwrap_or_else(|e| panic!("{e}")).unwrap_or_default());
    }
    (all, plan.nodes.len())
}

#[test]
fn a_token_has_fewer_nodes_and_the_same_logits() {
    let gpt = ModelConfig::gpt(17, 8, 2, 2, 24);
    let llama = presets::named("llama-mini").expect("a preset").model(17);
    let parallel = {
        let mut model = gpt.clone();
        model.details.parallel = true;
        model
    };
    // A block has three fewer, two norms and GELU, and the head one. The second norm of Llama is read by two products; a
    // norm after the sum is also what the stream goes on from, but for the last.
    for (name, model, fewer) in [
        ("gpt", gpt.clone(), 3 * 2 + 1),
        ("biases", ModelConfig { bias: true, ..gpt.clone() }, 3 * 2 + 1),
        ("llama", llama.clone(), llama.n_layer + 1),
        ("post", ModelConfig { norm_place: NormPlace::Post, ..gpt }, 1),
        ("parallel", parallel, 2 * 2 + 1 + 2),
    ] {
        let (want, nodes) = decode(&mut Cpu::<f32>::default(), &model, false);
        let (got, fused) = decode(&mut Cpu::<f32>::default(), &model, true);
        assert!(got == want && want.len() == 3, "{name}");
        assert_eq!(nodes - fused, fewer, "{name}: {fused} nodes instead of {nodes}");
        let Some(mut gpu) = gpu(GpuOptions::default()) else { continue };
        for (got, want) in decode(&mut gpu, &model, true).0.iter().zip(&want) {
            let apart = got.iter().zip(want).map(|(got, want)| (got - want).abs()).fold(0.0, f32::max);
            assert!(apart < 1e-4, "{name}: {apart} apart");
        }
    }
}
