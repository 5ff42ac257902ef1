//! The report's two drawings. Colours are classes, so that the page decides between light and dark.

use std::fmt::Write;

use super::measure::PartTimes;
use super::report::{Report, Row};
use super::roofline::Roofline;
use super::workload::{Workload, shape};
use crate::engine::device::timeline::LaunchTime;

/// Colours that colour-blind readers tell apart (Okabe & Ito 2008), lightened to be seen on black and white.
const COLOURS: [&str; 8] =
    ["#3d8fd1", "#e6842a", "#2fae86", "#d97bb0", "#e0b92e", "#74c0ea", "#d9593f", "#9a86d6"];
const OTHER: &str = "#9aa1a9";

/// A colour for each of the ops that take the most time; one more for all others.
pub(super) struct Palette {
    ops: Vec<&'static str>,
}

impl Palette {
    pub fn new(report: &Report) -> Self {
        let mut ops = Vec::new();
        for row in &report.rows {
            if ops.len() < COLOURS.len() && !ops.contains(&row.op) {
                ops.push(row.op);
            }
        }
        Self { ops }
    }

    /// The class of an op's marks.
    pub fn class(&self, op: &str) -> String {
        self.ops.iter().position(|known| *known == op).map_or("cx".into(), |i| format!("c{i}"))
    }

    /// What the classes look like.
    pub fn style(&self) -> String {
        let classes = COLOURS.iter().enumerate().map(|(i, colour)| (format!("c{i}"), colour));
        let all = classes.chain([("cx".into(), &OTHER)]);
        all.map(|(class, colour)| format!(".{class} {{ fill: {colour}; color: {colour}; }}\n")).collect()
    }

    fn legend(&self) -> String {
        let entry = |name: &str, class: &str| format!("<span><i class=\"{class}\"></i>{name}</span>");
        let known: String = self.ops.iter().map(|op| entry(op, &self.class(op))).collect();
        format!("<div class=\"legend\">{known}{}</div>", entry("others", "cx"))
    }
}

const WIDTH: f64 = 1100.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 46.0;

/// Both axes, logarithmic: exponents of ten at the ends.
struct Axes {
    x: (f64, f64),
    y: (f64, f64),
}

impl Axes {
    fn around(rows: &[&Row], roof: &Roofline) -> Self {
        let range = |values: Vec<f64>| {
            let low = values.iter().copied().fold(f64::MAX, f64::min).log10();
            let high = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max).log10();
            (low - 0.15, high + 0.25)
        };
        let x = rows.iter().map(|row| intensity(row)).chain([roof.ridge(), roof.ridge() * 2.0]).collect();
        let y = rows.iter().map(|row| row.gflops).chain([roof.gflops]).collect();
        Self { x: range(x), y: range(y) }
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + (value.log10() - self.x.0) / (self.x.1 - self.x.0) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - (value.log10() - self.y.0) / (self.y.1 - self.y.0) * (HEIGHT - TOP - BOTTOM)
    }
}

/// FLOPs per byte.
fn intensity(row: &Row) -> f64 {
    row.cost.flops as f64 / row.cost.bytes.max(1) as f64
}

/// Kernels that take less of the step than this are not drawn: they would only stretch the axes.
const LEAST_SHARE: f64 = 0.0005;

/// Speed over arithmetic intensity, below the line that the device allows.
pub(super) fn roofline(report: &Report, palette: &Palette) -> String {
    // Copies have no arithmetic and so no place on a logarithmic scale.
    let drawn = |row: &&Row| row.cost.flops > 0 && row.share > LEAST_SHARE;
    let rows: Vec<_> = report.rows.iter().filter(drawn).collect();
    let axes = Axes::around(&rows, &report.roofline);
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Roofline\">");
    grid(&mut svg, &axes);
    let mut taken = roof(&mut svg, &axes, &report.roofline);
    let dots: Vec<_> = rows
        .iter()
        .map(|row| Dot {
            x: axes.x(intensity(row)),
            y: axes.y(row.gflops),
            radius: (3.0 + 34.0 * row.share.sqrt()).min(24.0),
        })
        .collect();
    taken.extend(dots.iter().map(Dot::area));
    let (mut labels, mut named) = (String::new(), Vec::new());
    for (row, dot) in rows.iter().zip(&dots) {
        // Writing to a string does not fail.
        let _ = write!(
            svg,
            "<circle class=\"{}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"{:.1}\"><title>{}/{} {}\n{:.0} µs, \
             {:.1} GFLOP/s, {:.1} GB/s, {:.0}% of the roofline</title></circle>",
            palette.class(row.op),
            dot.x,
            dot.y,
            dot.radius,
            row.op,
            row.variant,
            row.shape,
            row.us,
            row.gflops,
            row.gbps,
            row.roofline_percent,
        );
        // An op is named once, where it takes the most time.
        if !named.contains(&row.op) {
            named.push(row.op);
            label(&mut labels, &mut taken, row.op, dot);
        }
    }
    svg + &labels + "</svg>" + &palette.legend()
}

/// Where a kernel is drawn.
struct Dot {
    x: f64,
    y: f64,
    radius: f64,
}

/// Left, top, right and bottom of something drawn.
type Area = [f64; 4];

impl Dot {
    /// The square inside the dot: a name may touch its rim.
    fn area(&self) -> Area {
        let half = 0.75 * self.radius;
        [self.x - half, self.y - half, self.x + half, self.y + half]
    }
}

fn grid(svg: &mut String, axes: &Axes) {
    let (floor, end) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    for exponent in axes.x.0.ceil() as i32..=axes.x.1.floor() as i32 {
        let x = axes.x(10f64.powi(exponent));
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{floor}\"/><text class=\"soft\" \
             x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            floor + 17.0,
            power(exponent)
        );
    }
    for exponent in axes.y.0.ceil() as i32..=axes.y.1.floor() as i32 {
        let y = axes.y(10f64.powi(exponent));
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{end}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text class=\"soft\" \
             x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            y + 4.0,
            power(exponent)
        );
    }
    let _ = write!(
        svg,
        "<text class=\"soft\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">FLOP per byte</text>\
         <text class=\"soft\" transform=\"translate(14 {:.1}) rotate(-90)\" text-anchor=\"middle\">GFLOP/s\
         </text>",
        (LEFT + end) / 2.0,
        HEIGHT - 8.0,
        (TOP + floor) / 2.0
    );
}

fn power(exponent: i32) -> String {
    if exponent >= 0 {
        format!("{}", 10i64.pow(exponent as u32))
    } else {
        format!("{}", 10f64.powi(exponent))
    }
}

/// Draws the limits and returns where their names stand.
fn roof(svg: &mut String, axes: &Axes, roof: &Roofline) -> Vec<Area> {
    let lowest = 10f64.powf(axes.x.0);
    // The slope may leave the drawing at the bottom before it does at the left.
    let start = lowest.max(10f64.powf(axes.y.0) / roof.gbps);
    let (x0, y0) = (axes.x(start), axes.y(start * roof.gbps));
    let (x1, y1, x2) = (axes.x(roof.ridge()), axes.y(roof.gflops), WIDTH - RIGHT);
    let angle = -(y0 - y1).atan2(x1 - x0).to_degrees();
    let (xm, ym) = (x0 + 0.3 * (x1 - x0), y0 + 0.3 * (y1 - y0));
    let _ = write!(
        svg,
        "<path class=\"roof\" d=\"M{x0:.1} {y0:.1} L{x1:.1} {y1:.1} L{x2:.1} {y1:.1}\"/>\
         <text x=\"{x1:.1}\" y=\"{:.1}\" text-anchor=\"end\">{:.0} GFLOP/s</text>\
         <text transform=\"translate({xm:.1} {ym:.1}) rotate({angle:.1}) translate(0 -8)\" \
         text-anchor=\"middle\">{:.1} GB/s</text>",
        y1 - 7.0,
        roof.gflops,
        roof.gbps,
    );
    let top = [x1 - 90.0, y1 - 22.0, x1, y1 - 2.0];
    vec![top, [xm - 40.0, ym - 36.0, xm + 40.0, ym + 10.0], [x1, y1 - 2.0, x2, y1 + 2.0]]
}

/// Writes a name next to a dot where nothing else is; leaves it out when there is no such place.
fn label(svg: &mut String, taken: &mut Vec<Area>, name: &str, dot: &Dot) {
    let (width, height) = (6.4 * name.len() as f64, 13.0);
    let (x, y, gap) = (dot.x, dot.y, dot.radius + 5.0);
    let places = [
        (x + gap, y - height / 2.0),
        (x - gap - width, y - height / 2.0),
        (x - width / 2.0, y - gap - height),
        (x - width / 2.0, y + gap),
        (x + 0.7 * gap, y + 0.6 * gap),
        (x - 0.7 * gap - width, y + 0.6 * gap),
        (x + 0.7 * gap, y - 0.6 * gap - height),
        (x - 0.7 * gap - width, y - 0.6 * gap - height),
    ];
    let free = |&&(left, top): &&(f64, f64)| {
        let inside =
            left > LEFT && left + width < WIDTH - RIGHT && top > TOP && top + height < HEIGHT - BOTTOM;
        inside
            && taken
                .iter()
                .all(|[l, t, r, b]| left > *r || left + width < *l || top > *b || top + height < *t)
    };
    if let Some(&(left, top)) = places.iter().find(free) {
        taken.push([left, top, left + width, top + height]);
        let _ = write!(svg, "<text class=\"name\" x=\"{left:.1}\" y=\"{:.1}\">{name}</text>", top + 10.5);
    }
}

/// The launches of a step side by side, as wide as they took long, under the place in the model.
pub(super) fn strip(workload: &Workload, times: &[PartTimes], palette: &Palette) -> String {
    let launches: Vec<_> = times.iter().flat_map(|t| &t.detailed.launches).collect();
    let total: f64 = launches.iter().map(|launch| launch.span.us).sum();
    let scale = WIDTH / total.max(1e-3);
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} 118\" role=\"img\" aria-label=\"The step in order\">");
    let mut x = 0.0;
    let node = |launch: &LaunchTime| &workload.plan.nodes[launch.node];
    for group in launches.chunk_by(|a, b| place(&node(a).name) == place(&node(b).name)) {
        let width = scale * group.iter().map(|launch| launch.span.us).sum::<f64>();
        let name = place(&node(group[0]).name);
        block(&mut svg, "band", [x, 0.0, width, 30.0], &name, "", &name);
        for launch in group {
            let node = node(launch);
            let (op, width) = (node.op.info().name, scale * launch.span.us);
            let title = format!("{}\n{} {}, {:.0} µs", node.name, launch.shader, shape(node), launch.span.us);
            block(&mut svg, &palette.class(op), [x, 34.0, width, 56.0], op, " in", &title);
            x += width;
        }
    }
    for tenth in 0..=4 {
        let (x, anchor) = match tenth {
            0 => (0.0, "start"),
            4 => (WIDTH, "end"),
            n => (WIDTH * f64::from(n) / 4.0, "middle"),
        };
        let ms = total * f64::from(tenth) / 4e3;
        let _ = write!(
            svg,
            "<text class=\"soft\" x=\"{x}\" y=\"110\" text-anchor=\"{anchor}\">{ms:.1} ms</text>"
        );
    }
    svg + "</svg>" + &palette.legend()
}

/// A rectangle with its name, where that fits.
fn block(svg: &mut String, class: &str, [x, y, w, h]: [f64; 4], name: &str, inside: &str, title: &str) {
    let _ = write!(
        svg,
        "<g><title>{}</title><rect class=\"{class}\" x=\"{x:.2}\" y=\"{y}\" width=\"{w:.2}\" height=\"{h}\" \
         rx=\"2\"/>",
        escape(title)
    );
    if w > 6.6 * name.len() as f64 + 6.0 {
        let (x, y) = (x + w / 2.0, y + h / 2.0 + 4.0);
        let _ = write!(
            svg,
            "<text class=\"{}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{}</text>",
            inside.trim(),
            escape(name)
        );
    }
    *svg += "</g>";
}

/// The block of a model that a node belongs to: `h.3` of `transformer.h.3.attn/matmul`.
fn place(name: &str) -> String {
    let scope = name.split('/').next().unwrap_or_default();
    let parts: Vec<_> = scope.split('.').skip_while(|part| *part == "transformer").collect();
    let wanted = if parts.first() == Some(&"h") { 2 } else { 1 };
    parts[..parts.len().min(wanted)].join(".")
}

/// Text as it may stand in HTML.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
