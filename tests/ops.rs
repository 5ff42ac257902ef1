//! Every op of the registry on every case: its fast twin, its kernels and its derivative against the f64 twin.

use std::convert::Infallible;

use lal::engine::case::Case;
use lal::engine::device::DeviceError;
use lal::engine::device::gpu::adapter::DeviceLimits;
use lal::engine::device::gpu::{Gpu, GpuOptions};
use lal::engine::dispatch::{Kernel, Operand, Operands, Target};
use lal::ops::OPS;
use lal::verify::check::{Prepared, check_twin, is_folded, run_twin, specs};
use lal::verify::compare::compare_with;
use lal::verify::crew::{Crew, WAYS, Way};
use lal::verify::derivative::check_derivative;
use lal::verify::inputs::draw;
use lal::verify::lockstep::{allowed, exact};
use lal::verify::walk::Walk;
use lal::verify::{Check, CheckKind};

fn cases() -> impl Iterator<Item = Case> {
    OPS.iter().flat_map(|op| (op.cases)())
}

fn assert_all_pass(checks: impl IntoIterator<Item = Check>) {
    let failures: Vec<_> = checks.into_iter().filter(|c| !c.passed()).map(|c| c.to_string()).collect();
    assert!(failures.is_empty(), "{} checks failed:\n{}", failures.len(), failures.join("\n"));
}

/// Devices that show stray reads and writes; `None` where tests may go without one.
fn crews(ways: &[Way], limits: DeviceLimits) -> Option<Vec<Crew>> {
    match Crew::all(ways, |options| Gpu::open(GpuOptions { limits, ..options }).map(Some)) {
        Ok(crews) => Some(crews),
        Err(DeviceError::NoAdapter) if std::env::var_os("LAL_ALLOW_NO_GPU").is_some() => None,
        Err(error) => panic!("{error}\nSet LAL_ALLOW_NO_GPU=1 to run the other tests without a GPU."),
    }
}

/// Every kernel of every case in these ways.
fn check_kernels(ways: &[Way], limits: DeviceLimits) {
    let Some(mut crews) = crews(ways, limits) else { return };
    let mut kernels = Vec::new();
    let walk = Walk::new(cases().collect(), &mut crews[0]);
    let run = walk.run(&mut crews, |_, checks| {
        kernels.extend(checks.into_iter().filter(|check| check.kind == CheckKind::Kernel));
        Ok::<_, Infallible>(())
    });
    run.unwrap_or_else(|never| match never {});
    assert_all_pass(kernels);
}

/// Whether an op splits these operands into more and smaller bindings than one each.
fn is_split(case: &Case, target: &Target) -> bool {
    let inputs: Vec<_> = case.inputs.iter().map(|i| i.spec).collect();
    let outputs = case.op.infer(&inputs).unwrap_or_else(|e| panic!("{}: {e}", case.name()));
    let kernels = |target| case.op.kernels(&Operands { inputs: &inputs, outputs: &outputs }, target);
    let len = |kernel: &Kernel, operand| match operand {
        Operand::In(i) => inputs[i].shape.len(),
        Operand::Out(i) => outputs[i].shape.len(),
        Operand::Scratch => kernel.scratch,
    };
    let fits = |kernel: &Kernel| {
        kernel.dispatches.iter().flat_map(|d| &d.bindings).all(|binding| {
            let elements = binding.range.map_or_else(|| len(kernel, binding.operand), |(_, n)| n);
            4 * elements as u64 <= target.max_binding_bytes
        })
    };
    let dispatches = |kernels: &[Kernel]| kernels.iter().map(|k| k.dispatches.len()).sum::<usize>();
    let (whole, split) = (kernels(&Target::WEBGPU), kernels(target));
    split.iter().all(fits) && dispatches(&split) > dispatches(&whole)
}

/// Half of each bound is room for what kernels do otherwise: other orders of sums, other roundings.
#[test]
fn f32_twins_stay_within_half_of_each_bound() {
    let beyond_half = |mut check: Check| {
        let ratio = check.worst.ratio();
        if check.passed() && ratio > 0.5 {
            check.failure = Some(format!("{ratio:.2} of its bound, at {}", check.worst.at));
        }
        check
    };
    assert_all_pass(cases().map(|case| beyond_half(check_twin(&case))));
}

/// The bounds that `--preset`, `--model` and `--lockstep` derive from operands, on the same cases.
#[test]
fn f32_twins_stay_within_half_of_each_derived_bound() {
    let mut beyond = Vec::new();
    for case in cases() {
        let (in_specs, out_specs) = specs(&case).unwrap_or_else(|e| panic!("{}: {e}", case.name()));
        let inputs = draw(&case);
        let both = [in_specs.as_slice(), out_specs.as_slice()];
        let got = run_twin(case.op.as_ref(), both, &inputs, &case.step);
        let want = run_twin(case.op.as_ref(), both, &exact(&inputs), &case.step);
        for (i, (got, want)) in got.iter().zip(&want).enumerate() {
            let half = want.iter().map(|w| (w.value, 0.5 * allowed(*w)));
            let worst = compare_with(got.iter().map(|&x| x.into()), half, out_specs[i].shape);
            beyond.extend(worst.failure.map(|message| format!("{} output {i} {message}", case.name())));
        }
    }
    assert!(beyond.is_empty(), "{} are beyond half their bound:\n{}", beyond.len(), beyond.join("\n"));
}

/// Bytes of small bindings, and an op that is split by them: those that cut whole blocks of rows need more than those
/// that cut anywhere.
const SMALL: [(u64, &str); 2] = [(1 << 10, "gelu"), (32 << 10, "matmul")];

#[test]
fn kernels_stay_near_the_oracle_whole_and_when_tensors_are_bound_in_parts() {
    let whole = Way { name: "whole", checked: false, max_grid: None, max_binding_bytes: None };
    let parts = SMALL.map(|(most, _)| Way { name: "in parts", max_binding_bytes: Some(most), ..whole });
    check_kernels(&[whole, parts[0], parts[1]], DeviceLimits::Adapter);
}

#[test]
fn kernels_stay_near_the_oracle_with_the_least_limits_and_bounds_checks() {
    let checked = Way { name: "checked", checked: true, max_grid: None, max_binding_bytes: None };
    check_kernels(&[checked], DeviceLimits::WebGpu);
}

#[test]
fn small_bindings_split_tensors() {
    for (most, expected) in SMALL {
        let target = Target { max_binding_bytes: most, ..Target::WEBGPU };
        let mut ops: Vec<_> =
            cases().filter(|case| is_split(case, &target)).map(|case| case.op.info().name).collect();
        ops.dedup();
        println!("bound in parts of {most} bytes: {}", ops.join(", "));
        assert!(ops.contains(&expected), "a target with small bindings does not split {expected}");
    }
}

#[test]
fn derivatives_agree_with_finite_differences() {
    let mut without = Vec::new();
    for op in OPS {
        let checks: Vec<_> = (op.cases)().iter().flat_map(check_derivative).collect();
        if checks.is_empty() {
            without.push(op.name);
        }
        assert_all_pass(checks);
    }
    println!("without a derivative: {}", without.join(", "));
}

/// What threads find, put in order, is what one thread finds that takes case after case, way after way.
#[test]
fn verdicts_of_several_threads_come_in_the_order_of_the_cases() {
    let Some(mut crews) = crews(&WAYS, DeviceLimits::Adapter) else { return };
    crews.truncate(1);
    let cases: Vec<_> = ["add_heads", "sum", "gelu"]
        .iter()
        .flat_map(|name| (OPS.iter().find(|op| op.name == *name).unwrap().cases)())
        .collect();
    let told = |check: &Check| format!("{check}, {:?}", check.worst);
    let mut want = Vec::new();
    for case in &cases {
        want.push(told(&check_twin(case)));
        want.extend(check_derivative(case).iter().map(told));
        for way in WAYS {
            let gpu = crews[0].ready(&way);
            let prepared = Prepared::new(case.clone()).unwrap();
            if way.max_grid.is_some() && !is_folded(case, gpu.target()) {
                continue;
            }
            let target = gpu.target().clone();
            let in_parts = way.max_binding_bytes.is_some();
            for mut check in prepared.check(gpu, |kernel| !in_parts || prepared.fits(kernel, &target)) {
                check.variant = format!("{} {}", check.variant, way.name);
                want.push(told(&check));
            }
        }
    }
    for way in WAYS {
        assert!(
            want.iter().any(|told| told.contains(&format!(" {} on ", way.name))),
            "nothing is {}",
            way.name
        );
    }
    crews.extend(self::crews(&WAYS, DeviceLimits::Adapter).unwrap());
    let mut got = Vec::new();
    let run = Walk::new(cases, &mut crews[0]).run(&mut crews, |case, checks| {
        assert!(checks.iter().all(|check| check.case == case.name()));
        got.extend(checks.iter().map(told));
        Ok::<_, Infallible>(())
    });
    run.unwrap_or_else(|never| match never {});
    assert_eq!(got, want);
}
