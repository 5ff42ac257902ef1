//! Fewer nodes for a single row: products take in the norm before them and GELU after them.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use super::gelu::Gelu;
use super::layer_norm::LayerNorm;
use super::matmul::Matmul;
use super::norm_linear::NormLinear;
use super::residual_norm::ResidualNorm;
use super::rms_norm::RmsNorm;
use crate::engine::op::{AnyOp, Op, OpError, Var};
use crate::engine::tape::{Node, Role, Tape, Value};

/// The op of a node, if it is of this type.
fn of<T: Op>(node: &Node) -> Option<&T> {
    let op: &dyn AnyOp = node.op.as_ref();
    (op as &dyn Any).downcast_ref()
}

/// A norm that a product may take in.
struct Norm {
    op: NormLinear,
    /// x, perhaps a branch, weight, perhaps bias.
    inputs: Vec<Var>,
    /// What the product reads, and the sum of x and the branch if others read it.
    normed: Var,
    sum: Option<Var>,
}

fn norm(node: &Node) -> Option<Norm> {
    let plain =
        NormLinear { centred: true, eps: 0.0, branch: false, norm_bias: false, bias: false, gelu: None };
    let (op, normed, sum) = if let Some(norm) = of::<LayerNorm>(node) {
        (NormLinear { eps: norm.eps, norm_bias: node.inputs.len() > 2, ..plain }, 0, None)
    } else if let Some(norm) = of::<ResidualNorm>(node) {
        let norm_bias = node.inputs.len() > 3;
        (NormLinear { eps: norm.eps, branch: true, norm_bias, ..plain }, 1, Some(node.outputs[0]))
    } else {
        (NormLinear { eps: of::<RmsNorm>(node)?.eps, centred: false, ..plain }, 0, None)
    };
    Some(Norm { op, inputs: node.inputs.clone(), normed: node.outputs[normed], sum })
}

impl Tape {
    /// Joins every product of a single row with the norm that it alone reads, and with the GELU that alone reads it.
    /// `results` are read from outside.
    ///
    /// # Errors
    /// None that recording the nodes one by one would not have met.
    pub fn fuse_single_rows(&mut self, results: &[Var]) -> Result<(), OpError> {
        let mut readers: HashMap<Var, Vec<usize>> = HashMap::new();
        let mut makers: HashMap<Var, usize> = HashMap::new();
        for (at, node) in self.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|&input| readers.entry(input).or_default().push(at));
            makers.extend(node.outputs.iter().map(|&output| (output, at)));
        }
        // A result has a reader besides.
        results.iter().for_each(|&result| readers.entry(result).or_default().push(usize::MAX));
        let only = |var: Var| match readers.get(&var).map(Vec::as_slice) {
            Some(&[reader]) => self.nodes.get(reader).map(|node| (reader, node)),
            _ => None,
        };
        let mut instead: HashMap<usize, Option<Node>> = HashMap::new();
        let mut copies = Vec::new();
        for (at, node) in self.nodes.iter().enumerate() {
            let Some(product) = of::<Matmul>(node).filter(|op| is_linear(op)) else { continue };
            let Some(&maker) = makers.get(&node.inputs[0]) else { continue };
            let Some(norm) = norm(&self.nodes[maker]) else { continue };
            let is_row = self.shape(norm.normed).rows() == 1 && self.nodes[maker].phase == node.phase;
            let is_read = |var: &Var| readers.contains_key(var);
            let others =
                self.nodes[maker].outputs.iter().filter(|&&var| var != norm.normed && Some(var) != norm.sum);
            let between = &self.nodes[maker + 1..at];
            let touches = |node: &Node| {
                let written = node.outputs.iter().any(|output| norm.inputs.contains(&self.storage(*output)));
                written || norm.sum.is_some_and(|sum| node.inputs.contains(&sum))
            };
            if !is_row
                || only(norm.normed).is_none()
                || others.clone().any(is_read)
                || between.iter().any(touches)
            {
                continue;
            }
            let after = only(node.outputs[0]).filter(|(_, next)| next.phase == node.phase);
            let gelu = after.and_then(|(reader, next)| Some((reader, next.outputs[0], of::<Gelu>(next)?.0)));
            let op = NormLinear { bias: product.bias, gelu: gelu.map(|(.., form)| form), ..norm.op };
            let inputs: Vec<_> = norm.inputs.iter().chain(&node.inputs[1..]).copied().collect();
            let sum = norm.sum.unwrap_or_else(|| {
                copies.push(norm.inputs[0]);
                Var(self.values.len() + copies.len() - 1)
            });
            let outputs = vec![gelu.map_or(node.outputs[0], |(_, output, _)| output), sum];
            instead.insert(maker, None);
            gelu.into_iter().for_each(|(reader, ..)| drop(instead.insert(reader, None)));
            instead.insert(at, Some(Node { op: Arc::new(op), inputs, outputs, ..node.clone() }));
        }
        for of in copies {
            let (spec, storage) = (self.values[of.0].spec, Var(self.values.len()));
            self.values.push(Value { spec, role: Role::Temporary, name: "norm_linear".into(), storage });
        }
        let nodes = std::mem::take(&mut self.nodes).into_iter().enumerate();
        self.nodes = nodes.filter_map(|(at, node)| instead.remove(&at).unwrap_or(Some(node))).collect();
        for node in &self.nodes {
            let specs: Vec<_> = node.inputs.iter().map(|input| self.values[input.0].spec).collect();
            node.op.infer(&specs).map_err(|error| error.at(&node.scope))?;
        }
        Ok(())
    }
}

/// A linear layer's x·Wᵀ, with or without a bias.
fn is_linear(op: &Matmul) -> bool {
    let Matmul { transpose_a, transpose_b, batched, scale, accumulate, .. } = *op;
    !transpose_a && transpose_b && !batched && scale.to_bits() == 1f32.to_bits() && !accumulate
}
