//! A forward pass, layer by layer: what each op of a tape makes of its operands.

use std::sync::Arc;

use super::attention::InspectError;
use crate::engine::device::{Device, HostData};
use crate::engine::op::Var;
use crate::engine::plan::Plan;
use crate::engine::step::Step;
use crate::engine::tape::Tape;
use crate::engine::tensor::Shape;

/// What an op made.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// The place in the model and the op: `mlp.c_fc/matmul`.
    pub name: String,
    pub formula: &'static str,
    pub shape: Shape,
    pub values: Vec<f32>,
}

/// Runs the first phase of a tape on these inputs and hands over the first output of every op, in order; but for
/// those that a later op overwrites.
pub fn layers(
    device: &mut dyn Device,
    tape: &Tape,
    inputs: &[(&str, HostData)],
) -> Result<Vec<Layer>, InspectError> {
    let lasts = |(at, var): (usize, Var)| {
        let overwrites = |&output: &Var| tape.storage(output) == tape.storage(var);
        let later = &tape.nodes[at + 1..];
        !later.iter().any(|node| !node.op.is_view() && node.outputs.iter().any(overwrites))
    };
    let shown: Vec<_> = (tape.nodes.iter().enumerate())
        .map(|(at, node)| (at, node.outputs[0]))
        .filter(|&shown| lasts(shown))
        .collect();
    let results: Vec<_> = shown.iter().map(|&(_, var)| var).collect();
    let plan = Arc::new(Plan::new(tape, &results)?);
    let id = device.load(&plan, 0)?;
    for (name, data) in inputs {
        device.set_input(id, name, *data)?;
    }
    device.run(id, 0, &Step::default())?;
    let values = device.results(true)?.unwrap_or_default();
    let layer = |(&(at, var), values): (&(usize, Var), Vec<f32>)| {
        let (node, info) = (&tape.nodes[at], tape.nodes[at].op.info());
        Layer {
            name: format!("{}/{}", node.scope, info.name),
            formula: info.formula,
            shape: tape.shape(var),
            values,
        }
    };
    Ok(shown.iter().zip(values).map(layer).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::device::cpu::Cpu;
    use crate::engine::tensor::Spec;
    use crate::ops::add::Add;
    use crate::ops::combine::Combine;
    use crate::ops::reshape::Reshape;

    #[test]
    fn every_op_is_told_but_what_is_overwritten() {
        let mut tape = Tape::new("forward");
        let x = tape.input("x", Spec::f32([2, 2]));
        let twice = tape.apply_one(Combine::scale(2.0), &[x]).unwrap();
        let row = tape.scoped("row", |t| t.apply_one(Reshape([4].into()), &[twice])).unwrap();
        let thrice = tape.apply_one(Combine::scale(1.5), &[row]).unwrap();
        tape.apply_one(Add, &[thrice, row]).unwrap();
        let x = [1.0, 2.0, 3.0, 4.0];
        let found = layers(&mut Cpu::<f32>::default(), &tape, &[("x", HostData::F32(&x))]).unwrap();
        let told: Vec<_> = found.iter().map(|layer| (layer.name.as_str(), layer.values[3])).collect();
        assert_eq!(told, [("/combine", 8.0), ("row/reshape", 8.0), ("/add", 20.0)]);
        assert_eq!([found[0].shape, found[1].shape], [[2, 2].into(), [4].into()]);
    }
}
