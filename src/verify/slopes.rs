//! The gradients of a whole tape against finite differences: move a parameter a little, and see how much the loss
//! moves.

use std::sync::Arc;

use crate::engine::device::cpu::Cpu;
use crate::engine::device::{Device, DeviceError, HostData, PlanId};
use crate::engine::op::Var;
use crate::engine::plan::Plan;
use crate::engine::step::Step;
use crate::engine::tape::Tape;
use crate::engine::twin::Elements;
use crate::train::trainer::TrainError;

/// The slope of a loss along one element of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Slope {
    pub parameter: String,
    pub element: usize,
    /// As the tape computes it.
    pub gradient: f64,
    /// (loss(p + h) − loss(p − h)) / 2h.
    pub difference: f64,
}

/// How far an element is moved: a parameter is held in f32, so that much less would drown in its rounding, while the
/// error of the difference grows with h².
const STEP: f32 = 1e-3;

/// The slope of `loss`, (1), along every element of the parameters of `gradients`, (parameter, gradient). The oracle
/// runs the tape twice for each, in f64; parameters begin as `seed` draws them.
pub fn slopes(
    tape: &Tape,
    loss: Var,
    gradients: &[(Var, Var)],
    inputs: &[(&str, HostData)],
    seed: u64,
) -> Result<Vec<Slope>, TrainError> {
    let results: Vec<_> = std::iter::once(loss).chain(gradients.iter().map(|pair| pair.1)).collect();
    let plan = Arc::new(Plan::new(tape, &results)?);
    let mut cpu = Cpu::<f64>::default();
    let id = cpu.load(&plan, seed)?;
    for (name, data) in inputs {
        cpu.set_input(id, name, *data)?;
    }
    let results = &plan.phases[0].results;
    run(&mut cpu, id)?;
    let found: Vec<_> = results.iter().map(|&tensor| elements(&cpu, id, tensor)).collect();
    let mut slopes = Vec::new();
    for (&(parameter, _), gradient) in gradients.iter().zip(&found[1..]) {
        let name = tape.name(parameter);
        let mut values = cpu.read(name)?;
        for element in 0..values.len() {
            let here = values[element];
            let (up, down) = (here + STEP, here - STEP);
            let mut loss_at = |value: f32| -> Result<f64, DeviceError> {
                values[element] = value;
                cpu.write(name, &values)?;
                run(&mut cpu, id)?;
                Ok(elements(&cpu, id, results[0])[0])
            };
            // What the element really moved by, after rounding.
            let difference = (loss_at(up)? - loss_at(down)?) / (f64::from(up) - f64::from(down));
            values[element] = here;
            slopes.push(Slope {
                parameter: name.to_owned(),
                element,
                gradient: gradient[element],
                difference,
            });
        }
        cpu.write(name, &values)?;
    }
    Ok(slopes)
}

fn run(cpu: &mut Cpu<f64>, id: PlanId) -> Result<(), DeviceError> {
    cpu.run(id, 0, &Step::default())?;
    cpu.results(true).map(drop)
}

/// What `results` would give, before it is narrowed to f32.
fn elements(cpu: &Cpu<f64>, id: PlanId, tensor: usize) -> Vec<f64> {
    match cpu.elements(id, tensor) {
        Elements::Real(x) => x.clone(),
        Elements::Index(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::engine::op::Record;
    use crate::engine::tape::{Init, Parameter};
    use crate::engine::tensor::Spec;
    use crate::ops::activation::{Activation, ActivationFunction};
    use crate::ops::combine::Combine;
    use crate::ops::sum::Sum;

    /// Σ tanh(x): the slope is 1 − tanh². With the gradient doubled, the difference does not follow.
    #[test]
    fn a_right_gradient_agrees_and_a_wrong_one_does_not() {
        let mut tape = Tape::new("step");
        let x = tape.parameter("x", [3], Init::Normal(1.0), Parameter::Outer);
        let one = tape.input("one", Spec::f32([3]));
        let y = tape.apply_one(Activation(ActivationFunction::Tanh), &[x]).unwrap();
        let loss = tape.apply_one(Sum { accumulate: false }, &[y]).unwrap();
        let gradient = tape.backward(&[(y, one)], &HashMap::new()).unwrap()[&x];
        assert_eq!(tape.spec(gradient), tape.spec(x));
        let wrong = tape.apply_one(Combine::scale(2.0), &[gradient]).unwrap();
        let inputs = [("one", HostData::F32(&[1.0; 3]))];
        for (gradient, factor) in [(gradient, 1.0), (wrong, 2.0)] {
            let found = slopes(&tape, loss, &[(x, gradient)], &inputs, 7).unwrap();
            let mut cpu = Cpu::<f64>::default();
            cpu.load(&Arc::new(Plan::new(&tape, &[loss]).unwrap()), 7).unwrap();
            assert_eq!(found.len(), 3);
            for (slope, x) in found.iter().zip(cpu.read("x").unwrap()) {
                let want = 1.0 - f64::from(x).tanh().powi(2);
                assert!((slope.gradient - factor * want).abs() < 1e-9, "{slope:?} for {want}");
                assert!((slope.difference - want).abs() < 1e-6, "{slope:?} for {want}");
            }
        }
    }
}
