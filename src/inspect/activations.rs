//! The activations as curves, f(x) and f'(x), computed by the ops' own twins and derivatives.

use std::collections::HashMap;
use std::sync::Arc;

use plotters::prelude::*;

use super::attention::InspectError;
use crate::engine::device::cpu::Cpu;
use crate::engine::device::{Device, HostData};
use crate::engine::op::AnyOp;
use crate::engine::plan::Plan;
use crate::engine::step::Step;
use crate::engine::tape::{Init, Parameter, Tape};
use crate::engine::tensor::Spec;
use crate::ops::activation::{Activation, ActivationFunction};
use crate::ops::gelu::{Gelu, GeluApproximation};
use crate::ops::softmax::Softmax;
use crate::run::plot::{BLUE, FONT, GRID, INK, ORANGE, PlotError};

/// A function of one number.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    pub name: &'static str,
    pub x: Vec<f32>,
    pub y: Vec<f32>,
    pub slope: Vec<f32>,
}

/// Sigmoid, tanh, ReLU, GELU, SiLU, and what softmax makes of the first of three logits, the others being 0 and 1.
pub fn activations(x: &[f32]) -> Result<Vec<Curve>, InspectError> {
    Ok(vec![
        curve("sigmoid", Activation(ActivationFunction::Sigmoid), x, &[])?,
        curve("tanh", Activation(ActivationFunction::Tanh), x, &[])?,
        curve("ReLU", Activation(ActivationFunction::Relu), x, &[])?,
        curve("GELU", Gelu(GeluApproximation::Exact), x, &[])?,
        curve("SiLU", Activation(ActivationFunction::Silu), x, &[])?,
        curve("softmax of (x, 0, 1)", Softmax { causal: false }, x, &[0.0, 1.0])?,
    ])
}

/// The first element of `op` over rows of an x followed by `others`, and its slope along x.
fn curve(name: &'static str, op: impl AnyOp, x: &[f32], others: &[f32]) -> Result<Curve, InspectError> {
    let width = 1 + others.len();
    let mut tape = Tape::new("curve");
    let rows = tape.parameter("rows", [x.len(), width], Init::Constant(0.0), Parameter::Outer);
    let dy = tape.input("dy", Spec::f32([x.len(), width]));
    let y = tape.apply_one(op, &[rows])?;
    let gradients = tape.backward(&[(y, dy)], &HashMap::new())?;
    let plan = Arc::new(Plan::new(&tape, &[y, gradients[&rows]])?);
    let mut cpu = Cpu::<f64>::default();
    let id = cpu.load(&plan, 0)?;
    let row = |x: &f32| [&[*x], others].concat();
    cpu.write("rows", &x.iter().flat_map(row).collect::<Vec<_>>())?;
    let first: Vec<_> = (0..x.len() * width).map(|i| if i % width == 0 { 1.0 } else { 0.0 }).collect();
    cpu.set_input(id, "dy", HostData::F32(&first))?;
    cpu.run(id, 0, &Step::default())?;
    let results = cpu.results(true)?.unwrap_or_default();
    let column = |values: &Vec<f32>| values.iter().step_by(width).copied().collect();
    Ok(Curve { name, x: x.to_vec(), y: column(&results[0]), slope: column(&results[1]) })
}

/// A panel for each curve: the function in blue, its slope in orange.
pub fn svg(curves: &[Curve]) -> Result<String, PlotError> {
    const COLUMNS: usize = 3;
    let lines = curves.len().div_ceil(COLUMNS);
    let mut svg = String::new();
    {
        let size = (960, 40 + 280 * lines as u32);
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE).map_err(PlotError::new)?;
        let title = (FONT, 20).into_font().color(&INK);
        let area =
            area.titled("Activations (blue) and their slopes (orange)", title).map_err(PlotError::new)?;
        for (panel, curve) in area.split_evenly((lines, COLUMNS)).iter().zip(curves) {
            draw(panel, curve).map_err(PlotError::new)?;
        }
        area.present().map_err(PlotError::new)?;
    }
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw<'a>(
    area: &Area<'a>,
    curve: &Curve,
) -> Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>> {
    let span = |values: &[f32]| {
        values.iter().fold((f32::MAX, f32::MIN), |(low, high), &x| (low.min(x), high.max(x)))
    };
    let (left, right) = span(&curve.x);
    let (low, high) = span(&[curve.y.as_slice(), &curve.slope].concat());
    let room = 0.08 * (high - low);
    let mut chart = ChartBuilder::on(area)
        .caption(curve.name, (FONT, 16).into_font().color(&INK))
        .margin(10)
        .x_label_area_size(24)
        .y_label_area_size(36)
        .build_cartesian_2d(left..right, low - room..high + room)?;
    chart
        .configure_mesh()
        .x_labels(5)
        .y_labels(5)
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style((FONT, 13).into_font().color(&INK))
        .draw()?;
    for (values, colour) in [(&curve.slope, ORANGE), (&curve.y, BLUE)] {
        let points = curve.x.iter().copied().zip(values.iter().copied());
        chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of the closed forms at 1 and −1, to seven digits: GELU(1) = Φ(1), GELU'(1) = Φ(1) + φ(1).
    #[test]
    fn curves_go_through_known_points() {
        let want = [
            ("sigmoid", [0.731_058_6, 0.268_941_4], [0.196_611_9, 0.196_611_9]),
            ("tanh", [0.761_594_2, -0.761_594_2], [0.419_974_3, 0.419_974_3]),
            ("ReLU", [1.0, 0.0], [1.0, 0.0]),
            ("GELU", [0.841_344_7, -0.158_655_3], [1.083_315_5, -0.083_315_5]),
            ("SiLU", [0.731_058_6, -0.268_941_4], [0.927_670_5, 0.072_329_5]),
            // e / (2e + 1), and 1/e / (1/e + 1 + e).
            ("softmax of (x, 0, 1)", [0.422_318_8, 0.090_030_6], [0.243_965_6, 0.081_925_1]),
        ];
        let curves = activations(&[1.0, -1.0]).unwrap();
        for (curve, (name, y, slope)) in curves.iter().zip(want) {
            assert_eq!(curve.name, name);
            for (got, want) in curve.y.iter().chain(&curve.slope).zip(y.into_iter().chain(slope)) {
                assert!((got - want).abs() < 2e-6, "{name}: {got}, not {want}");
            }
        }
        assert!(svg(&curves).unwrap().contains("SiLU"));
    }
}
