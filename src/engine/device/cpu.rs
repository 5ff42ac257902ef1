//! Runs plans with the CPU twins: f32 for use, f64 as the oracle.

use std::collections::{HashMap, VecDeque};
use std::mem::take;
use std::sync::Arc;
use std::time::Instant;

use super::timeline::{Clock, Detail, LaunchTime, Span, Timeline};
use super::{Device, DeviceError, HostData, PART, PlanId, Results, initial_values};
use crate::engine::bounded::Bounded;
use crate::engine::memory::available;
use crate::engine::op::AnyOp;
use crate::engine::plan::{Plan, PlanNode, PlanTensor, Storage};
use crate::engine::real::Real;
use crate::engine::step::Step;
use crate::engine::twin::{Elements, Io};

/// The most outputs of an op, and the most inputs that are listed without allocating.
const MAX_OPERANDS: usize = 8;

/// Segments below this are done before a pool thread would have woken up.
const POOL_FLOPS: u64 = 10_000_000;

/// A [`Real`] whose twins the device can call through `dyn AnyOp`.
pub trait Precision: Real {
    fn run(op: &dyn AnyOp, io: &mut Io<Self>);
}

impl Precision for f32 {
    fn run(op: &dyn AnyOp, io: &mut Io<f32>) {
        op.twin_f32(io);
    }
}

impl Precision for f64 {
    fn run(op: &dyn AnyOp, io: &mut Io<f64>) {
        op.twin_f64(io);
    }
}

impl Precision for Bounded {
    fn run(op: &dyn AnyOp, io: &mut Io<Self>) {
        op.twin_bounded(io);
    }
}

/// What a [`Cpu`] does at each node of a plan.
pub trait Hook<F>: Send {
    /// What temporaries hold before anything is written to them.
    const UNWRITTEN: f64 = 0.0;

    /// Computes the outputs of a node.
    fn node(&mut self, node: &PlanNode, io: &mut Io<F>);

    fn describe(&self) -> String {
        format!("CPU, {} threads", rayon::current_num_threads())
    }
}

/// Runs the twins, and nothing else.
pub struct Twins;

impl<F: Precision> Hook<F> for Twins {
    fn node(&mut self, node: &PlanNode, io: &mut Io<F>) {
        F::run(node.op.as_ref(), io);
    }
}

struct Loaded {
    plan: Arc<Plan>,
    /// For each tensor of the plan, its index in `Cpu::memory`.
    memory: Vec<usize>,
}

/// The CPU as a device.
pub struct Cpu<F, H = Twins> {
    pub hook: H,
    memory: Vec<Elements<F>>,
    /// Persistent tensors by name.
    persistent: HashMap<String, usize>,
    /// Slots, largest first: temporaries of all plans, which never run at the same time.
    slots: Vec<usize>,
    plans: Vec<Loaded>,
    results: VecDeque<Results>,
    memory_limit: u64,
    /// Bytes of all tensors.
    held: u64,
}

impl<F: Precision> Default for Cpu<F> {
    /// A device whose plans may take the memory that is free now.
    fn default() -> Self {
        Self::with_memory_limit(available())
    }
}

impl<F: Precision> Cpu<F> {
    /// A device whose plans may take this many bytes in all.
    pub fn with_memory_limit(memory_limit: u64) -> Self {
        Self::new(Twins, memory_limit)
    }

    /// Forgets all plans and tensors. Plans loaded before are unknown afterwards.
    pub fn clear(&mut self) {
        *self = Self::with_memory_limit(self.memory_limit);
    }
}

impl<F: Precision, H: Hook<F>> Cpu<F, H> {
    /// A device that gives every node to `hook`, and whose plans may take the memory that is free now.
    pub fn hooked(hook: H) -> Self {
        Self::new(hook, available())
    }

    fn new(hook: H, memory_limit: u64) -> Self {
        Self {
            hook,
            memory: Vec::new(),
            persistent: HashMap::new(),
            slots: Vec::new(),
            plans: Vec::new(),
            results: VecDeque::new(),
            memory_limit,
            held: 0,
        }
    }

    fn allocate(&mut self, elements: Elements<F>) -> usize {
        self.memory.push(elements);
        self.memory.len() - 1
    }

    /// Slots for a plan, matched by rank of size so that plans share as much as they can.
    fn share_slots(&mut self, wanted: &[usize]) -> Vec<usize> {
        let mut by_size: Vec<_> = (0..wanted.len()).collect();
        by_size.sort_by_key(|&slot| std::cmp::Reverse(wanted[slot]));
        let mut shared = vec![0; wanted.len()];
        for (rank, slot) in by_size.into_iter().enumerate() {
            if rank == self.slots.len() {
                let new = self.allocate(Elements::default());
                self.slots.push(new);
            }
            shared[slot] = self.slots[rank];
            if let Elements::Real(elements) = &mut self.memory[shared[slot]]
                && elements.len() < wanted[slot]
            {
                // A fresh allocation: growing in place would copy elements that nothing needs.
                *elements = vec![F::of(H::UNWRITTEN); wanted[slot]];
            }
        }
        shared
    }

    /// Elements that a plan needs in addition to those that are there.
    fn fresh_elements(&self, plan: &Plan) -> u64 {
        let fresh = |tensor: &PlanTensor| match &tensor.storage {
            Storage::Slot(_) | Storage::Arena(_) => 0,
            Storage::Persistent { name, .. } if self.persistent.contains_key(name) => 0,
            Storage::Persistent { .. } | Storage::Input(_) => tensor.spec.shape.len(),
        };
        let mut wanted = plan.slots.clone();
        wanted.sort_unstable_by_key(|&elements| std::cmp::Reverse(elements));
        let have = self.slots.iter().map(|&slot| self.real(slot).len()).chain(std::iter::repeat(0));
        let slots = wanted.into_iter().zip(have).map(|(wanted, have)| wanted.saturating_sub(have));
        plan.tensors.iter().map(fresh).chain(slots).fold(0, |sum, len| sum.saturating_add(len as u64))
    }

    /// Bytes held with so many more.
    fn with(&self, bytes: u64) -> Result<u64, DeviceError> {
        let needed = self.held.saturating_add(bytes);
        // More than half the address space is no memory, whatever the limit.
        let limit = self.memory_limit.min(isize::MAX as u64);
        if needed <= limit {
            Ok(needed)
        } else {
            Err(DeviceError::memory("this machine".into(), needed, limit))
        }
    }

    fn find(&self, name: &str) -> Result<usize, DeviceError> {
        let missing = || DeviceError::Unknown { kind: "tensor", name: name.into() };
        self.persistent.get(name).copied().ok_or_else(missing)
    }

    /// The elements of any tensor of a plan, as the last run left them.
    pub fn elements(&self, plan: PlanId, tensor: usize) -> &Elements<F> {
        &self.memory[self.plans[plan.0].memory[tensor]]
    }

    fn real(&self, index: usize) -> &[F] {
        match &self.memory[index] {
            Elements::Real(x) => x,
            Elements::Index(_) => &[],
        }
    }

    fn run_node(&mut self, node: &PlanNode, tensors: &[usize], step: &Step) {
        let mut outputs: [Elements<F>; MAX_OPERANDS] = Default::default();
        for (held, &tensor) in outputs.iter_mut().zip(&node.outputs) {
            *held = take(&mut self.memory[tensors[tensor]]);
        }
        let nothing = Elements::default();
        let (mut few, mut many) = ([&nothing; MAX_OPERANDS], Vec::new());
        let inputs = match few.get_mut(..node.inputs.len()) {
            Some(few) => few,
            None => {
                many.resize(node.inputs.len(), &nothing);
                &mut many[..]
            }
        };
        for (seen, &tensor) in inputs.iter_mut().zip(&node.inputs) {
            *seen = &self.memory[tensors[tensor]];
        }
        let mut io = Io {
            inputs,
            outputs: &mut outputs[..node.outputs.len()],
            in_specs: &node.in_specs,
            out_specs: &node.out_specs,
            step,
        };
        self.hook.node(node, &mut io);
        for (held, &tensor) in outputs.iter_mut().zip(&node.outputs) {
            self.memory[tensors[tensor]] = take(held);
        }
    }

    /// Runs a phase and calls `done` after each node.
    fn run_phase(
        &mut self,
        plan: PlanId,
        phase_index: usize,
        step: &Step,
        mut done: impl FnMut(usize) + Send,
    ) {
        let Loaded { plan: frozen, memory: tensors } = &mut self.plans[plan.0];
        let (frozen, tensors) = (frozen.clone(), take(tensors));
        let phase = &frozen.phases[phase_index];
        for &tensor in &phase.cleared {
            if let Elements::Real(elements) = &mut self.memory[tensors[tensor]] {
                elements.fill(F::ZERO);
            }
        }
        let mut run = || {
            for node in phase.nodes.clone() {
                self.run_node(&frozen.nodes[node], &tensors, step);
                done(node);
            }
        };
        // Inside the pool once, rather than entering it at every node; a short phase stays out of it.
        match frozen.cost(phase_index).flops < POOL_FLOPS {
            true => run(),
            false => rayon::scope(|_| run()),
        }
        if !phase.results.is_empty() {
            let read = |&tensor: &usize| self.memory[tensors[tensor]].narrowed(frozen.tensors[tensor].spec);
            let results = phase.results.iter().map(read).collect();
            self.results.push_back(results);
        }
        self.plans[plan.0].memory = tensors;
    }
}

fn check_length(name: &str, expected: usize, got: usize) -> Result<(), DeviceError> {
    if expected == got {
        return Ok(());
    }
    Err(DeviceError::Length { name: name.into(), expected, got })
}

impl<F: Precision, H: Hook<F>> Device for Cpu<F, H> {
    fn describe(&self) -> String {
        self.hook.describe()
    }

    fn check_memory(&self, bytes: u64) -> Result<(), DeviceError> {
        self.with((bytes / 4).saturating_mul(size_of::<F>() as u64)).map(drop)
    }

    fn load(&mut self, plan: &Arc<Plan>, seed: u64) -> Result<PlanId, DeviceError> {
        if plan.is_joined() {
            return Err(DeviceError::Joined);
        }
        self.held = self.with(self.fresh_elements(plan).saturating_mul(size_of::<F>() as u64))?;
        let slots = self.share_slots(&plan.slots);
        let mut memory = Vec::with_capacity(plan.tensors.len());
        for tensor in &plan.tensors {
            memory.push(match &tensor.storage {
                Storage::Slot(slot) => slots[*slot],
                Storage::Arena(_) => return Err(DeviceError::Joined),
                Storage::Input(_) => self.allocate(Elements::zeros(tensor.spec)),
                Storage::Persistent { name, init, .. } => match self.persistent.get(name) {
                    Some(&index) => {
                        check_length(name, self.real(index).len(), tensor.spec.shape.len())?;
                        index
                    }
                    None => {
                        let values = initial_values(seed, name, *init, tensor.spec.shape.len());
                        let values = values.into_iter().map(|x| F::of(x.into())).collect();
                        let index = self.allocate(Elements::Real(values));
                        self.persistent.insert(name.clone(), index);
                        index
                    }
                },
            });
        }
        self.plans.push(Loaded { plan: plan.clone(), memory });
        Ok(PlanId(self.plans.len() - 1))
    }

    fn set_input(&mut self, plan: PlanId, name: &str, data: HostData) -> Result<(), DeviceError> {
        let loaded = &self.plans[plan.0];
        let is_it = |storage: &Storage| matches!(storage, Storage::Input(n) if n == name);
        let Some(tensor) = loaded.plan.tensors.iter().position(|p| is_it(&p.storage)) else {
            return Err(DeviceError::Unknown { kind: "input", name: name.into() });
        };
        match (&mut self.memory[loaded.memory[tensor]], data) {
            (Elements::Real(to), HostData::F32(from)) => {
                check_length(name, to.len(), from.len())?;
                to.iter_mut().zip(from).for_each(|(to, &from)| *to = F::of(from.into()));
            }
            (Elements::Index(to), HostData::U32(from)) => {
                check_length(name, to.len(), from.len())?;
                to.copy_from_slice(from);
            }
            _ => return Err(DeviceError::Unknown { kind: "input of that type", name: name.into() }),
        }
        Ok(())
    }

    fn plan(&self, plan: PlanId) -> Result<Arc<Plan>, DeviceError> {
        Ok(self.plans[plan.0].plan.clone())
    }

    fn run_steps(&mut self, plan: PlanId, phase: usize, steps: &[Step]) -> Result<(), DeviceError> {
        let before = self.results.len();
        for step in steps {
            self.results.truncate(before);
            self.run_phase(plan, phase, step, |_| ());
        }
        Ok(())
    }

    fn profile(
        &mut self,
        plan: PlanId,
        phase: usize,
        step: &Step,
        detail: Detail,
    ) -> Result<Timeline, DeviceError> {
        let begun = Instant::now();
        let (mut launches, mut at) = (Vec::new(), 0.0);
        let frozen = self.plans[plan.0].plan.clone();
        self.run_phase(plan, phase, step, |node| {
            let end_us = begun.elapsed().as_secs_f64() * 1e6;
            let span = Span { start_us: at, us: end_us - at };
            let shader = frozen.nodes[node].op.info().name;
            launches.push(LaunchTime { node, launch: 0, variant: "twin", shader, span });
            at = end_us;
        });
        let device = Span { start_us: 0.0, us: begun.elapsed().as_secs_f64() * 1e6 };
        launches.retain(|_| detail == Detail::Launches);
        let (encode, submit) = (Span::default(), Span::default());
        Ok(Timeline {
            clock: Clock::Wall,
            device,
            launches,
            encode,
            submit,
            wait: device,
            submissions: 1,
            starts: None,
        })
    }

    fn results(&mut self, _wait: bool) -> Result<Option<Results>, DeviceError> {
        Ok(self.results.pop_front())
    }

    fn read_parts(&mut self, name: &str, part: &mut dyn FnMut(&[f32])) -> Result<(), DeviceError> {
        for elements in self.real(self.find(name)?).chunks(PART) {
            let narrow: Vec<_> = elements.iter().map(|x| x.f64() as f32).collect();
            part(&narrow);
        }
        Ok(())
    }

    fn write(&mut self, name: &str, data: &[f32]) -> Result<(), DeviceError> {
        let index = self.find(name)?;
        check_length(name, self.real(index).len(), data.len())?;
        if let Elements::Real(to) = &mut self.memory[index] {
            to.iter_mut().zip(data).for_each(|(to, &from)| *to = F::of(from.into()));
        }
        Ok(())
    }
}
