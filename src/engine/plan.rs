//! A frozen tape: nodes in order, and memory shared by values that are never needed at the same time.

use std::ops::Range;
use std::sync::Arc;

use super::dispatch::Operands;
use super::op::{AnyOp, Cost, OpError, Var};
use super::tape::{Class, Init, Parameter, Role, Tape};
use super::tensor::{Shape, Spec};

/// The slot of a temporary that has none yet.
pub(super) const UNASSIGNED: usize = usize::MAX;

/// Where a value's elements live. Most buffers are whole: wgpu tracks hazards per buffer, so two values in one buffer
/// cannot be read and written by the same dispatch.
#[derive(Clone, Debug, PartialEq)]
pub enum Storage {
    /// Written by the host, and in place by nodes; belongs to this plan.
    Input(String),
    /// Shared by name with every plan on the device.
    Persistent { name: String, init: Init, class: Class },
    /// The memory of this slot, shared by lifetime.
    Slot(usize),
    /// A stretch of this [arena](Plan::arenas).
    Arena(usize),
}

/// A piece of memory that nodes refer to by index.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanTensor {
    pub storage: Storage,
    pub spec: Spec,
    /// Elements before it in its slot or its arena.
    pub first: usize,
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
    /// Persistent tensors that lie one after another in one piece of memory, so that one dispatch reaches all of
    /// them; only in plans that are [joined](Plan::joined).
    pub arenas: Vec<Vec<usize>>,
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
        let mut touched = vec![false; tape.values.len()];
        for var in tape.nodes.iter().flat_map(|node| node.inputs.iter().chain(&node.outputs)) {
            touched[tape.storage(*var).0] = true;
        }
        let mut tensor_of = vec![usize::MAX; tape.values.len()];
        let mut tensors = Vec::new();
        for (i, value) in tape.values.iter().enumerate() {
            if value.storage != Var(i) || value.role == Role::Temporary && !touched[i] {
                continue;
            }
            let storage = match value.role {
                Role::Input => Storage::Input(value.name.clone()),
                Role::Persistent { init, class, .. } => {
                    Storage::Persistent { name: value.name.clone(), init, class }
                }
                Role::Temporary => Storage::Slot(UNASSIGNED),
            };
            tensor_of[i] = tensors.len();
            tensors.push(PlanTensor { storage, spec: value.spec, first: 0 });
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
        let (slots, arenas) = (Vec::new(), Vec::new());
        let mut plan = Self { tensors, nodes, phases, slots, arenas, least_slot_elements: 0 };
        let lives = plan.lives();
        plan.assign_slots(&lives);
        Ok(plan)
    }

    /// Whether it is one that [`joined`](Self::joined) made.
    pub fn is_joined(&self) -> bool {
        !self.arenas.is_empty() || self.tensors.iter().any(|tensor| tensor.first > 0)
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
            Storage::Input(_) | Storage::Slot(_) | Storage::Arena(_) => None,
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
                Storage::Slot(_) | Storage::Arena(_) => continue,
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
