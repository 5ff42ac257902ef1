//! Every op of the registry on every case: its fast twin, its kernels and its derivative against the f64 twin.

use lal::engine::case::Case;
use lal::engine::device::DeviceError;
use lal::engine::device::gpu::adapter::DeviceLimits;
use lal::engine::device::gpu::{Gpu, GpuOptions};
use lal::engine::dispatch::{Kernel, Operand, Operands, Target};
use lal::ops::OPS;
use lal::verify::Check;
use lal::verify::check::{check_kernels, check_twin, run_twin, specs};
use lal::verify::compare::compare_with;
use lal::verify::derivative::check_derivative;
use lal::verify::inputs::draw;
use lal::verify::lockstep::{allowed, exact};

fn cases() -> impl Iterator<Item = Case> {
    OPS.iter().flat_map(|op| (op.cases)())
}

fn assert_all_pass(checks: impl IntoIterator<Item = Check>) {
    let failures: Vec<_> = checks.into_iter().filter(|c| !c.passed()).map(|c| c.to_string()).collect();
    assert!(failures.is_empty(), "{} checks failed:\n{}", failures.len(), failures.join("\n"));
}

/// A device that shows stray reads and writes; `None` where tests may go without one.
fn gpu(options: GpuOptions) -> Option<Gpu> {
    match Gpu::open(GpuOptions { poison: true, ..options }) {
        Ok(gpu) => Some(gpu),
        Err(DeviceError::NoAdapter) if std::env::var_os("LAL_ALLOW_NO_GPU").is_some() => None,
        Err(error) => panic!("{error}\nSet LAL_ALLOW_NO_GPU=1 to run the other tests without a GPU."),
    }
}

fn check_on(options: GpuOptions) {
    if let Some(mut gpu) = gpu(options) {
        assert_all_pass(cases().flat_map(|case| check_kernels(&mut gpu, &case)));
    }
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

#[test]
fn kernels_stay_near_the_oracle() {
    check_on(GpuOptions::default());
}

#[test]
fn kernels_stay_near_the_oracle_with_the_least_limits_and_bounds_checks() {
    check_on(GpuOptions { limits: DeviceLimits::WebGpu, checked: true, ..GpuOptions::default() });
}

#[test]
fn kernels_stay_near_the_oracle_when_tensors_are_bound_in_parts() {
    // Ops that cut whole blocks of rows need more than those that cut anywhere.
    for (most, expected) in [(1 << 10, "gelu"), (32 << 10, "matmul")] {
        let small = GpuOptions { max_binding_bytes: Some(most), ..GpuOptions::default() };
        let Some(mut gpu) = gpu(small) else { return };
        let split: Vec<_> = cases().filter(|case| is_split(case, gpu.target())).collect();
        let mut ops: Vec<_> = split.iter().map(|case| case.op.info().name).collect();
        ops.dedup();
        println!("bound in parts of {most} bytes: {}", ops.join(", "));
        assert!(ops.contains(&expected), "a target with small bindings does not split {expected}");
        assert_all_pass(split.iter().flat_map(|case| check_kernels(&mut gpu, case)));
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
