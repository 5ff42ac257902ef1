//! What kernels cost is counted, not guessed: figures that were worked out by hand.

use std::sync::Arc;

use lal::engine::case::Case;
use lal::engine::device::DeviceError;
use lal::engine::device::gpu::recorder::{Part, Space};
use lal::engine::device::gpu::{Gpu, GpuOptions};
use lal::engine::dispatch::{Dispatch, In, Kernel, Operands, Out, Shader, Target};
use lal::engine::op::{AnyOp, Op, OpError, OpInfo, Twin};
use lal::engine::real::Real;
use lal::engine::step::Step;
use lal::engine::tensor::{Dtype, Spec};
use lal::engine::twin::{Elements, Io};
use lal::explain::counted::Counted;
use lal::explain::kernel::Explained;
use lal::explain::machine::Machine;
use lal::explain::predict::{Unit, predict};
use lal::explain::record::{Loaded, Work};
use lal::ops::add::Add;
use lal::ops::attention::Attention;
use lal::ops::attention_backward::AttentionBackward;
use lal::ops::gelu::{Gelu, GeluApproximation};
use lal::ops::matmul::Matmul;

/// A GPU that records; `None` where tests may go without one.
fn gpu() -> Option<Gpu> {
    match Gpu::open(GpuOptions { record: true, ..GpuOptions::default() }) {
        Ok(gpu) => Some(gpu),
        Err(DeviceError::NoAdapter) if std::env::var_os("LAL_ALLOW_NO_GPU").is_some() => None,
        Err(error) => panic!("{error}\nSet LAL_ALLOW_NO_GPU=1 to run the other tests without a GPU."),
    }
}

fn work(op: Arc<dyn AnyOp>, specs: &[Spec]) -> Work {
    let of = |spec: &Spec| match spec.dtype {
        Dtype::F32 => Elements::Real(vec![0.5; spec.shape.len()]),
        Dtype::U32 => Elements::Index(vec![0; spec.shape.len()]),
    };
    Work { op, specs: specs.to_vec(), inputs: specs.iter().map(of).collect(), step: Step::default() }
}

fn counted(gpu: &mut Gpu, work: &Work, variant: &str, dispatch: usize) -> Counted {
    let mut loaded = Loaded::new(gpu, work, Some(variant)).unwrap();
    assert_eq!(loaded.variant, variant);
    Counted::new(&mut loaded, dispatch).unwrap()
}

/// A step of k. A warp reads two vectors of `tile_a` and QUADS of `tile_b`, each the same for two neighbours: 2 cycles.
/// 64×64, 4 warps: 4 · 3 · 2 = 24. 128×64, 4 warps of two QUADS: 4 · 4 · 2 = 32. 128×128, 8 of them: 64. A thread's 32
/// or 64 multiply-adds, on four schedulers: 32, 64, 128 cycles.
#[test]
fn tiles_of_a_product_cost_what_the_model_says() {
    let Some(mut gpu) = gpu() else { return };
    let k = 128.0;
    for (variant, cycles, multiply_adds) in
        [("tiled", 24.0, 32.0), ("tiled_tall", 32.0, 64.0), ("tiled_large", 64.0, 128.0)]
    {
        let work = work(Arc::new(Matmul::default()), &[Spec::f32([128, 128]), Spec::f32([128, 128])]);
        let counted = counted(&mut gpu, &work, variant, 0);
        let reads: f64 = (counted.of.anatomy.sites.iter().zip(&counted.sites))
            .filter(|(site, _)| site.space == Space::Workgroup && !site.writes)
            .map(|(_, amounts)| amounts.cycles)
            .sum();
        assert_eq!(reads / k, cycles, "{variant}");
        // The scale and the bias of the results are in a file that other kernels share.
        let of_steps: f64 = (counted.lines.iter())
            .filter(|(line, _)| counted.of.lines[**line - 1].0 == Part::Own)
            .map(|(_, amounts)| amounts.multiply_adds)
            .sum();
        assert_eq!(of_steps / 4.0 / k, multiply_adds, "{variant}");
        // 4 workgroups, 2 or 1, each alone on its multiprocessor of 1.98 GHz.
        let prediction = predict(&counted, 0, &Machine::reference());
        let busy = prediction.us_of(Unit::WorkgroupMemory);
        assert!((busy - counted.total.cycles / 1980.0).abs() < 1e-9, "{variant}: {busy}");
        let groups = counted.workgroups() as f64;
        assert_eq!((prediction.waves, prediction.filled), (1, groups / 132.0), "{variant}");
    }
}

/// 64 keys meet two tiles of 32 queries, 64 wide: 4,736 cycles of workgroup memory per tile for 4 products of 2,048
/// multiply-adds per invocation, 16 for each of 32 terms of 2 parts.
#[test]
fn a_tile_of_keys_of_attention_costs_what_the_model_says() {
    let Some(mut gpu) = gpu() else { return };
    let (time, width) = (64, 64);
    let qkv = Spec::f32([1, time, 3 * width]);
    let (out, lse) = (Spec::f32([1, time, width]), Spec::f32([1, 1, time]));
    let work = work(Arc::new(AttentionBackward(Attention::new(1, false))), &[qkv, out, lse, out]);
    // The gradients of keys and values come after those of queries.
    let counted = counted(&mut gpu, &work, "flash", 1);
    assert_eq!((counted.of.shader, counted.workgroups()), ("attention/flash_keys", 1));
    let tiles = time as f64 / 32.0;
    assert_eq!(counted.total.cycles / tiles, 4_736.0);
    // The loop of shaders/common/tiles.wgsl.
    let of_tiles: f64 = (counted.lines.iter())
        .filter(|(line, _)| counted.of.lines[**line - 1].0 == Part::Common)
        .map(|(_, amounts)| amounts.multiply_adds)
        .sum();
    assert_eq!(of_tiles / 4.0 / tiles, 4_096.0);
}

/// One warp that writes and reads workgroup memory, and reads storage, at a stride; and does some arithmetic `times`
/// times.
#[derive(Debug)]
struct Strided {
    stride: u32,
    times: u32,
}

static STRIDED: OpInfo = OpInfo { name: "strided", formula: "y = x", cases: Vec::<Case>::new };

const SHADER: Shader = Shader {
    name: "strided",
    source: "const STRIDE: u32 = 1u;
const TIMES: u32 = 1u;
var<workgroup> words: array<f32, 1024>;
var<workgroup> quads: array<vec4<f32>, 64>;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
fn square(a: f32) -> f32 { return a * a; }
@compute @workgroup_size(32) fn main(@builtin(local_invocation_index) i: u32) {
    words[i * STRIDE] = x[i * STRIDE];
    quads[i] = vec4(f32(i));
    quads[i + 32u] = vec4(1.0);
    workgroupBarrier();
    let pairs = quads[i / 2u];
    let apart = quads[(i * 8u) % 64u];
    let same = words[STRIDE];
    var sum = 0.0;
    for (var n = 0u; n < TIMES + i; n++) {
        sum += square(pairs.x + f32(n));
        sum = fma(sum, 0.5, apart.y);
        sum = exp(sum) * same;
    }
    y[i] = sum;
}",
    common: &[],
    frame: "",
};

impl Op for Strided {
    fn info(&self) -> &'static OpInfo {
        &STRIDED
    }

    fn infer(&self, inputs: &[Spec]) -> Result<Vec<Spec>, OpError> {
        Ok(inputs.to_vec())
    }

    fn kernels(&self, _operands: &Operands, _target: &Target) -> Vec<Kernel> {
        let dispatch = Dispatch::new(SHADER).constant("STRIDE", self.stride).constant("TIMES", self.times);
        Kernel::plain(vec![dispatch.bind("x", In(0)).bind("y", Out(0))])
    }
}

impl Twin for Strided {
    fn twin<F: Real>(&self, _io: &mut Io<F>) {}
}

#[test]
fn conflicts_sectors_and_operations_are_those_of_the_text() {
    let Some(mut gpu) = gpu() else { return };
    // Stride, cycles of a write of 32 words, sectors of a read of them.
    for (stride, cycles, sectors) in [(1, 1.0, 4.0), (2, 2.0, 8.0), (32, 32.0, 32.0), (0, 1.0, 1.0)] {
        let work = work(Arc::new(Strided { stride, times: 3 }), &[Spec::f32([1024])]);
        let counted = counted(&mut gpu, &work, "plain", 0);
        let at = |expression: &str| {
            let mut sites = counted.of.anatomy.sites.iter().zip(&counted.sites);
            let found = sites.find(|(site, _)| site.expression == expression);
            *found.unwrap_or_else(|| panic!("{expression} is not among {:?}", counted.of.anatomy.sites)).1
        };
        let least = f64::from(stride.min(1) * 3 + 1);
        let (write, read) = (at("words[i * STRIDE]"), at("x[i * STRIDE]"));
        assert_eq!((write.cycles, write.least_cycles), (cycles, 1.0), "stride {stride}");
        assert_eq!((read.sectors, read.least_sectors), (sectors, least), "stride {stride}");
        assert_eq!((at("quads[i]").cycles, at("quads[i]").conflict()), (4.0, 1.0));
        assert_eq!((at("quads[i / 2u]").cycles, at("quads[i / 2u]").conflict()), (2.0, 1.0));
        assert_eq!((at("quads[(i * 8u) % 64u]").cycles, at("quads[(i * 8u) % 64u]").conflict()), (32.0, 8.0));
        assert_eq!((at("words[STRIDE]").cycles, at("y[i]").sectors), (1.0, 4.0));
        // The warp goes round as often as its last invocation: 3 + 31 times. Each time a product that a function
        // returns is added, which is one operation, as is the `fma`; a sum and a product of floats remain, and the
        // product that makes an exponential one of base 2.
        let total = counted.total;
        assert_eq!((total.multiply_adds, total.floats, total.special), (68.0, 102.0, 34.0));
        assert_eq!(total.barriers, 1.0);
        assert_eq!(counted.of.anatomy.workgroup_bytes, 5120);
        assert_eq!((counted.workgroups(), counted.recorded, counted.left_out), (1, 1, 0.0));
        assert!((10..30).contains(&counted.of.anatomy.registers), "{}", counted.of.anatomy.registers);
        let exp = counted.of.text.lines().position(|line| line.contains("exp(")).unwrap() + 1;
        assert_eq!(counted.lines[&exp].special, 34.0);
    }
}

/// What is read once and written once, and what is read and written in place, at 3,350 billion bytes per second.
#[test]
fn elementwise_kernels_move_their_operands_once() {
    let Some(mut gpu) = gpu() else { return };
    let spec = Spec::f32([1 << 20]);
    for (work, operands) in [
        (work(Arc::new(Gelu(GeluApproximation::Tanh)), &[spec]), 2.0),
        (work(Arc::new(Add), &[spec, spec]), 3.0),
    ] {
        let explained = Explained::new(&mut gpu, &work, None, &Machine::reference()).unwrap();
        let [(counted, prediction)] = explained.dispatches.as_slice() else { panic!("{work:?}") };
        let us = operands * f64::from(4 << 20) / 3_350e3;
        assert!((prediction.us_of(Unit::Memory) - us).abs() < 1e-6, "{:?}", prediction.units);
        assert_eq!((counted.total.excess(), counted.total.conflict()), (1.0, 1.0));
        assert!((explained.percent() - 100.0 * us / (us + 5.0)).abs() < 1e-6, "{}", explained.percent());
    }
}

/// More accesses than the record holds are told, and counted as the others.
#[test]
fn what_the_record_has_no_room_for_is_told() {
    let Some(mut gpu) = gpu() else { return };
    let k = 60_000;
    let work = work(Arc::new(Matmul::LINEAR), &[Spec::f32([8, k]), Spec::f32([8, k])]);
    let counted = counted(&mut gpu, &work, "naive", 0);
    assert!(counted.left_out > 0.01, "{}", counted.left_out);
    // Two warps of 8 by 4 invocations read a row of A and one of B each step.
    assert_eq!(counted.total.multiply_adds, 2.0 * k as f64);
    let reads: f64 = counted
        .of
        .anatomy
        .sites
        .iter()
        .zip(&counted.sites)
        .filter(|(site, _)| !site.writes)
        .map(|(_, a)| a.accesses)
        .sum();
    assert!(reads >= 4.0 * k as f64, "{reads}");
}

/// What `lal explain` prints, and what it refuses.
#[test]
fn the_command_lists_the_hot_lines_and_refuses_by_name() {
    let lal =
        |args: &[&str]| std::process::Command::new(env!("CARGO_BIN_EXE_lal")).args(args).output().unwrap();
    let refused = |args: &[&str], words: &[&str]| {
        let output = lal(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        words.iter().for_each(|words| assert!(said.contains(words), "{said:?} says nothing of {words:?}"));
    };
    refused(&["explain", "matmuls"], &["there is no op", "layer_norm"]);
    refused(&["explain", "matmul", "--shape", "0x1x2"], &["0×1×2", "M×N×K"]);
    refused(&["explain", "gelu", "--case", "nothing of the kind"], &["lal verify -v --op gelu"]);
    refused(&["explain", "gelu", "--machine", "abacus"], &["abacus", "h100"]);
    refused(&["explain", "gelu", "--device", "cpu"], &["leave out --device cpu"]);
    if gpu().is_none() {
        return;
    }
    refused(&["explain", "reshape"], &["reshape starts no kernel"]);
    refused(&["explain", "matmul/quick", "--shape", "9x9x9"], &["quick", "naive", "tiled"]);
    let text = String::from_utf8(lal(&["explain", "matmul/tiled", "--shape", "70x66x40"]).stdout).unwrap();
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    for part in
        ["matmul/tiled 70×40 66×40 70×66 on ", "bound by ", "tile_b[at_b]", "a workgroup: 128 invocations"]
    {
        assert!(text.contains(part), "{text}");
    }
    let json =
        String::from_utf8(lal(&["explain", "matmul/tiled", "--shape", "70x66x40", "--json"]).stdout).unwrap();
    let lines: Vec<serde_json::Value> =
        json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [explained, done] = lines.as_slice() else { panic!("{json}") };
    assert_eq!((&explained["event"], &done["event"]), (&"explained".into(), &"done".into()));
    let dispatch = &explained["dispatches"][0];
    let units = dispatch["units"].as_array().unwrap();
    let longest = units.iter().map(|unit| unit["us"].as_f64().unwrap()).fold(0.0, f64::max);
    assert_eq!(units[0]["us"].as_f64(), Some(longest));
    assert_eq!(dispatch["workgroup_bytes"], 16_384);
    let sites = dispatch["sites"].as_array().unwrap();
    let of_b = sites.iter().find(|site| site["expression"] == "tile_b[at_b]").unwrap();
    // The first of four steps that are written out: three stages of four such, two cycles for each of four warps.
    assert_eq!((of_b["cycles"].as_f64(), of_b["conflict"].as_f64()), (Some(96.0), Some(1.0)));
    assert_eq!((&of_b["file"], of_b["requests"].as_f64()), (&"own".into(), Some(48.0)));
}
