//! Runs plans on the oracle and checks every node on a GPU against it.
//!
//! It is a [`Device`]: whatever trains or decodes can be watched by giving it this one. Each node is computed
//! in f64 from the f32 values that stand before it, and the GPU gets those same values, never what one of its
//! own kernels made: a wrong kernel is named, and not the ten that come after it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::check::{run_alone, run_twin};
use super::compare::compare_with;
use super::{Check, Kind};
use crate::engine::bounded::{Bounded, UNIT};
use crate::engine::device::gpu::Gpu;
use crate::engine::device::timeline::{Detail, Timeline};
use crate::engine::device::{Device, DeviceError, HostData, PlanId, Results, initial_values};
use crate::engine::memory::available;
use crate::engine::op::AnyOp;
use crate::engine::plan::{Home, Plan, PlanNode};
use crate::engine::step::Step;
use crate::engine::tensor::Dtype;
use crate::engine::twin::Elements;

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

struct Loaded {
    plan: Arc<Plan>,
    /// For each place, its index in `Lockstep::memory`.
    memory: Vec<usize>,
}

/// The oracle as a device, with a GPU beside it.
pub struct Lockstep<'a> {
    gpu: &'a mut Gpu,
    watch: Watch,
    memory: Vec<Elements<f32>>,
    persistent: HashMap<String, usize>,
    plans: Vec<Loaded>,
    results: VecDeque<Results>,
    seen: HashSet<String>,
    /// Verdicts in the order of the nodes.
    pub checks: Vec<Check>,
    /// The first node outside its bound, if any.
    pub departure: Option<Departure>,
}

impl<'a> Lockstep<'a> {
    /// The GPU should have been opened with `poison`.
    pub fn new(gpu: &'a mut Gpu, watch: Watch) -> Self {
        Self {
            gpu,
            watch,
            memory: Vec::new(),
            persistent: HashMap::new(),
            plans: Vec::new(),
            results: VecDeque::new(),
            seen: HashSet::new(),
            checks: Vec::new(),
            departure: None,
        }
    }

    fn allocate(&mut self, elements: Elements<f32>) -> usize {
        self.memory.push(elements);
        self.memory.len() - 1
    }

    fn step_node(&mut self, node: &PlanNode, places: &[usize], step: &Step) {
        let part = |(&place, spec): (&usize, &crate::engine::tensor::Spec)| match &self.memory[places[place]]
        {
            // Slots are shared: behind a tensor stands the rest of a larger one.
            Elements::Real(x) => Elements::Real(x[..spec.shape.len()].to_vec()),
            Elements::Index(x) => Elements::Index(x.clone()),
        };
        let inputs: Vec<_> = node.inputs.iter().zip(&node.in_specs).map(part).collect();
        let outputs: Vec<Vec<f32>> = if self.is_watched(node) {
            let want = expected(node, &inputs, step);
            self.check(node, &inputs, &want, step);
            want.iter().map(|want| want.iter().map(|w| w.value as f32).collect()).collect()
        } else {
            run_twin(node.op.as_ref(), [&node.in_specs, &node.out_specs], &inputs, step)
        };
        for (&place, values) in node.outputs.iter().zip(outputs) {
            if let Elements::Real(x) = &mut self.memory[places[place]] {
                x[..values.len()].copy_from_slice(&values);
            }
        }
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
                kind: Kind::Kernel,
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
                        let allowed = want.iter().map(|w| (w.value, allowed(node.op.as_ref(), *w)));
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

/// The largest error that a kernel of `op` may have where its twin found `want`.
pub fn allowed(op: &dyn AnyOp, want: Bounded) -> f64 {
    // Denormals may be flushed to zero: once, and as much room again as what is rounded has.
    UNIT * op.leeway() * want.units() + 2.0 * f64::from(f32::MIN_POSITIVE)
}

impl Device for Lockstep<'_> {
    fn describe(&self) -> String {
        format!("the f64 oracle beside {}", self.gpu.describe())
    }

    fn load(&mut self, plan: &Arc<Plan>, seed: u64) -> Result<PlanId, DeviceError> {
        let (needed, free) = (plan.memory().total(), available());
        if needed > free {
            return Err(DeviceError::memory("this machine".into(), needed, free));
        }
        let slots: Vec<_> =
            plan.slots.iter().map(|&n| self.allocate(Elements::Real(vec![f32::NAN; n]))).collect();
        let mut memory = Vec::with_capacity(plan.places.len());
        for place in &plan.places {
            let len = place.spec.shape.len();
            let index = match &place.home {
                Home::Slot(slot) => slots[*slot],
                Home::Input(_) if place.spec.dtype == Dtype::U32 => {
                    self.allocate(Elements::Index(vec![0; len]))
                }
                Home::Input(_) => self.allocate(Elements::Real(vec![0.0; len])),
                Home::Persistent { name, init, .. } => match self.persistent.get(name) {
                    Some(&index) => index,
                    None => {
                        let index = self.allocate(Elements::Real(initial_values(seed, name, *init, len)));
                        self.persistent.insert(name.clone(), index);
                        index
                    }
                },
            };
            memory.push(index);
        }
        self.plans.push(Loaded { plan: plan.clone(), memory });
        Ok(PlanId(self.plans.len() - 1))
    }

    fn set_input(&mut self, plan: PlanId, name: &str, data: HostData) -> Result<(), DeviceError> {
        let loaded = &self.plans[plan.0];
        let is_it = |home: &Home| matches!(home, Home::Input(n) if n == name);
        let Some(place) = loaded.plan.places.iter().position(|p| is_it(&p.home)) else {
            return Err(DeviceError::Unknown { kind: "input", name: name.into() });
        };
        let index = loaded.memory[place];
        self.memory[index] = match data {
            HostData::F32(x) => Elements::Real(x.to_vec()),
            HostData::U32(x) => Elements::Index(x.to_vec()),
        };
        Ok(())
    }

    fn run(&mut self, plan: PlanId, segment: usize, step: &Step) -> Result<(), DeviceError> {
        let Loaded { plan, memory } = &self.plans[plan.0];
        let (plan, places) = (plan.clone(), memory.clone());
        let segment = &plan.segments[segment];
        for &place in &segment.cleared {
            if let Elements::Real(x) = &mut self.memory[places[place]] {
                x.fill(0.0);
            }
        }
        for node in &plan.nodes[segment.nodes.clone()] {
            self.step_node(node, &places, step);
        }
        if !segment.results.is_empty() {
            let read = |&place: &usize| match &self.memory[places[place]] {
                Elements::Real(x) => x[..plan.places[place].spec.shape.len()].to_vec(),
                Elements::Index(_) => Vec::new(),
            };
            self.results.push_back(segment.results.iter().map(read).collect());
        }
        Ok(())
    }

    fn results(&mut self, _wait: bool) -> Result<Option<Results>, DeviceError> {
        Ok(self.results.pop_front())
    }

    fn profile(
        &mut self,
        _plan: PlanId,
        _segment: usize,
        _step: &Step,
        _detail: Detail,
    ) -> Result<Timeline, DeviceError> {
        Err(DeviceError::Gpu("a device that checks every node has no times worth reading".into()))
    }

    fn read_parts(&mut self, name: &str, part: &mut dyn FnMut(&[f32])) -> Result<(), DeviceError> {
        let missing = || DeviceError::Unknown { kind: "tensor", name: name.into() };
        let index = *self.persistent.get(name).ok_or_else(missing)?;
        if let Elements::Real(x) = &self.memory[index] {
            part(x);
        }
        Ok(())
    }

    fn write(&mut self, name: &str, data: &[f32]) -> Result<(), DeviceError> {
        let missing = || DeviceError::Unknown { kind: "tensor", name: name.into() };
        let index = *self.persistent.get(name).ok_or_else(missing)?;
        if let Elements::Real(x) = &mut self.memory[index] {
            if x.len() != data.len() {
                return Err(DeviceError::Length { name: name.into(), expected: x.len(), got: data.len() });
            }
            x.copy_from_slice(data);
        }
        Ok(())
    }
}
