//! Runs plans on the oracle and checks every node on a GPU against it.
//!
//! It is a [hook](Hook) of the CPU device: whatever trains or decodes can be watched by giving it that device. Each
//! node is computed in f64 from the f32 values before it, and the GPU gets those same values, never what one of its own
//! kernels made: a wrong kernel is named, and not the ten that come after it.

use std::collections::HashSet;

use super::check::{run_alone, run_twin};
use super::compare::compare_with;
use super::{Check, CheckKind};
use crate::engine::bounded::{Bounded, UNIT};
use crate::engine::device::Device;
use crate::engine::device::cpu::{Cpu, Hook};
use crate::engine::device::gpu::Gpu;
use crate::engine::plan::PlanNode;
use crate::engine::step::Step;
use crate::engine::tensor::Spec;
use crate::engine::twin::{Elements, Io};

/// Which nodes are compared with the GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// Every node of every run, with the kernel that training would use.
    Every,
    /// The first node of each op and shapes, with all its kernels, unless it has more FLOPs than this. The
    /// others only pass their f32 twin's numbers on.
    Distinct { most_flops: u64 },
}

/// The numbers of one tensor in short.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistics {
    pub min: f64,
    pub max: f64,
    pub mean: f64,
    pub rms: f64,
    pub nans: usize,
}

impl Statistics {
    /// Of the numbers among `values`.
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        let (mut min, mut max) = (f64::INFINITY, f64::NEG_INFINITY);
        let (mut sum, mut squares, mut count, mut nans) = (0.0, 0.0, 0.0, 0);
        for x in values {
            if x.is_nan() {
                nans += 1;
                continue;
            }
            (min, max) = (min.min(x), max.max(x));
            sum += x;
            squares += x * x;
            count += 1.0;
        }
        Self { min, max, mean: sum / count, rms: f64::sqrt(squares / count), nans }
    }
}

/// A node that left its bound.
#[derive(Clone, Debug)]
pub struct Departure {
    pub check: Check,
    /// Of each output, on the GPU and on the oracle.
    pub statistics: Vec<[Statistics; 2]>,
}

/// Watches the nodes that a [`Cpu`] runs, with a GPU that runs them too.
pub struct Lockstep<'a> {
    gpu: &'a mut Gpu,
    watch: Watch,
    seen: HashSet<String>,
    /// Verdicts in the order of the nodes.
    pub checks: Vec<Check>,
    /// The first node outside its bound, if any.
    pub departure: Option<Departure>,
}

impl Hook<f32> for Lockstep<'_> {
    const UNWRITTEN: f64 = f64::NAN;

    fn node(&mut self, node: &PlanNode, io: &mut Io<f32>) {
        if !self.is_watched(node) {
            return node.op.twin_f32(io);
        }
        let inputs = operands(node, io);
        let want = expected(node, &inputs, io.step);
        self.check(node, &inputs, &want, io.step);
        for (output, want) in io.outputs.iter_mut().zip(want) {
            match output {
                Elements::Real(x) => x.iter_mut().zip(want).for_each(|(x, want)| *x = want.value as f32),
                Elements::Index(x) => x.iter_mut().zip(want).for_each(|(x, want)| *x = want.value as u32),
            }
        }
    }

    fn describe(&self) -> String {
        format!("the f64 oracle next to {}", self.gpu.describe())
    }
}

impl<'a> Lockstep<'a> {
    /// The oracle as a device, checked against a GPU, which should have been opened with `poison`.
    pub fn device(gpu: &'a mut Gpu, watch: Watch) -> Cpu<f32, Self> {
        Cpu::hooked(Self { gpu, watch, seen: HashSet::new(), checks: Vec::new(), departure: None })
    }

    fn is_watched(&mut self, node: &PlanNode) -> bool {
        match self.watch {
            Watch::Every => true,
            Watch::Distinct { most_flops } => {
                let kind = format!("{:?} {:?}", node.op, node.in_specs);
                node.cost().flops <= most_flops && self.seen.insert(kind)
            }
        }
    }

    fn check(&mut self, node: &PlanNode, inputs: &[Elements<f32>], want: &[Vec<Bounded>], step: &Step) {
        let variants: Vec<_> = match self.watch {
            Watch::Every => vec![None],
            Watch::Distinct { .. } => {
                let kernels = node.op.kernels(&node.operands(), self.gpu.target());
                kernels.iter().map(|kernel| Some(kernel.variant)).collect()
            }
        };
        for variant in variants {
            let mut check = Check {
                op: node.op.info().name,
                variant: variant.unwrap_or("chosen").into(),
                case: case_name(node),
                kind: CheckKind::Kernel,
                worst: Default::default(),
                failure: None,
            };
            self.gpu.force_variant(variant);
            let ran = run_alone(self.gpu, &node.op, &node.in_specs, inputs, step);
            self.gpu.force_variant(None);
            self.gpu.clear();
            let mut statistics = Vec::new();
            match ran {
                Ok((got, stray)) => {
                    stray.into_iter().for_each(|message| check.fail(message));
                    for (i, (got, want)) in got.iter().zip(want).enumerate() {
                        let values = got.iter().map(|&x| f64::from(x));
                        let allowed = want.iter().map(|w| (w.value, allowed(*w)));
                        let worst = compare_with(values.clone(), allowed, node.out_specs[i].shape);
                        check.add(format!("output {i}"), worst);
                        statistics
                            .push([Statistics::of(values), Statistics::of(want.iter().map(|w| w.value))]);
                    }
                }
                Err(error) => check.fail(error),
            }
            if !check.passed() && self.departure.is_none() {
                self.departure = Some(Departure { check: check.clone(), statistics });
            }
            self.checks.push(check);
        }
    }
}

/// The operands of a node, each as long as its shape says: a slot may hold more.
fn operands(node: &PlanNode, io: &Io<f32>) -> Vec<Elements<f32>> {
    let mut inputs = io.inputs.to_vec();
    for (output, input) in node.op.in_place() {
        inputs[input] = &io.outputs[output];
    }
    let of_shape = |(elements, spec): (&Elements<f32>, &Spec)| match elements {
        Elements::Real(x) => Elements::Real(x[..spec.shape.len()].to_vec()),
        Elements::Index(x) => Elements::Index(x.clone()),
    };
    inputs.into_iter().zip(&node.in_specs).map(of_shape).collect()
}

/// What a check calls a node: `transformer.h.0.mlp/gelu (f32(12, 64, 512))`.
pub fn case_name(node: &PlanNode) -> String {
    let specs: Vec<_> = node.in_specs.iter().map(ToString::to_string).collect();
    format!("{} ({})", node.name, specs.join(", "))
}

/// What the op should give, with the error that its formula allows on these operands.
pub fn expected(node: &PlanNode, inputs: &[Elements<f32>], step: &Step) -> Vec<Vec<Bounded>> {
    run_twin(node.op.as_ref(), [&node.in_specs, &node.out_specs], &exact(inputs), step)
}

/// Operands as numbers that have no error yet.
pub fn exact(inputs: &[Elements<f32>]) -> Vec<Elements<Bounded>> {
    let exact = |one: &Elements<f32>| match one {
        Elements::Real(x) => Elements::Real(x.iter().map(|&x| Bounded::exact(x.into())).collect()),
        Elements::Index(x) => Elements::Index(x.clone()),
    };
    inputs.iter().map(exact).collect()
}

/// How far a kernel may be from the f64 twin, in multiples of the bound that the twin's formula derives from the
/// operands: room for another formula (an online softmax, a product by the reciprocal) and for the tail of a random
/// walk.
const LEEWAY: f64 = 4.0;

/// The largest error that a kernel may have where its twin found `want`.
pub fn allowed(want: Bounded) -> f64 {
    // Denormals may be flushed to zero: once, and as much room again as what is rounded has.
    UNIT * LEEWAY * want.units() + 2.0 * f64::from(f32::MIN_POSITIVE)
}
