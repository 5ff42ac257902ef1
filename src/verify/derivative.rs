//! Derivatives against central finite differences of the f64 twin.
//!
//! The op is in mid-graph: its gradient comes from a random upstream one, and is added to a sum that is
//! already there, as it is where a value is used twice.

use std::collections::HashMap;
use std::sync::Arc;

use super::check::{specs, twin};
use super::compare::compare_with;
use super::inputs::{draw, uniform, widen};
use super::{Check, CheckKind};
use crate::engine::case::Case;
use crate::engine::device::cpu::Cpu;
use crate::engine::device::{Device, HostData};
use crate::engine::op::{OpError, Record, Var};
use crate::engine::plan::Plan;
use crate::engine::tape::{Init, Parameter, State, Tape};
use crate::engine::tensor::{Dtype, Shape};
use crate::engine::twin::Elements;

/// Elements of each operand that are moved; each costs two runs of the twin.
const SAMPLES: usize = 16;

/// The stream of random numbers that upstream gradients come from, apart from those of operands.
const UPSTREAM: u64 = 100;

/// The sum that a gradient is added to when it is not the first.
const SUM: f32 = 0.5;

type Failure = Box<dyn std::error::Error>;

/// The derivative of every output that has one with respect to every operand that is not fixed; no verdicts for an
/// op without a derivative, or one that gives indices.
pub fn check_derivative(case: &Case) -> Vec<Check> {
    let outputs = match specs(case) {
        Ok((_, outputs)) => (0..outputs.len()).filter(|&i| outputs[i].dtype == Dtype::F32).collect(),
        Err(_) => vec![0],
    };
    let mut checks = Vec::new();
    let mut refusals = Vec::new();
    for output in outputs {
        for accumulate in [false, true] {
            let how = if accumulate { ", added to a sum" } else { "" };
            let mut check = Check::of(case, format!("of output {output}{how}"), CheckKind::Derivative);
            match gradients(case, output, accumulate) {
                Ok(found) if found.iter().all(Option::is_none) => continue,
                Ok(found) => {
                    if let Err(error) = compare_all(&mut check, case, output, &found) {
                        check.fail(error);
                    }
                }
                Err(error) => {
                    check.fail(error);
                    refusals.push(check);
                    continue;
                }
            }
            checks.push(check);
        }
    }
    // An output without a derivative, such as a saved mean, is refused; but some output must have one.
    if checks.is_empty() { refusals } else { checks }
}

/// The gradient of Σ upstream · output with respect to each operand, as the op's derivative computes it in
/// f64; `None` where there is none.
fn gradients(case: &Case, output: usize, accumulate: bool) -> Result<Vec<Option<Vec<f64>>>, Failure> {
    let operands = draw(case);
    let mut tape = Tape::new("case");
    let name = |i: usize| format!("input {i}");
    let vars: Vec<_> = (case.inputs.iter().enumerate())
        .map(|(i, input)| match input.fixed {
            false => tape.parameter(&name(i), input.spec.shape, Init::Constant(0.0), Parameter::Outer),
            true => tape.input(&name(i), input.spec),
        })
        .collect();
    let outputs = tape.record(case.op.clone(), &vars)?;
    let spec = tape.spec(outputs[output]);
    let upstream = tape.input("upstream", spec);
    let mut sums = HashMap::new();
    for (i, &var) in vars.iter().enumerate().filter(|_| accumulate) {
        if !case.inputs[i].fixed {
            let sum = tape.state(
                &format!("sum {i}"),
                case.inputs[i].spec.shape,
                Init::Constant(SUM),
                State::Transient,
            );
            sums.insert(var, sum);
        }
    }
    let found = tape.backward(&[(outputs[output], upstream)], &sums)?;
    let found = |var: &Var| found.get(var).copied().filter(|gradient| sums.get(var) != Some(gradient));
    let wanted: Vec<Var> = vars.iter().filter_map(found).collect();
    let plan = Arc::new(Plan::new(&tape, &wanted)?);

    let mut cpu = Cpu::<f64>::default();
    let id = cpu.load(&plan, 0)?;
    for (i, elements) in operands.iter().enumerate() {
        match elements {
            Elements::Real(x) if case.inputs[i].fixed => cpu.set_input(id, &name(i), HostData::F32(x))?,
            Elements::Real(x) => cpu.write(&name(i), x)?,
            Elements::Index(x) => cpu.set_input(id, &name(i), HostData::U32(x))?,
        }
    }
    let upstream_values = uniform(spec.shape.len(), UPSTREAM);
    // An upstream gradient that nothing reads is not part of the plan's inputs.
    cpu.set_input(id, "upstream", HostData::F32(&upstream_values))?;
    cpu.run(id, 0, &case.step)?;

    // Results are listed in the order they were wanted, less those that no node makes.
    let mut made = plan.phases[0].results.iter();
    let mut read = |var: Var| match tape.nodes.iter().any(|n| n.outputs.contains(&var)) {
        true => made.next().map(|&tensor| cpu.elements(id, tensor).clone()),
        false => Some(Elements::Real(upstream_values.iter().map(|&x| x.into()).collect())),
    };
    let gradient = |(var, input): (&Var, &crate::engine::case::CaseInput)| match read(found(var)?) {
        Some(Elements::Real(mut x)) => {
            // Temporaries share memory: the rest of it is another's.
            x.truncate(input.spec.shape.len());
            if accumulate {
                x.iter_mut().for_each(|x| *x -= f64::from(SUM));
            }
            Some(x)
        }
        _ => None,
    };
    Ok(vars.iter().zip(&case.inputs).map(gradient).collect())
}

/// Compares the gradients found with finite differences.
fn compare_all(
    check: &mut Check,
    case: &Case,
    output: usize,
    found: &[Option<Vec<f64>>],
) -> Result<(), OpError> {
    let mut operands = widen(&draw(case));
    for i in 0..operands.len() {
        let Elements::Real(values) = &operands[i] else { continue };
        if case.inputs[i].fixed {
            continue;
        }
        let len = values.len();
        let nothing = vec![0.0; len];
        let gradient = found[i].as_ref().unwrap_or(&nothing);
        if gradient.len() != len {
            check.fail(format!("the gradient of operand {i} has {} elements, not {len}", gradient.len()));
            continue;
        }
        // A stride prime to most extents visits all rows and columns.
        let sampled: Vec<_> = (0..len.min(SAMPLES)).map(|s| (s * 7919 + s * len / SAMPLES) % len).collect();
        let largest = gradient.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
        let mut want = Vec::with_capacity(sampled.len());
        for &at in &sampled {
            let (slope, noise) = difference(case, output, &mut operands, i, at)?;
            want.push((slope, 1e-6 * slope.abs() + 1e-7 * largest + noise));
        }
        let got: Vec<_> = sampled.iter().map(|&at| gradient[at]).collect();
        let worst = compare_with(got.into_iter(), want.into_iter(), Shape::from([sampled.len()]));
        check.add(format!("gradient of operand {i}, of the elements {sampled:?}"), worst);
    }
    Ok(())
}

/// The slope of Σ upstream · output along one element of one operand, and the rounding error in it.
fn difference(
    case: &Case,
    output: usize,
    operands: &mut [Elements<f64>],
    operand: usize,
    at: usize,
) -> Result<(f64, f64), OpError> {
    let here = replace(operands, operand, at, 0.0);
    // The cube root of the rounding unit balances rounding against curvature.
    let h = 6e-6 * here.abs().max(1.0);
    replace(operands, operand, at, here + h);
    let above = twin(case, operands)?.swap_remove(output);
    replace(operands, operand, at, here - h);
    let below = twin(case, operands)?.swap_remove(output);
    replace(operands, operand, at, here);

    let upstream = uniform(above.len(), UPSTREAM).into_iter();
    let (mut slope, mut magnitude) = (0.0, 0.0);
    for ((above, below), upstream) in above.iter().zip(&below).zip(upstream.map(f64::from)) {
        slope += upstream * (above - below) / (2.0 * h);
        magnitude += (upstream * above).abs();
    }
    Ok((slope, 8.0 * f64::EPSILON * magnitude / h))
}

/// Puts a number in an operand's place and returns what was there.
fn replace(operands: &mut [Elements<f64>], operand: usize, at: usize, with: f64) -> f64 {
    match &mut operands[operand] {
        Elements::Real(x) => std::mem::replace(&mut x[at], with),
        Elements::Index(_) => with,
    }
}
