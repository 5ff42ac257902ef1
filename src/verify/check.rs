//! Twins and kernels against the f64 twin.

use std::sync::Arc;

use super::compare::compare;
use super::inputs::{draw, widen};
use super::{Check, Kind};
use crate::engine::case::Case;
use crate::engine::device::cpu::Precision;
use crate::engine::device::gpu::Gpu;
use crate::engine::device::{Device, DeviceError, HostData};
use crate::engine::dispatch::Operands;
use crate::engine::op::{OpError, Record};
use crate::engine::plan::Plan;
use crate::engine::tape::Tape;
use crate::engine::tensor::Spec;
use crate::engine::twin::{Elements, Io};

/// The types of a case's operands.
pub fn specs(case: &Case) -> Result<(Vec<Spec>, Vec<Spec>), OpError> {
    let inputs: Vec<_> = case.inputs.iter().map(|i| i.spec).collect();
    let outputs = case.op.infer(&inputs)?;
    Ok((inputs, outputs))
}

/// What the twin makes of these operands.
///
/// # Errors
/// When the operands break the op's contract.
pub fn twin<F: Precision>(case: &Case, inputs: &[Elements<F>]) -> Result<Vec<Vec<F>>, OpError> {
    let (in_specs, out_specs) = specs(case)?;
    let mut outputs: Vec<_> = out_specs.iter().map(|&spec| Elements::zeros(spec)).collect();
    let overwritten = Elements::default();
    let mut seen: Vec<_> = inputs.iter().collect();
    for (output, input) in case.op.in_place() {
        outputs[output] = inputs[input].clone();
        seen[input] = &overwritten;
    }
    let mut io = Io {
        inputs: &seen,
        outputs: &mut outputs,
        in_specs: &in_specs,
        out_specs: &out_specs,
        step: &case.step,
    };
    F::run(case.op.as_ref(), &mut io);
    let real = |elements| match elements {
        Elements::Real(x) => x,
        Elements::Index(_) => Vec::new(),
    };
    Ok(outputs.into_iter().map(real).collect())
}

/// The f32 twin against the f64 twin.
pub fn check_twin(case: &Case) -> Check {
    let mut check = Check::of(case, "f32", Kind::Twin);
    let inputs = draw(case);
    match (twin(case, &inputs), twin(case, &widen(&inputs))) {
        (Ok(got), Ok(want)) => compare_outputs(&mut check, case, &got, &want),
        (Err(error), _) | (_, Err(error)) => check.fail(error),
    }
    check
}

/// Every kernel of a case's op against the f64 twin. A device opened with `poison` also shows reads and
/// writes beyond the ends of tensors.
pub fn check_kernels(gpu: &mut Gpu, case: &Case) -> Vec<Check> {
    let inputs = draw(case);
    let prepared = specs(case).and_then(|specs| Ok((specs, twin(case, &widen(&inputs))?)));
    let ((in_specs, out_specs), want) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            let mut check = Check::of(case, "all", Kind::Kernel);
            check.fail(error);
            return vec![check];
        }
    };
    let operands = Operands { inputs: &in_specs, outputs: &out_specs };
    let kernels = case.op.kernels(&operands, gpu.target());
    kernels
        .iter()
        .map(|kernel| {
            let mut check = Check::of(case, kernel.variant, Kind::Kernel);
            gpu.force_variant(Some(kernel.variant));
            match run_kernel(gpu, case, &inputs, &mut check) {
                Ok(got) => compare_outputs(&mut check, case, &got, &want),
                Err(error) => check.fail(error),
            }
            gpu.force_variant(None);
            gpu.clear();
            check
        })
        .collect()
}

/// Runs an op alone on the GPU and returns its outputs.
fn run_kernel(
    gpu: &mut Gpu,
    case: &Case,
    inputs: &[Elements<f32>],
    check: &mut Check,
) -> Result<Vec<Vec<f32>>, Box<dyn std::error::Error>> {
    let mut tape = Tape::new("case");
    let names: Vec<_> = (0..inputs.len()).map(|i| format!("input {i}")).collect();
    let vars: Vec<_> = names.iter().zip(&case.inputs).map(|(name, i)| tape.input(name, i.spec)).collect();
    let outputs = tape.record(case.op.clone(), &vars)?;
    let plan = gpu.load(&Arc::new(Plan::new(&tape, &outputs)?), 0)?;
    for (name, elements) in names.iter().zip(inputs) {
        let data = match elements {
            Elements::Real(x) => HostData::F32(x),
            Elements::Index(x) => HostData::U32(x),
        };
        gpu.set_input(plan, name, data)?;
    }
    gpu.run(plan, 0, &case.step)?;
    let lost = || DeviceError::Gpu("the outputs did not come back".into());
    let results = gpu.results(true)?.ok_or_else(lost)?;
    if let Some(tensor) = gpu.stray_write(plan)? {
        check.fail(format!("writes beyond the end of {tensor}"));
    }
    Ok(results)
}

fn compare_outputs(check: &mut Check, case: &Case, got: &[Vec<f32>], want: &[Vec<f64>]) {
    let out_specs = specs(case).map(|(_, outputs)| outputs).unwrap_or_default();
    for (i, spec) in out_specs.iter().enumerate() {
        check.add(format!("output {i}"), compare(&got[i], &want[i], spec.shape, case.bound));
    }
}
