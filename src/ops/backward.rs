//! The backward pass: every op's derivative, appended in reverse.

use std::collections::HashMap;

use super::add::Add;
use super::combine::Combine;
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
    pub fn backward(&mut self, seeds: &[(Var, Var)], into: &HashMap<Var, Var>) -> Result<Gradients, OpError> {
        let depends = self.depend_on_parameters();
        let mut gradients: Gradients = into.clone();
        for &(value, gradient) in seeds {
            gradients.insert(value, gradient);
        }
        let made_by = self.made_by();
        // The values that have a gradient in each piece of memory.
        let mut holders: HashMap<Var, Vec<Var>> = HashMap::new();
        for (&value, &gradient) in &gradients {
            holders.entry(self.storage(gradient)).or_default().push(value);
        }
        for at in (0..self.nodes.len()).rev() {
            let node = self.nodes[at].clone();
            let upstream: Vec<_> = node.outputs.iter().map(|v| gradients.get(v).copied()).collect();
            let wanted: Vec<_> = node.inputs.iter().map(|v| depends[v.0]).collect();
            if upstream.iter().all(Option::is_none) || !wanted.contains(&true) {
                continue;
            }
            let sums: Vec<_> = node.inputs.iter().map(|v| gradients.get(v).copied()).collect();
            let same = |a: Var, b: Var| self.storage(a) == self.storage(b);
            // Do not accumulate in place if the buffer aliases the upstream gradient, or the gradient of another
            // value that an earlier node will read.
            let may_overwrite = |value: Var, sum: Var| {
                let mut others = holders.get(&self.storage(sum)).into_iter().flatten();
                let is_done = |other: &Var| made_by[other.0].is_some_and(|by| by >= at);
                others.all(|v| *v == value || is_done(v) || !same(gradients[v], sum))
                    && !upstream.iter().flatten().any(|&u| same(u, sum))
            };
            let free: Vec<_> = (node.inputs.iter().zip(&sums))
                .map(|(&v, sum)| sum.is_some_and(|sum| may_overwrite(v, sum)))
                .collect();
            // Of an operand given twice, one share is added in place and the other to that.
            let own = |i: usize| free[i] && !node.inputs[..i].contains(&node.inputs[i]);
            let so_far: Vec<_> = (0..sums.len()).map(|i| sums[i].filter(|_| own(i))).collect();
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
                    Some(&sum) if !in_place && free[i] => self.apply_one(Add, &[sum, share])?,
                    Some(&sum) if !in_place => self.apply_one(Combine::SUM, &[sum, share])?,
                    _ => share,
                };
                gradients.insert(node.inputs[i], total);
                let held = holders.entry(self.storage(total)).or_default();
                if !held.contains(&node.inputs[i]) {
                    held.push(node.inputs[i]);
                }
            }
            self.scope = outer;
        }
        Ok(gradients)
    }

    /// The node that makes each value, if one does.
    fn made_by(&self) -> Vec<Option<usize>> {
        let mut made_by = vec![None; self.values.len()];
        for (at, node) in self.nodes.iter().enumerate() {
            node.outputs.iter().for_each(|v| made_by[v.0] = Some(at));
        }
        made_by
    }
}
