//! A frozen tape: nodes in order, and memory shared by values that are never needed at the same time.

use std::ops::Range;
use std::sync::Arc;

use super::dispatch::Operands;
use super::op::{AnyOp, Cost, OpError, Var};
use super::tape::{Class, Init, Parameter, Role, Tape};
use super::tensor::{Dtype, Shape, Spec};

/// Where a value's elements live. Every buffer is whole: wgpu tracks hazards per buffer, so two values in
/// one buffer could not be read and written by the same dispatch.
#[derive(Clone, Debug, PartialEq)]
pub enum Storage {
    /// Written by the host; belongs to this plan.
    Input(String),
    /// Shared by name with every plan on the device.
    Persistent { name: String, init: Init, class: Class },
    /// The memory of this slot, shared by lifetime.
    Slot(usize),
}

/// A piece of memory that nodes refer to by index.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanTensor {
    pub storage: Storage,
    pub spec: Spec,
}

/// One op to run.
#[derive(Clone, Debug)]
pub struct PlanNode {
    pub op: Arc<dyn AnyOp>,
    /// Indices into [`Plan::tensors`]. An output that overwrites an input is the same tensor.
    pub inputs: Vec<usize>,
    pub outputs: Vec<usize>,
    pub in_specs: Vec<Spec>,
    pub out_specs: Vec<Spec>,
    /// `h.3.attn/matmul`.
    pub name: String,
}

impl PlanNode {
    pub fn operands(&self) -> Operands<'_> {
        Operands { inputs: &self.in_specs, outputs: &self.out_specs }
    }

    pub fn cost(&self) -> Cost {
        self.op.cost(&self.operands())
    }
}

/// A part of a plan that is submitted at once.
#[derive(Clone, Debug)]
pub struct Phase {
    pub name: String,
    pub nodes: Range<usize>,
    /// Tensors set to zero before the first node.
    pub cleared: Vec<usize>,
    /// Tensors whose elements are read back after the last node.
    pub results: Vec<usize>,
}

/// What a device runs.
#[derive(Clone, Debug)]
pub struct Plan {
    pub tensors: Vec<PlanTensor>,
    pub nodes: Vec<PlanNode>,
    pub phases: Vec<Phase>,
    /// Elements of each slot.
    pub slots: Vec<usize>,
    /// The most elements of temporaries that are needed at any one time: no plan could take less.
    pub least_slot_elements: usize,
}

/// Bytes that a plan takes, by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub parameters: u64,
    pub states: u64,
    pub inputs: u64,
    pub temporaries: u64,
}

impl Memory {
    pub fn total(&self) -> u64 {
        let parts = [self.parameters, self.states, self.inputs, self.temporaries];
        parts.into_iter().fold(0, u64::saturating_add)
    }
}

impl Plan {
    /// Freezes a tape. `results` are read back after the phase that makes them.
    ///
    /// # Errors
    /// When a value is used after an op has overwritten it.
    pub fn new(tape: &Tape, results: &[Var]) -> Result<Self, OpError> {
        check_overwrites(tape)?;
        let lifetimes = lifetimes(tape, results);
        let (slot_of, slots, least_slot_elements) = assign_slots(tape, &lifetimes);

        let mut tensor_of = vec![usize::MAX; tape.values.len()];
        let mut tensors = Vec::new();
        for (i, value) in tape.values.iter().enumerate() {
            if value.storage != Var(i) {
                continue;
            }
            let storage = match value.role {
                Role::Input => Storage::Input(value.name.clone()),
                Role::Persistent { init, class, .. } => {
                    Storage::Persistent { name: value.name.clone(), init, class }
                }
                Role::Temporary => Storage::Slot(slot_of[i]),
            };
            tensor_of[i] = tensors.len();
            tensors.push(PlanTensor { storage, spec: value.spec });
        }
        let tensor = |v: &Var| tensor_of[tape.storage(*v).0];
        let specs = |vars: &[Var]| vars.iter().map(|v| tape.values[v.0].spec).collect::<Vec<_>>();

        let nodes: Vec<_> = tape
            .nodes
            .iter()
            .map(|node| PlanNode {
                op: node.op.clone(),
                inputs: node.inputs.iter().map(tensor).collect(),
                outputs: node.outputs.iter().map(tensor).collect(),
                in_specs: specs(&node.inputs),
                out_specs: specs(&node.outputs),
                name: format!("{}/{}", node.scope, node.op.info().name),
            })
            .collect();
        let phases = (0..tape.phases.len())
            .map(|s| {
                let first = tape.nodes.partition_point(|n| n.phase < s);
                let end = tape.nodes.partition_point(|n| n.phase <= s);
                let made_here = |v: &&Var| tape.nodes[first..end].iter().any(|n| n.outputs.contains(v));
                Phase {
                    name: tape.phases[s].clone(),
                    nodes: first..end,
                    cleared: tape.cleared.iter().filter(|c| c.0 == s).map(|c| tensor(&c.1)).collect(),
                    results: results.iter().filter(made_here).map(tensor).collect(),
                }
            })
            .collect();
        Ok(Self { tensors, nodes, phases, slots, least_slot_elements })
    }

    /// The index of the phase with this name.
    ///
    /// # Panics
    /// When there is none: phase names are fixed where plans are made.
    pub fn phase(&self, name: &str) -> usize {
        self.phases
            .iter()
            .position(|s| s.name == name)
            .unwrap_or_else(|| panic!("the plan has no phase `{name}`"))
    }

    /// The tensors that last from run to run, in the order they were declared.
    pub fn persistent(&self) -> impl Iterator<Item = (&str, Shape, Class)> {
        self.tensors.iter().filter_map(|tensor| match &tensor.storage {
            Storage::Persistent { name, class, .. } => Some((name.as_str(), tensor.spec.shape, *class)),
            Storage::Input(_) | Storage::Slot(_) => None,
        })
    }

    /// The parameters among them.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, Shape, Parameter)> {
        self.persistent().filter_map(|(name, shape, class)| match class {
            Class::Parameter(kind) => Some((name, shape, kind)),
            Class::State(_) => None,
        })
    }

    /// Bytes this plan takes on a device.
    pub fn memory(&self) -> Memory {
        let mut memory = Memory::default();
        for tensor in &self.tensors {
            let part = match tensor.storage {
                Storage::Input(_) => &mut memory.inputs,
                Storage::Persistent { class: Class::Parameter(_), .. } => &mut memory.parameters,
                Storage::Persistent { class: Class::State(_), .. } => &mut memory.states,
                Storage::Slot(_) => continue,
            };
            *part = part.saturating_add(tensor.spec.bytes());
        }
        let slots = self.slots.iter().map(|&elements| Spec::f32([elements]).bytes());
        memory.temporaries = slots.fold(0, u64::saturating_add);
        memory
    }

    /// FLOPs and least bytes of a phase.
    pub fn cost(&self, phase: usize) -> Cost {
        self.nodes[self.phases[phase].nodes.clone()]
            .iter()
            .map(PlanNode::cost)
            .fold(Cost::default(), |sum, c| Cost { flops: sum.flops + c.flops, bytes: sum.bytes + c.bytes })
    }
}

/// Fails when a node reads a version of a value that an earlier node has overwritten.
fn check_overwrites(tape: &Tape) -> Result<(), OpError> {
    // The version of its memory that each value is, and the one that the memory holds: named after the value
    // that was written, which a view shares with what it shows.
    let mut version: Vec<Var> = (0..tape.values.len()).map(Var).collect();
    let mut current = version.clone();
    for node in &tape.nodes {
        for &input in &node.inputs {
            if current[tape.storage(input).0] != version[input.0] {
                return Err(stale(tape, input, node.op.info().name));
            }
        }
        for (output, input) in node.op.in_place().into_iter().filter(|_| node.op.is_view()) {
            version[node.outputs[output].0] = version[node.inputs[input].0];
        }
        for &output in &node.outputs {
            current[tape.storage(output).0] = version[output.0];
        }
    }
    Ok(())
}

fn stale(tape: &Tape, var: Var, op: &str) -> OpError {
    OpError::new(format!("{op} reads `{}` after it was overwritten in place", tape.name(var)))
}

/// For each temporary storage, the first node that writes it and the last that touches it.
fn lifetimes(tape: &Tape, results: &[Var]) -> Vec<Option<(usize, usize)>> {
    let mut lifetimes: Vec<Option<(usize, usize)>> = vec![None; tape.values.len()];
    for (at, node) in tape.nodes.iter().enumerate() {
        for var in node.inputs.iter().chain(&node.outputs) {
            let storage = tape.storage(*var);
            if tape.values[storage.0].role == Role::Temporary {
                let life = lifetimes[storage.0].get_or_insert((at, at));
                life.1 = at;
            }
        }
    }
    for result in results {
        if let Some(life) = &mut lifetimes[tape.storage(*result).0] {
            life.1 = tape.nodes.len();
        }
    }
    lifetimes
}

/// Gives each temporary a slot that is free for its whole life: the smallest that fits, else the largest,
/// enlarged, else a new one. Returns the slot of each value, the size of each slot, and the lower bound.
fn assign_slots(tape: &Tape, lifetimes: &[Option<(usize, usize)>]) -> (Vec<usize>, Vec<usize>, usize) {
    let mut born: Vec<Vec<usize>> = vec![Vec::new(); tape.nodes.len()];
    let mut dies: Vec<Vec<usize>> = vec![Vec::new(); tape.nodes.len() + 1];
    for (value, life) in lifetimes.iter().enumerate() {
        if let Some((first, last)) = *life {
            born[first].push(value);
            dies[last].push(value);
        }
    }
    let size = |value: usize| tape.values[value].spec.shape.len();
    let mut slot_of = vec![usize::MAX; tape.values.len()];
    let mut slots: Vec<usize> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let (mut live, mut most_live) = (0, 0);
    for at in 0..tape.nodes.len() {
        born[at].sort_by_key(|&v| std::cmp::Reverse(size(v)));
        for &value in &born[at] {
            debug_assert_eq!(tape.values[value].spec.dtype, Dtype::F32);
            let need = size(value);
            let fits = free.iter().copied().filter(|&s| slots[s] >= need).min_by_key(|&s| slots[s]);
            let chosen = fits.or_else(|| free.iter().copied().max_by_key(|&s| slots[s]));
            let slot = chosen.unwrap_or_else(|| {
                slots.push(0);
                slots.len() - 1
            });
            free.retain(|&s| s != slot);
            slots[slot] = slots[slot].max(need);
            slot_of[value] = slot;
            live = usize::saturating_add(live, need);
        }
        most_live = most_live.max(live);
        for &value in &dies[at] {
            free.push(slot_of[value]);
            live = live.saturating_sub(size(value));
        }
    }
    (slot_of, slots, most_live)
}
