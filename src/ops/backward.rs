//! The backward pass: every op's derivative, appended in reverse.

use std::collections::HashMap;

use super::add::Add;
use crate::engine::op::{Applied, OpError, Var};
use crate::engine::tape::Tape;

/// The gradients that [`Tape::backward`] found, by value.
pub type Gradients = HashMap<Var, Var>;

impl Tape {
    /// Appends the backward pass: reverse-mode differentiation (Rumelhart, Hinton & Williams 1986), each op's
    /// derivative being more ops.
    ///
    /// `seeds` pairs values with gradients already on the tape; `into` names, for some values, an existing
    /// tensor that their gradient is added to.
    ///
    /// # Errors
    /// When some op's derivative cannot be recorded.
    pub fn backward(&mut self, seeds: &[(Var, Var)], into: &HashMap<Var, Var>) -> Result<Gradients, OpError> {
        let depends = self.depend_on_parameters();
        let mut gradients: Gradients = into.clone();
        for &(value, gradient) in seeds {
            gradients.insert(value, gradient);
        }
        for at in (0..self.nodes.len()).rev() {
            let node = self.nodes[at].clone();
            let upstream: Vec<_> = node.outputs.iter().map(|v| gradients.get(v).copied()).collect();
            let wanted: Vec<_> = node.inputs.iter().map(|v| depends[v.0]).collect();
            if upstream.iter().all(Option::is_none) || !wanted.contains(&true) {
                continue;
            }
            let so_far: Vec<_> = node.inputs.iter().map(|v| gradients.get(v).copied()).collect();
            let applied = Applied {
                inputs: &node.inputs,
                outputs: &node.outputs,
                upstream: &upstream,
                wanted: &wanted,
                so_far: &so_far,
            };
            let outer = std::mem::replace(&mut self.scope, vec![node.scope.clone()]);
            let shares = node.op.vjp(self, &applied).map_err(|e| e.at(&node.scope))?;
            for (i, share) in shares.into_iter().enumerate() {
                let Some(share) = share.filter(|_| wanted[i]) else { continue };
                let in_place = so_far[i].is_some_and(|sum| self.storage(sum) == self.storage(share));
                let total = match gradients.get(&node.inputs[i]) {
                    Some(&sum) if !in_place => self.apply_one(Add, &[sum, share])?,
                    _ => share,
                };
                gradients.insert(node.inputs[i], total);
            }
            self.scope = outer;
        }
        Ok(gradients)
    }
}
