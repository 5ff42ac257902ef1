//! Profiles: costs in closed form, times that add up, traces that nest, probes that compute what they say.

use std::sync::Arc;

use lal::engine::device::cpu::Cpu;
use lal::engine::device::gpu::{Gpu, GpuOptions};
use lal::engine::device::{Device, DeviceError, HostData};
use lal::engine::op::AnyOp;
use lal::engine::plan::Plan;
use lal::engine::step::Step;
use lal::engine::tape::Tape;
use lal::engine::tensor::Spec;
use lal::engine::twin::Elements;
use lal::models::config::ModelConfig;
use lal::profile::bench::ladder;
use lal::profile::errors::Errors;
use lal::profile::html::page;
use lal::profile::measure::measure;
use lal::profile::probes::matrix::{Matrix, Tile};
use lal::profile::probes::multiply_add::{Form, MultiplyAdd};
use lal::profile::probes::reduction::Reduction;
use lal::profile::probes::rounding::Rounding;
use lal::profile::probes::stream::{Copy, Read, Walk};
use lal::profile::probes::workgroup_memory::{Access, WorkgroupMemory};
use lal::profile::probes::{PROBES, Probe};
use lal::profile::report::Report;
use lal::profile::roofline::Roofline;
use lal::profile::subject::Subject;
use lal::profile::trace::Trace;
use lal::profile::workload::Workload;
use lal::run::config::TrainConfig;
use lal::run::presets;
use lal::verify::check::{check_kernels, check_twin, run_twin};
use serde_json::Value;

const ROOFLINE: Roofline = Roofline { gflops: 100.0, gbps: 10.0 };

/// Opens the GPU; `None` where tests may go without one.
fn gpu() -> Option<Gpu> {
    match Gpu::open(GpuOptions::default()) {
        Ok(gpu) => Some(gpu),
        Err(DeviceError::NoAdapter) if std::env::var_os("LAL_ALLOW_NO_GPU").is_some() => None,
        Err(error) => panic!("{error}\nSet LAL_ALLOW_NO_GPU=1 to run the other tests without a GPU."),
    }
}

fn mini() -> TrainConfig {
    presets::named("mini").expect("mini is a preset")
}

/// A step of milliseconds, in two micro-steps.
fn tiny() -> Workload {
    let model = ModelConfig { n_layer: 1, n_head: 2, n_embd: 32, block_size: 16, ..mini().model };
    let config = TrainConfig { model, batch_size: 4, grad_accum: 2, ..mini() };
    Workload::pretraining(&config, &config.model(65)).unwrap_or_else(|e| panic!("{e}"))
}

fn report(device: &mut dyn Subject, work: &mut Workload) -> (Report, Trace, String) {
    let times = measure(device, work).unwrap_or_else(|e| panic!("{e}"));
    let report = Report::new(device.describe(), work, &times, ROOFLINE, &Errors::default());
    let (trace, html) = (Trace::new(&report, work, &times), page(&report, work, &times, &[]));
    (report, trace, html)
}

#[test]
fn the_flops_of_a_step_are_those_of_the_closed_formula() {
    let config = mini();
    let model = config.model(65);
    let work = Workload::pretraining(&config, &model).unwrap_or_else(|e| panic!("{e}"));
    let flops = |op: &str| -> u64 {
        work.plan.nodes.iter().filter(|n| n.op.info().name == op).map(|n| n.cost().flops).sum()
    };
    let (rows, width, layers) = (12 * 64, 128, 4);
    // Each weight takes a multiply-add per token forwards and two backwards: 12 width² in a block, and the
    // head's.
    assert_eq!(flops("matmul"), 6 * rows * (layers * 12 * width * width + 65 * width));
    // Scores and their sum, causal: half the square and the diagonal; five such products backwards.
    let product = |times: u64| times * layers * 12 * width * 64 * 65;
    assert_eq!(flops("attention"), product(2));
    assert_eq!(flops("attention_backward"), product(5));
}

#[test]
fn every_kernel_of_a_report_has_its_error_beside_it() {
    let Some(mut gpu) = gpu() else { return };
    let given = tiny();
    let mut work = given.clone();
    let times = measure(&mut gpu, &mut work).unwrap_or_else(|e| panic!("{e}"));
    let Ok(mut gpu) = Gpu::open(GpuOptions { poison: true, ..GpuOptions::default() }) else { return };
    let errors = Errors::measure(&mut gpu, &given).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((errors.skipped, errors.wrong().len()), (0, 0));
    let report = Report::new(gpu.describe(), &work, &times, ROOFLINE, &errors);
    for row in &report.rows {
        let error = row.error.unwrap_or_else(|| panic!("{} {} {} has none", row.op, row.variant, row.shape));
        assert!((0.0..=1.0).contains(&error), "{} {}: {error}", row.op, row.variant);
    }
    // Sums in f32 are not those of the oracle.
    assert!(report.rows.iter().any(|row| row.op == "matmul" && row.error > Some(0.0)));
    assert!(report.to_text(usize::MAX).contains("of bound"));
}

#[test]
fn every_node_is_in_the_report_and_in_the_trace() {
    let mut devices: Vec<Box<dyn Subject>> = vec![Box::new(Cpu::<f32>::default())];
    devices.extend(gpu().map(|gpu| Box::new(gpu) as Box<dyn Subject>));
    for device in &mut devices {
        let mut work = tiny();
        let (report, trace, html) = report(device.as_mut(), &mut work);
        let times = |node: usize| {
            let part = work.parts.iter().find(|p| work.plan.phases[p.phase].nodes.contains(&node));
            part.map_or(0, |part| part.times)
        };
        let calls: usize = (0..work.plan.nodes.len()).map(times).sum();
        assert_eq!(report.rows.iter().map(|row| row.calls).sum::<usize>(), calls);
        assert_eq!(report.rows.iter().map(|row| row.cost.flops).sum::<u64>(), report.flops);
        let share: f64 = report.rows.iter().map(|row| row.share).sum();
        assert!((share - 1.0).abs() < 1e-6, "shares add up to {share}");
        assert!(report.gpu_us > 0.0 && report.step_us >= report.gpu_us * 0.5, "{report:?}");
        assert!(report.runs >= 3 && report.median_us >= report.step_us * 0.5, "{report:?}");
        assert!(html.starts_with("<!doctype html>") && !html.contains("http"), "the page needs others");
        assert_nested(&serde_json::to_value(trace).unwrap_or_else(|e| panic!("{e}")), &work);
    }
}

/// Complete events of a lane, which must lie inside each other or apart.
fn assert_nested(trace: &Value, work: &Workload) {
    let events = trace["traceEvents"].as_array().expect("a trace has events");
    let nodes = events.iter().filter(|e| e["cat"] == "node").count();
    assert!(nodes >= work.plan.nodes.len() - 4, "{nodes} of {} nodes", work.plan.nodes.len());
    for lane in [1, 2] {
        let mut open: Vec<f64> = Vec::new();
        for event in events.iter().filter(|e| e["ph"] == "X" && e["pid"] == lane) {
            let number = |key: &str| event[key].as_f64().unwrap_or_else(|| panic!("{event} has no {key}"));
            let (start, end) = (number("ts"), number("ts") + number("dur"));
            while open.last().is_some_and(|&outer| outer <= start + 1e-6) {
                open.pop();
            }
            assert!(open.last().is_none_or(|&outer| end <= outer + 1e-3), "{event} leaves its parent");
            open.push(end);
        }
    }
}

#[test]
fn kernels_add_up_to_the_step() {
    let Some(mut gpu) = gpu() else { return };
    let config = TrainConfig { model: ModelConfig { n_layer: 1, ..mini().model }, batch_size: 6, ..mini() };
    let mut work = Workload::pretraining(&config, &config.model(65)).unwrap_or_else(|e| panic!("{e}"));
    let (report, ..) = report(&mut gpu, &mut work);
    // The machine may be busy with other tests; `lal profile` on a quiet one is within 10%.
    assert!(report.sum_error().abs() < 0.5, "kernels {} µs, step {} µs", report.kernels_us, report.gpu_us);
}

/// Opens the GPU with all that it has.
fn extended() -> Option<Gpu> {
    gpu()?;
    Some(
        Gpu::open(GpuOptions { extensions: true, ..GpuOptions::default() }).unwrap_or_else(|e| panic!("{e}")),
    )
}

#[test]
fn probes_compute_what_they_say() {
    let mut gpu = extended();
    for case in PROBES.iter().flat_map(|op| (op.cases)()) {
        let kernels = gpu.as_mut().map_or_else(Vec::new, |gpu| check_kernels(gpu, &case));
        for check in kernels.into_iter().chain([check_twin(&case)]) {
            assert!(check.passed(), "{check}");
        }
    }
}

/// What a probe is expected to make of ones, by its twin.
#[test]
fn probes_expect_what_they_compute() {
    let tile = Tile { size: 8, half_operands: true, half_result: false };
    let walk = Walk::new(1 << 10, 256, 3);
    let probes: [Arc<dyn Probe>; 9] = [
        Arc::new(MultiplyAdd { form: Form::Fma, threads: 7, rounds: 8 }),
        Arc::new(MultiplyAdd { form: Form::TwoOps, threads: 1, rounds: 1024 }),
        Arc::new(Copy(walk)),
        Arc::new(Read(walk)),
        Arc::new(WorkgroupMemory { access: Access::Words { stride: 8 }, groups: 1, rounds: 3 }),
        Arc::new(WorkgroupMemory { access: Access::PairedVectors, groups: 1, rounds: 2 }),
        Arc::new(Reduction { subgroups: false, groups: 2, rounds: 3 }),
        Arc::new(Matrix { tile, groups: 2, subgroups: None }),
        Arc::new(Matrix { tile, groups: 1, subgroups: Some(4) }),
    ];
    for probe in probes {
        let inputs = probe.inputs();
        let outputs = probe.infer(&inputs).unwrap_or_else(|e| panic!("{e}"));
        let ones: Vec<_> = inputs.iter().map(|spec| Elements::Real(vec![1.0; spec.shape.len()])).collect();
        let op: &dyn AnyOp = probe.as_ref();
        let made = run_twin::<f64>(op, [&inputs, &outputs], &ones, &Step::default());
        assert!(made[0].iter().all(|&y| y == f64::from(probe.expected())), "{probe:?}: {:?}", made[0]);
    }
}

/// The device decides by its results what the processor decides by its instructions.
#[test]
fn a_fused_multiply_add_is_found_out() {
    let fused = |device: &mut dyn Subject, fma: bool| {
        let operands = Rounding::operands();
        let mut tape = Tape::new("rounding");
        let inputs = ["a", "b", "c"].map(|name| tape.input(name, Spec::f32([operands[0].len()])));
        let y = tape.apply_one(Rounding { fma }, &inputs).unwrap_or_else(|e| panic!("{e}"));
        let plan = Plan::new(&tape, &[y]).unwrap_or_else(|e| panic!("{e}"));
        let plan = device.load(&Arc::new(plan), 0).unwrap_or_else(|e| panic!("{e}"));
        for (name, operand) in ["a", "b", "c"].iter().zip(&operands) {
            device.set_input(plan, name, HostData::F32(operand)).unwrap_or_else(|e| panic!("{e}"));
        }
        device.run(plan, 0, &Step::default()).unwrap_or_else(|e| panic!("{e}"));
        let y =
            device.results(true).unwrap_or_else(|e| panic!("{e}")).expect("the plan has a result").remove(0);
        (y.clone(), Rounding::is_fused(&y))
    };
    let mut cpu = Cpu::<f32>::default();
    let [a, b, c] = Rounding::operands();
    let once: Vec<_> = (0..a.len()).map(|i| a[i].mul_add(b[i], c[i])).collect();
    let twice: Vec<_> = (0..a.len()).map(|i| a[i] * b[i] + c[i]).collect();
    assert_eq!(fused(&mut cpu, true), (once.clone(), Some(true)));
    assert_eq!(fused(&mut cpu, false), (twice.clone(), Some(false)));
    let Some(mut gpu) = gpu() else { return };
    for fma in [true, false] {
        let (y, is_fused) = fused(&mut gpu, fma);
        let is_fused = is_fused.unwrap_or_else(|| panic!("neither one rounding nor two: {y:?}"));
        assert_eq!(y, if is_fused { once.clone() } else { twice.clone() });
    }
}

#[test]
fn the_ladder_has_every_op_of_the_presets_and_runs() {
    let rungs = ladder(&["mini"], None).unwrap_or_else(|e| panic!("{e}"));
    for op in ["matmul", "attention", "attention_cached", "adamw", "embedding"] {
        assert!(rungs.iter().any(|rung| rung.op == op), "no shape of {op}");
    }
    let mut cpu = Cpu::<f32>::default();
    for rung in rungs.iter().filter(|rung| ["adamw", "sum", "embedding"].contains(&rung.op)) {
        let figures = rung.measure(&mut cpu, &ROOFLINE).unwrap_or_else(|e| panic!("{e}"));
        assert!(figures.len() == 1 && figures[0].us > 0.0 && figures[0].chosen, "{figures:?}");
    }
}
