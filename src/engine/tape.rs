//! A model written down: ops in the order they run, and the derivatives appended to them.

use std::sync::Arc;

use super::op::{AnyOp, OpError, Record, Var};
use super::tensor::{Shape, Spec};

/// How a persistent tensor begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Normal with this standard deviation and mean 0.
    Normal(f32),
    Constant(f32),
    /// Rows of `width` for positions 0, 1, …: cosines of position · base^(-2i/width) for i below width/2, then
    /// their sines. [`Rope`](crate::ops::rope::Rope) looks its angles up there.
    Rotary {
        base: f32,
        width: usize,
    },
    /// Rows of `width` for positions 0, 1, …: `amplitude` times sine and cosine of position · 10000^(-2i/width) in
    /// turn (Vaswani et al. 2017).
    Sinusoidal {
        amplitude: f32,
        width: usize,
    },
}

/// Where the elements of a value come from and how long they stay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Role {
    /// Written by the host before each run.
    Input,
    /// Trained: kept by name, saved in `model.safetensors`.
    Parameter(Init),
    /// A parameter that training leaves as it is.
    Frozen(Init),
    /// Kept by name from run to run: optimiser moments, accumulated gradients, key-value caches.
    State(Init),
    /// Made and used within a run.
    Temporary,
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
    pub segment: usize,
}

/// A recording of ops over values. See the [crate documentation](crate) for how it is used.
#[derive(Debug)]
pub struct Tape {
    pub(crate) values: Vec<Value>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) segments: Vec<String>,
    /// States set to zero when a segment begins, as (segment, state).
    pub(crate) cleared: Vec<(usize, Var)>,
    pub(crate) scope: Vec<String>,
    frozen: bool,
}

impl Tape {
    /// An empty tape whose first segment has this name.
    pub fn new(segment: &str) -> Self {
        Self {
            values: Vec::new(),
            nodes: Vec::new(),
            segments: vec![segment.into()],
            cleared: Vec::new(),
            scope: Vec::new(),
            frozen: false,
        }
    }

    /// From here on parameters are frozen, but for adapters.
    pub fn freeze(&mut self) {
        self.frozen = true;
    }

    /// Starts another segment: what follows is run on its own.
    pub fn begin_segment(&mut self, name: &str) {
        self.segments.push(name.into());
    }

    /// A value that the host writes before each run.
    pub fn input(&mut self, name: &str, spec: Spec) -> Var {
        self.value(name.into(), spec, Role::Input)
    }

    /// A trained tensor, named after the current scope.
    pub fn parameter(&mut self, name: &str, shape: impl Into<Shape>, init: Init) -> Var {
        let role = if self.frozen { Role::Frozen(init) } else { Role::Parameter(init) };
        self.value(self.scoped_name(name), Spec::f32(shape), role)
    }

    /// A tensor that is trained even where others are frozen, named after the current scope.
    pub fn adapter(&mut self, name: &str, shape: impl Into<Shape>, init: Init) -> Var {
        self.value(self.scoped_name(name), Spec::f32(shape), Role::Parameter(init))
    }

    /// A tensor that lasts from run to run, by its full name.
    pub fn state(&mut self, name: &str, shape: impl Into<Shape>, init: Init) -> Var {
        self.value(name.into(), Spec::f32(shape), Role::State(init))
    }

    /// Sets a state to zero whenever the first segment begins.
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
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn apply_one(&mut self, op: impl AnyOp, inputs: &[Var]) -> Result<Var, OpError> {
        Ok(self.apply(op, inputs)?[0])
    }

    /// A number that tells this place on the tape apart, for masks.
    pub fn salt(&self) -> u32 {
        self.nodes.len() as u32
    }

    /// Whether an optimiser will change this value.
    pub fn is_trained(&self, var: Var) -> bool {
        matches!(self.values[var.0].role, Role::Parameter(_))
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
        let mut depends: Vec<_> = self.values.iter().map(|v| matches!(v.role, Role::Parameter(_))).collect();
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
        let segment = self.segments.len() - 1;
        self.nodes.push(Node { op, inputs: inputs.to_vec(), outputs: outputs.clone(), scope, segment });
        Ok(outputs)
    }
}
