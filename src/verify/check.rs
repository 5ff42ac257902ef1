//! Twins and kernels against the f64 twin.

use std::sync::Arc;

use super::compare::compare;
use super::inputs::{draw, widen};
use super::{Check, CheckKind};
use crate::engine::case::Case;
use crate::engine::device::cpu::Precision;
use crate::engine::device::gpu::Gpu;
use crate::engine::device::{Device, DeviceError, HostData};
use crate::engine::dispatch::{Kernel, Operand, Operands, Target};
use crate::engine::op::{AnyOp, OpError, Record};
use crate::engine::plan::Plan;
use crate::engine::step::Step;
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
pub fn twin<F: Precision>(case: &Case, inputs: &[Elements<F>]) -> Result<Vec<Vec<F>>, OpError> {
    let (in_specs, out_specs) = specs(case)?;
    Ok(run_twin(case.op.as_ref(), [&in_specs, &out_specs], inputs, &case.step))
}

/// What the twin of an op makes of operands that fit its contract.
pub fn run_twin<F: Precision>(
    op: &dyn AnyOp,
    [in_specs, out_specs]: [&[Spec]; 2],
    inputs: &[Elements<F>],
    step: &Step,
) -> Vec<Vec<F>> {
    let mut outputs: Vec<_> = out_specs.iter().map(|&spec| Elements::zeros(spec)).collect();
    let overwritten = Elements::default();
    let mut seen: Vec<_> = inputs.iter().collect();
    for (output, input) in op.in_place() {
        outputs[output] = inputs[input].clone();
        seen[input] = &overwritten;
    }
    F::run(op, &mut Io { inputs: &seen, outputs: &mut outputs, in_specs, out_specs, step });
    outputs.into_iter().map(Elements::into_numbers).collect()
}

/// The f32 twin against the f64 twin.
pub fn check_twin(case: &Case) -> Check {
    let mut check = Check::of(case, "f32", CheckKind::Twin);
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
    match Prepared::new(case.clone()) {
        Ok(prepared) => prepared.check(gpu, |_| true),
        Err(error) => {
            let mut check = Check::of(case, "all", CheckKind::Kernel);
            check.fail(error);
            vec![check]
        }
    }
}

/// A case with its operands drawn and its oracle asked, to be run many times.
pub struct Prepared {
    pub case: Case,
    in_specs: Vec<Spec>,
    out_specs: Vec<Spec>,
    inputs: Vec<Elements<f32>>,
    want: Vec<Vec<f64>>,
}

impl Prepared {
    /// Draws the operands and runs the f64 twin.
    pub fn new(case: Case) -> Result<Self, OpError> {
        let (in_specs, out_specs) = specs(&case)?;
        let inputs = draw(&case);
        let want = twin(&case, &widen(&inputs))?;
        Ok(Self { case, in_specs, out_specs, inputs, want })
    }

    /// The kernels of the case's op on this target.
    pub fn kernels(&self, target: &Target) -> Vec<Kernel> {
        self.case.op.kernels(&Operands { inputs: &self.in_specs, outputs: &self.out_specs }, target)
    }

    /// Whether every binding of a kernel fits this target. Some ops bind a tensor whole: on an adapter where it
    /// is too large they fail with a message, and on one that is only made small to run the code that binds in
    /// parts there is nothing to check.
    pub fn fits(&self, kernel: &Kernel, target: &Target) -> bool {
        let len = |operand| match operand {
            Operand::In(i) => self.in_specs[i].shape.len(),
            Operand::Out(i) => self.out_specs[i].shape.len(),
            Operand::Scratch => kernel.scratch,
        };
        kernel.dispatches.iter().flat_map(|d| &d.bindings).all(|binding| {
            let elements = binding.range.map_or_else(|| len(binding.operand), |(_, n)| n);
            4 * elements as u64 <= target.max_binding_bytes
        })
    }

    /// Elements of all operands: a small case is run first.
    pub fn size(&self) -> usize {
        self.in_specs.iter().chain(&self.out_specs).map(|spec| spec.shape.len()).sum()
    }

    /// Runs the kernels that are wanted.
    pub fn check(&self, gpu: &mut Gpu, wanted: impl Fn(&Kernel) -> bool) -> Vec<Check> {
        let kernels = self.kernels(gpu.target()).into_iter().filter(wanted);
        kernels.map(|kernel| self.check_variant(gpu, kernel.variant)).collect()
    }

    /// Runs the kernel of this name.
    pub fn check_variant(&self, gpu: &mut Gpu, variant: &'static str) -> Check {
        let mut check = Check::of(&self.case, variant, CheckKind::Kernel);
        gpu.force_variant(Some(variant));
        match run_alone(gpu, &self.case.op, &self.in_specs, &self.inputs, &self.case.step) {
            Ok((got, stray)) => {
                stray.into_iter().for_each(|message| check.fail(message));
                compare_outputs(&mut check, &self.case, &got, &self.want);
            }
            Err(error) => check.fail(error),
        }
        gpu.force_variant(None);
        gpu.clear();
        check
    }
}

/// The outputs of an op, and what it read or wrote that it should not have.
type Ran = (Vec<Vec<f32>>, Option<String>);

/// Runs an op alone on the GPU.
pub fn run_alone(
    gpu: &mut Gpu,
    op: &Arc<dyn AnyOp>,
    specs: &[Spec],
    inputs: &[Elements<f32>],
    step: &Step,
) -> Result<Ran, Box<dyn std::error::Error>> {
    let mut tape = Tape::new("case");
    let names: Vec<_> = (0..inputs.len()).map(|i| format!("input {i}")).collect();
    let vars: Vec<_> = names.iter().zip(specs).map(|(name, &spec)| tape.input(name, spec)).collect();
    let outputs = tape.record(op.clone(), &vars)?;
    let plan = gpu.load(&Arc::new(Plan::new(&tape, &outputs)?), 0)?;
    for (name, elements) in names.iter().zip(inputs) {
        let data = match elements {
            Elements::Real(x) => HostData::F32(x),
            Elements::Index(x) => HostData::U32(x),
        };
        gpu.set_input(plan, name, data)?;
    }
    gpu.run(plan, 0, step)?;
    let lost = || DeviceError::Gpu("the outputs did not come back".into());
    let results = gpu.results(true)?.ok_or_else(lost)?;
    let stray = gpu.stray_access(plan)?;
    Ok((results, stray))
}

/// Whether an op does something else on this target than on an ordinary one: binds tensors in more parts, or
/// folds a grid.
pub fn is_folded(case: &Case, target: &Target) -> bool {
    let Ok((inputs, outputs)) = specs(case) else { return false };
    let operands = Operands { inputs: &inputs, outputs: &outputs };
    let grids = |target: &Target| {
        let kernels = case.op.kernels(&operands, target);
        kernels.iter().flat_map(|k| &k.dispatches).map(|d| d.grid).collect::<Vec<_>>()
    };
    grids(&Target { software: target.software, ..Target::WEBGPU }) != grids(target)
}

fn compare_outputs(check: &mut Check, case: &Case, got: &[Vec<f32>], want: &[Vec<f64>]) {
    let out_specs = specs(case).map(|(_, outputs)| outputs).unwrap_or_default();
    for (i, spec) in out_specs.iter().enumerate() {
        check.add(format!("output {i}"), compare(&got[i], &want[i], spec.shape, case.bound));
    }
}
