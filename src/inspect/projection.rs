//! Principal components: points of many dimensions, seen from where they differ most (Pearson 1901), as a picture.

use plotters::prelude::*;

use crate::run::plot::{BLUE, FONT, GRID, INK, PlotError};

/// Points in the plane.
#[derive(Clone, Debug, PartialEq)]
pub struct Projection {
    pub points: Vec<[f64; 2]>,
    /// The parts of all variance that the two directions hold.
    pub shares: [f64; 2],
}

/// Rounds of power iteration: far more than visibly different directions need.
const ROUNDS: usize = 2000;

impl Projection {
    /// The two directions in which `rows` vary most. Each component's largest coordinate is positive.
    ///
    /// The eigenvectors of X Xᵀ, by power iteration: of as many rows as a picture has room for, a small matrix.
    pub fn new(rows: &[&[f64]]) -> Self {
        let n = rows.len();
        let width = rows.first().map_or(0, |row| row.len());
        let mean: Vec<f64> =
            (0..width).map(|i| rows.iter().map(|row| row[i]).sum::<f64>() / n as f64).collect();
        let product =
            |a: &[f64], b: &[f64]| -> f64 { (0..width).map(|i| (a[i] - mean[i]) * (b[i] - mean[i])).sum() };
        let mut gram: Vec<Vec<f64>> =
            rows.iter().map(|a| rows.iter().map(|b| product(a, b)).collect()).collect();
        let variance: f64 = (0..n).map(|i| gram[i][i]).sum();
        let (mut points, mut shares) = (vec![[0.0; 2]; n], [0.0; 2]);
        for component in 0..2 {
            let (value, direction) = largest(&gram);
            for (i, point) in points.iter_mut().enumerate() {
                point[component] = direction[i] * value.sqrt();
            }
            for (row, x) in gram.iter_mut().zip(&direction) {
                row.iter_mut().zip(&direction).for_each(|(cell, y)| *cell -= value * x * y);
            }
            shares[component] = if variance > 0.0 { value / variance } else { 0.0 };
        }
        Self { points, shares }
    }

    /// The picture as SVG: a labelled dot for each point, and a line between those of each pair.
    pub fn to_svg(&self, title: &str, labels: &[String], pairs: &[[usize; 2]]) -> Result<String, PlotError> {
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
            self.draw(&area, title, labels, pairs).map_err(PlotError::new)?;
        }
        Ok(svg)
    }

    fn draw<'a>(
        &self,
        area: &DrawingArea<SVGBackend<'a>, plotters::coord::Shift>,
        title: &str,
        labels: &[String],
        pairs: &[[usize; 2]],
    ) -> Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>> {
        area.fill(&WHITE)?;
        let [x, y] = [0, 1].map(|axis| {
            let along = || self.points.iter().map(|point| point[axis]);
            let (low, high) = (along().fold(f64::MAX, f64::min), along().fold(f64::MIN, f64::max));
            let room = if high > low { 0.12 * (high - low) } else { 1.0 };
            if low > high { -1.0..1.0 } else { low - room..high + room }
        });
        let description = |axis: usize| {
            format!("component {}: {:.0}% of the variance", axis + 1, 100.0 * self.shares[axis])
        };
        let mut chart = ChartBuilder::on(area)
            .caption(title, (FONT, 20).into_font().color(&INK))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(40)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .x_labels(0)
            .y_labels(0)
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .x_desc(description(0))
            .y_desc(description(1))
            .axis_desc_style((FONT, 15).into_font().color(&INK))
            .draw()?;
        let at = |i: usize| (self.points[i][0], self.points[i][1]);
        for &[a, b] in pairs {
            chart.draw_series(LineSeries::new([at(a), at(b)], BLUE.mix(0.4).stroke_width(1)))?;
        }
        chart.draw_series((0..self.points.len()).map(|i| Circle::new(at(i), 3, BLUE.filled())))?;
        let pixels: Vec<_> = (0..self.points.len()).map(|i| chart.backend_coord(&at(i))).collect();
        let ink = (FONT, TEXT).into_font().color(&INK);
        for ((x, y), label) in places(&pixels, labels).into_iter().zip(labels) {
            area.draw(&Text::new(label.clone(), (x, y), ink.clone()))?;
        }
        area.present()
    }
}

const SIZE: (u32, u32) = (860, 640);
/// The size of a label's letters, and how wide one of them is on average.
const TEXT: i32 = 14;
const LETTER: i32 = 7;

/// The upper left corner of each label: the first place around its dot where it covers no dot and no label before it.
fn places(dots: &[(i32, i32)], labels: &[String]) -> Vec<(i32, i32)> {
    let mut taken: Vec<[i32; 4]> = dots.iter().map(|(x, y)| [x - 3, y - 3, x + 3, y + 3]).collect();
    let mut corners = Vec::new();
    for (&(x, y), label) in dots.iter().zip(labels) {
        let width = LETTER * label.chars().count() as i32;
        let around = [
            (x - width / 2, y - TEXT - 5),
            (x - width / 2, y + 5),
            (x + 6, y - TEXT / 2),
            (x - width - 4, y - TEXT / 2),
            (x + 5, y - TEXT - 4),
            (x + 5, y + 4),
            (x - width - 3, y - TEXT - 4),
            (x - width - 3, y + 4),
        ];
        let span = |(x, y): (i32, i32)| [x, y, x + width, y + TEXT];
        let apart = |a: [i32; 4], b: &[i32; 4]| a[2] < b[0] || b[2] < a[0] || a[3] < b[1] || b[3] < a[1];
        let free = around.into_iter().find(|&corner| taken.iter().all(|other| apart(span(corner), other)));
        let corner = free.unwrap_or(around[0]);
        taken.push(span(corner));
        corners.push(corner);
    }
    corners
}

/// The largest eigenvalue of a symmetric matrix without negative ones, and its eigenvector of length 1.
fn largest(matrix: &[Vec<f64>]) -> (f64, Vec<f64>) {
    let times = |x: &[f64]| -> Vec<f64> {
        matrix.iter().map(|row| row.iter().zip(x).map(|(a, x)| a * x).sum()).collect()
    };
    // Scales to length 1 and returns the length before; a zero vector stays zero.
    let unit = |x: &mut Vec<f64>| {
        let length = x.iter().map(|x| x * x).sum::<f64>().sqrt();
        x.iter_mut().for_each(|x| *x /= length.max(f64::MIN_POSITIVE));
        length
    };
    let start = (0..matrix.len()).max_by(|&a, &b| matrix[a][a].total_cmp(&matrix[b][b]));
    let mut direction = start.map_or(Vec::new(), |row| matrix[row].clone());
    unit(&mut direction);
    let mut value = 0.0;
    for _ in 0..ROUNDS {
        direction = times(&direction);
        value = unit(&mut direction);
    }
    let widest = direction.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs())).unwrap_or(0.0);
    if widest < 0.0 {
        direction.iter_mut().for_each(|x| *x = -*x);
    }
    (value, direction)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A rectangle of 6 by 2 in a tilted plane: coordinates ±3 and ±1, nine tenths and one tenth of the variance.
    #[test]
    fn a_tilted_rectangle_is_seen_from_the_front() {
        let (long, short) = ([0.6, 0.0, 0.8], [0.0, 1.0, 0.0]);
        let corners = [[-3.0, -1.0], [3.0, -1.0], [-3.0, 1.0], [3.0, 1.0]];
        let rows = corners.map(|[a, b]| [0, 1, 2].map(|i| 7.0 + a * long[i] + b * short[i]));
        let rows: Vec<&[f64]> = rows.iter().map(|row| row.as_slice()).collect();
        let seen = Projection::new(&rows);
        for (point, corner) in seen.points.iter().zip(corners) {
            for (seen, real) in point.iter().zip(corner) {
                assert!((seen.abs() - f64::abs(real)).abs() < 1e-9, "{point:?} for {corner:?}");
            }
        }
        assert!(seen.points[0][0] * seen.points[1][0] < 0.0 && seen.points[0][1] * seen.points[2][1] < 0.0);
        assert!((seen.shares[0] - 0.9).abs() < 1e-12 && (seen.shares[1] - 0.1).abs() < 1e-12);
    }

    #[test]
    fn little_or_nothing_can_be_drawn() {
        for n in [0, 1, 3] {
            let rows = vec![&[1.0, 2.0][..]; n];
            let labels = vec!["same".to_owned(); n];
            let seen = Projection::new(&rows);
            assert!(seen.points.iter().flatten().all(|x| x.abs() < 1e-12));
            assert!(seen.to_svg("none", &labels, &[]).unwrap().contains("</svg>"));
        }
    }

    #[test]
    fn labels_make_way_for_each_other() {
        let labels = ["king", "queen", "prince"].map(str::to_owned);
        let corners = places(&[(100, 100), (104, 100), (100, 104)], &labels);
        for (i, a) in corners.iter().enumerate() {
            for (j, b) in corners.iter().enumerate().take(i) {
                let [wide_a, wide_b] = [i, j].map(|k| LETTER * labels[k].len() as i32);
                let apart = a.0 + wide_a < b.0 || b.0 + wide_b < a.0 || (a.1 - b.1).abs() > TEXT;
                assert!(apart, "{a:?} {b:?}");
            }
        }
    }
}
