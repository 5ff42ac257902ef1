//! `loss.svg` and `reward.svg`: a figure over the steps of a run.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::prelude::*;

/// What is drawn: the loss, or another figure of a run. Points are (optimiser steps done, figure).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    pub title: String,
    /// The figure, and its unit.
    pub quantity: &'static str,
    /// That of the batch of each step: drawn thin, and its running mean bold where nothing was estimated.
    pub steps: Vec<(u64, f64)>,
    /// Estimates over many batches, of what is learned from and of what is held out.
    pub train: Vec<(u64, f64)>,
    pub val: Vec<(u64, f64)>,
    /// The least loss any model can have on this text, where it is known.
    pub floor: Option<f64>,
}

/// The picture could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("cannot draw a picture: {0}")]
pub struct PlotError(pub(crate) String);

impl PlotError {
    /// What the drawing library says.
    pub fn new(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

const SIZE: (u32, u32) = (860, 480);
pub(crate) const FONT: &str = "system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif";
/// Blue, orange and green that colour-blind readers can distinguish (Okabe & Ito 2008).
pub(crate) const BLUE: RGBColor = RGBColor(0, 114, 178);
pub(crate) const ORANGE: RGBColor = RGBColor(213, 94, 0);
pub(crate) const GREEN: RGBColor = RGBColor(0, 125, 90);
pub(crate) const INK: RGBColor = RGBColor(50, 50, 50);
pub(crate) const GRID: RGBColor = RGBColor(225, 225, 225);

/// More points than this would make a larger file, not a finer line.
const MOST_POINTS: usize = 1000;

/// Where a picture is drawn.
pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(crate) type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

/// A picture as SVG.
pub(crate) fn svg(draw: impl for<'a> FnOnce(&Area<'a>) -> Drawn<'a>) -> Result<String, PlotError> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        draw(&area).map_err(|error| PlotError(error.to_string()))?;
    }
    Ok(svg)
}

impl Curve {
    /// The picture as SVG. Points that are not finite are left out; without any, the axes are empty.
    pub fn to_svg(&self) -> Result<String, PlotError> {
        svg(|area| self.draw(area))
    }

    fn draw<'a>(&self, area: &Area<'a>) -> Drawn<'a> {
        area.fill(&WHITE)?;
        let [steps, train, val] = [&self.steps, &self.train, &self.val].map(|points| finite(points));
        let (x, y) = self.ranges(&[&steps, &train, &val]);
        let decimals = if y.end - y.start < 1.0 { 2 } else { 1 };
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, (FONT, 20).into_font().color(&INK))
            .margin(12)
            .margin_right(24)
            .x_label_area_size(48)
            .y_label_area_size(60)
            .build_cartesian_2d(x.clone(), y)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(INK)
            .x_desc("step")
            .y_desc(self.quantity)
            .x_label_formatter(&|step| with_commas(*step))
            .y_label_formatter(&|loss| format!("{loss:.decimals$}"))
            .label_style((FONT, 14).into_font().color(&INK))
            .axis_desc_style((FONT, 15).into_font().color(&INK))
            .draw()?;

        chart.draw_series(LineSeries::new(thinned(&steps), BLUE.mix(0.25).stroke_width(1)))?;
        for (name, estimates, colour) in [("train", train, BLUE), ("val", val, ORANGE)] {
            let Some(&(_, last)) = estimates.last() else { continue };
            chart.draw_series(estimates.iter().map(|&point| Circle::new(point, 3, colour.filled())))?;
            chart
                .draw_series(LineSeries::new(estimates, colour.stroke_width(2)))?
                .label(format!("{name} {last:.4}"))
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 22, y)], colour.stroke_width(3)));
        }
        let (window, mean) = running_mean(&steps);
        if let Some(&(_, last)) = mean.last().filter(|_| self.train.is_empty() && self.val.is_empty()) {
            let of = if window == 1 { "the last step".into() } else { format!("mean of {window} steps") };
            chart
                .draw_series(LineSeries::new(thinned(&mean), BLUE.stroke_width(2)))?
                .label(format!("{of} {last:.4}"))
                .legend(|(x, y)| PathElement::new([(x, y), (x + 22, y)], BLUE.stroke_width(3)));
        }
        if let Some(floor) = self.floor {
            let line = [(x.start, floor), (x.end, floor)];
            chart
                .draw_series(DashedLineSeries::new(line, 6, 5, GREEN.stroke_width(2)))?
                .label(format!("floor {floor:.4}"))
                .legend(|(x, y)| PathElement::new([(x, y), (x + 22, y)], GREEN.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .margin(14)
            .legend_area_size(30)
            .background_style(WHITE.mix(0.85))
            .border_style(GRID)
            .label_font((FONT, 15).into_font().color(&INK))
            .draw()?;
        area.present()
    }

    /// The steps and losses that the axes span, with some room above and below.
    fn ranges(&self, series: &[&[(f64, f64)]]) -> (Range<f64>, Range<f64>) {
        let points = || series.iter().copied().flatten();
        let last = points().map(|&(step, _)| step).fold(1.0, f64::max);
        let losses = || points().map(|&(_, loss)| loss).chain(self.floor);
        let (least, most) = losses().fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
        if least > most {
            return (0.0..last, 0.0..1.0);
        }
        let room = ((most - least) * 0.06).max(0.05);
        // A loss is not below zero, and should not seem to be.
        let low = if least < 0.0 { least - room } else { (least - room).max(0.0) };
        (0.0..last, low..most + room)
    }
}

fn finite(points: &[(u64, f64)]) -> Vec<(f64, f64)> {
    points.iter().filter(|(_, loss)| loss.is_finite()).map(|&(step, loss)| (step as f64, loss)).collect()
}

/// A fiftieth of all points, and each point's mean with those before it over so many: a line that can be read through
/// the noise of batches.
fn running_mean(points: &[(f64, f64)]) -> (usize, Vec<(f64, f64)>) {
    let window = (points.len() / 50).max(1);
    let mut sum = 0.0;
    let mean = |(i, &(step, loss)): (usize, &(f64, f64))| {
        sum += loss;
        if i >= window {
            sum -= points[i - window].1;
        }
        (step, sum / (i + 1).min(window) as f64)
    };
    (window, points.iter().enumerate().map(mean).collect())
}

/// At most about [`MOST_POINTS`], evenly chosen, the last among them.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let every = points.len().div_ceil(MOST_POINTS).max(1);
    let skipped = points.len().saturating_sub(1) % every;
    points.iter().skip(skipped).step_by(every).copied().collect()
}

/// 12000 as `12,000`.
fn with_commas(number: f64) -> String {
    let digits = format!("{number:.0}");
    let group = |(i, digit): (usize, char)| {
        let comma = i > 0 && (digits.len() - i).is_multiple_of(3);
        comma.then_some(',').into_iter().chain([digit])
    };
    digits.chars().enumerate().flat_map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(n: u64) -> Curve {
        Curve {
            title: "mini on tinyshakespeare".into(),
            quantity: "loss (nats per token)",
            steps: (1..=n)
                .map(|i| {
                    let noise = ((i * 7919 % 101) as f64 / 101.0 - 0.5) * 0.2;
                    (i, 1.5 + 2.7 * (-(i as f64) / 300.0).exp() + noise)
                })
                .collect(),
            train: (0..=n / 250).map(|i| (250 * i, 1.6 + 2.5 * (-(i as f64) / 1.3).exp())).collect(),
            val: (0..=n / 250).map(|i| (250 * i, 1.7 + 2.5 * (-(i as f64) / 1.3).exp())).collect(),
            floor: Some(1.2),
        }
    }

    #[test]
    fn a_picture_has_its_labels() {
        let svg = curve(2000).to_svg().unwrap();
        // 2.5 e^(-8 / 1.3) = 0.0053
        let labels = [
            "mini on tinyshakespeare",
            "step",
            "nats per token",
            "train 1.6053",
            "val 1.7053",
            "floor 1.2000",
        ];
        assert_eq!(labels.map(|label| svg.matches(label).count()), [1; 6]);
        assert!(svg.len() < 100_000, "{} bytes", svg.len());
    }

    #[test]
    fn little_or_nothing_can_be_drawn() {
        let odd = vec![(1, f64::NAN), (2, f64::INFINITY)];
        let one = Curve { steps: vec![(1, 4.2)], ..Default::default() };
        let below = Curve { steps: vec![(1, -0.8), (2, 0.3)], quantity: "reward", ..Default::default() };
        assert!(below.ranges(&[&finite(&below.steps)]).1.start < -0.8);
        for curve in [Curve::default(), Curve { steps: odd, ..Default::default() }, one, below] {
            assert!(curve.to_svg().unwrap().contains("</svg>"));
        }
    }

    #[test]
    fn without_estimates_the_mean_of_steps_is_drawn_and_named() {
        let steps = (1..=100).map(|i| (i, i as f64)).collect();
        let svg = Curve { steps, quantity: "reward", ..Curve::default() }.to_svg().unwrap();
        assert!(svg.contains("mean of 2 steps 99.5000") && !svg.contains("train"), "{svg}");
    }

    #[test]
    fn the_mean_is_over_a_fiftieth() {
        let points: Vec<_> = (0..100).map(|i| (f64::from(i), f64::from(i))).collect();
        let (window, mean) = running_mean(&points);
        assert_eq!((window, mean[0], mean[1], mean[99]), (2, (0.0, 0.0), (1.0, 0.5), (99.0, 98.5)));
    }

    #[test]
    fn thinning_keeps_the_last() {
        let points: Vec<_> = (0..12_345).map(|i| (f64::from(i), 0.0)).collect();
        let thin = thinned(&points);
        assert!(thin.len() <= MOST_POINTS && thin.last() == points.last());
        assert_eq!(thinned(&points[..3]), points[..3]);
        assert_eq!(thinned(&[]), []);
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0.0, 250.0, 2000.0, 1_234_567.0].map(with_commas), ["0", "250", "2,000", "1,234,567"]);
    }
}
