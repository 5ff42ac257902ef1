//! A recorded model: ops in the order they run, with the derivatives appended to them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::op::{AnyOp, OpError, Record, Var};
use super::tensor::{Shape, Spec};

/// How a persistent tensor begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Normal with this standard deviation and mean 0.
    Normal(f32),
    Constant(f32),
    /// A table of angles, which [`Rope`](crate::ops::rope::Rope) looks up.
    Rotary(Rotary),
    /// Rows of `width` for positions 0, 1, …: `amplitude` times sine and cosine of position · 10000^(-2i/width) in
    /// turn (Vaswani et al. 2017).
    Sinusoidal {
        amplitude: f32,
        width: usize,
    },
}

/// Rows of `width` for positions 0, 1, …: cosines of position · f(i) for i below width/2, then their sines, with the
/// frequencies f(i) = base^(-2i/width) (Su et al. 2021), perhaps scaled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rotary {
    pub base: f32,
    pub width: usize,
    pub scaling: RopeScaling,
}

/// How rotary frequencies change so that a model reads longer texts than it was trained on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rope_type", rename_all = "snake_case")]
pub enum RopeScaling {
    #[default]
    None,
    /// All are divided by the factor (Chen et al. 2023).
    Linear { factor: f64 },
    /// Of Llama 3.1: those whose wave is longer than original / low are divided by the factor, those whose wave is
    /// shorter than original / high stay, and those between are a blend of both.
    Llama3 {
        factor: f64,
        low_freq_factor: f64,
        high_freq_factor: f64,
        original_max_position_embeddings: usize,
    },
}

/// Where the elements of a value come from and how long they stay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Role {
    /// Written by the host before each run.
    Input,
    /// Kept by name from run to run. `trained` by an optimiser, or left as it is.
    Persistent { init: Init, class: Class, trained: bool },
    /// Made and used within a run.
    Temporary,
}

/// What a persistent tensor is: where it is saved, and which optimiser updates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Parameter(Parameter),
    State(State),
}

/// What a parameter is to its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// A matrix between the embeddings and the output head: Muon's.
    Hidden,
    /// An embedding, the output head, a bias, a norm's weight: AdamW's, whatever updates the hidden ones.
    Outer,
    /// The head of an objective, which its model is saved with. Trained where the model is frozen, too.
    Head,
    /// A head that only training needs, such as a critic. As [`Head`](Self::Head), but saved in checkpoints alone.
    TrainingHead,
    /// A factor of a low-rank adapter, hidden too. Trained where the model is frozen; the model's file holds the
    /// product, merged into a weight.
    Adapter,
}

impl Parameter {
    /// Whether Muon updates it.
    pub fn is_hidden(self) -> bool {
        matches!(self, Self::Hidden | Self::Adapter)
    }

    /// Whether it is trained where the model is frozen.
    pub fn is_added(self) -> bool {
        matches!(self, Self::Head | Self::TrainingHead | Self::Adapter)
    }

    /// Whether the model's file holds it under its own name.
    pub fn is_exported(self) -> bool {
        matches!(self, Self::Hidden | Self::Outer | Self::Head)
    }
}

/// Whether a run that is resumed needs a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It does: checkpoints hold it. An optimiser's moments, the state of a recurrent net.
    Saved,
    /// It begins anew: accumulated gradients, key-value caches, tables.
    Transient,
}

/// A value on the tape.
#[derive(Clone, Debug)]
pub struct Value {
    pub spec: Spec,
    pub role: Role,
    pub name: String,
    /// The value whose memory this one overwrites; itself unless an op works in place.
    pub storage: Var,
}

/// An op applied to values.
#[derive(Clone, Debug)]
pub struct Node {
    pub op: Arc<dyn AnyOp>,
    pub inputs: Vec<Var>,
    pub outputs: Vec<Var>,
    /// The place in the model: `h.3.attn`.
    pub scope: String,
    pub phase: usize,
}

/// A recording of ops over values. See the [crate documentation](crate) for how it is used.
#[derive(Debug)]
pub struct Tape {
    pub(crate) values: Vec<Value>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) phases: Vec<String>,
    /// States set to zero when a phase begins, as (phase, state).
    pub(crate) cleared: Vec<(usize, Var)>,
    pub(crate) scope: Vec<String>,
    frozen: bool,
}

impl Tape {
    /// An empty tape whose first phase has this name.
    pub fn new(phase: &str) -> Self {
        Self {
            values: Vec::new(),
            nodes: Vec::new(),
            phases: vec![phase.into()],
            cleared: Vec::new(),
            scope: Vec::new(),
            frozen: false,
        }
    }

    /// From here on parameters are frozen, but for those [added](Parameter::is_added) to the model.
    pub fn freeze(&mut self) {
        self.frozen = true;
    }

    /// Starts another phase: what follows is run on its own.
    pub fn begin_phase(&mut self, name: &str) {
        self.phases.push(name.into());
    }

    /// A value that the host writes before each run.
    pub fn input(&mut self, name: &str, spec: Spec) -> Var {
        self.value(name.into(), spec, Role::Input)
    }

    /// A tensor to be trained, named after the current scope.
    pub fn parameter(&mut self, name: &str, shape: impl Into<Shape>, init: Init, kind: Parameter) -> Var {
        let trained = !self.frozen || kind.is_added();
        let role = Role::Persistent { init, class: Class::Parameter(kind), trained };
        self.value(self.scoped_name(name), Spec::f32(shape), role)
    }

    /// A tensor that lasts from run to run, by its full name.
    pub fn state(&mut self, name: &str, shape: impl Into<Shape>, init: Init, kind: State) -> Var {
        let role = Role::Persistent { init, class: Class::State(kind), trained: false };
        self.value(name.into(), Spec::f32(shape), role)
    }

    /// Sets a state to zero whenever the first phase begins.
    pub fn clear_at_start(&mut self, state: Var) {
        self.cleared.push((0, state));
    }

    fn value(&mut self, name: String, spec: Spec, role: Role) -> Var {
        let var = Var(self.values.len());
        self.values.push(Value { spec, role, name, storage: var });
        var
    }

    /// Records under a name that prefixes parameters and places: `tape.scoped("h.0", |t| …)`.
    pub fn scoped<T>(&mut self, name: &str, record: impl FnOnce(&mut Self) -> T) -> T {
        self.scope.push(name.into());
        let result = record(self);
        self.scope.pop();
        result
    }

    /// `name` under the current scope: `transformer.h.0.attn.keys`.
    pub fn scoped_name(&self, name: &str) -> String {
        let mut parts: Vec<&str> = self.scope.iter().map(String::as_str).collect();
        parts.push(name);
        parts.join(".")
    }

    /// Appends an op and returns its outputs.
    ///
    /// # Errors
    /// When the operands break the op's contract; the message names the place and the op.
    pub fn apply(&mut self, op: impl AnyOp, inputs: &[Var]) -> Result<Vec<Var>, OpError> {
        self.record(Arc::new(op), inputs)
    }

    /// Appends an op with a single output.
    pub fn apply_one(&mut self, op: impl AnyOp, inputs: &[Var]) -> Result<Var, OpError> {
        Ok(self.apply(op, inputs)?[0])
    }

    /// A number that tells this place on the tape apart, for masks.
    pub fn salt(&self) -> u32 {
        self.nodes.len() as u32
    }

    /// Whether an optimiser will change this value.
    pub fn is_trained(&self, var: Var) -> bool {
        matches!(self.values[var.0].role, Role::Persistent { trained: true, .. })
    }

    /// Whether it is a parameter between the embeddings and the output head.
    pub fn is_hidden(&self, var: Var) -> bool {
        let role = self.values[var.0].role;
        matches!(role, Role::Persistent { class: Class::Parameter(kind), .. } if kind.is_hidden())
    }

    /// Trained parameters in the order they were declared.
    pub fn parameters(&self) -> Vec<Var> {
        (0..self.values.len()).map(Var).filter(|v| self.is_trained(*v)).collect()
    }

    pub fn shape(&self, var: Var) -> Shape {
        self.values[var.0].spec.shape
    }

    pub fn name(&self, var: Var) -> &str {
        &self.values[var.0].name
    }

    /// For each value, whether a parameter lies upstream of it.
    pub(crate) fn depend_on_parameters(&self) -> Vec<bool> {
        let mut depends: Vec<_> = (0..self.values.len()).map(|v| self.is_trained(Var(v))).collect();
        for node in &self.nodes {
            let any = node.inputs.iter().any(|v| depends[v.0]);
            for out in &node.outputs {
                depends[out.0] |= any;
            }
        }
        depends
    }

    pub(crate) fn storage(&self, var: Var) -> Var {
        self.values[var.0].storage
    }
}

impl Record for Tape {
    fn spec(&self, var: Var) -> Spec {
        self.values[var.0].spec
    }

    fn record(&mut self, op: Arc<dyn AnyOp>, inputs: &[Var]) -> Result<Vec<Var>, OpError> {
        let scope = self.scope.join(".");
        let specs: Vec<_> = inputs.iter().map(|&v| self.spec(v)).collect();
        let out_specs = op
            .infer(&specs)
            .map_err(|e| e.at(op.info().name))
            .map_err(|e| if scope.is_empty() { e } else { e.at(&scope) })?;
        let in_place = op.in_place();
        let mut outputs = Vec::with_capacity(out_specs.len());
        for (i, spec) in out_specs.into_iter().enumerate() {
            let name = format!("{scope}/{}", op.info().name);
            let var = self.value(name, spec, Role::Temporary);
            if let Some(&(_, input)) = in_place.iter().find(|(output, _)| *output == i) {
                let overwritten = self.storage(inputs[input]);
                self.values[var.0].storage = overwritten;
            }
            outputs.push(var);
        }
        let phase = self.phases.len() - 1;
        self.nodes.push(Node { op, inputs: inputs.to_vec(), outputs: outputs.clone(), scope, phase });
        Ok(outputs)
    }
}
