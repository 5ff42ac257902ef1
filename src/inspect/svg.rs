//! Heat maps of heads as one picture.

use std::fmt::Write;

use super::attention::Head;

/// The side of one head's map, the gap around it, and room for tokens.
const SIDE: f64 = 220.0;
const GAP: f64 = 26.0;
const MARGIN: f64 = 64.0;
/// The most tokens whose labels fit an attention map; with more there are no labels.
const MOST_NAMES: usize = 32;

/// A map for each head: layers from top to bottom, heads from left to right; queries down, keys across.
pub fn svg(heads: &[Head], tokens: &[String]) -> String {
    let columns = heads.iter().map(|head| head.head + 1).max().unwrap_or(0);
    let mut layers: Vec<_> = heads.iter().map(|head| head.layer).collect();
    layers.dedup();
    let named = tokens.len() <= MOST_NAMES;
    let margin = if named { MARGIN } else { GAP };
    let (width, height) =
        (margin + columns as f64 * (SIDE + GAP), margin + layers.len() as f64 * (SIDE + GAP));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"system-ui, sans-serif\" font-size=\"11\" fill=\"#323232\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    for head in heads {
        let line = layers.iter().position(|&layer| layer == head.layer).unwrap_or(0);
        let (x, y) = (margin + head.head as f64 * (SIDE + GAP), margin + line as f64 * (SIDE + GAP));
        map(&mut svg, head, x, y);
        let cell = SIDE / tokens.len().max(1) as f64;
        for (t, token) in tokens.iter().enumerate().filter(|_| named) {
            let at = (t as f64 + 0.7) * cell;
            // Writing to a string does not fail.
            if head.head == 0 {
                let _ = writeln!(
                    svg,
                    "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                    x - 4.0,
                    y + at,
                    escape(token)
                );
            }
            if line == 0 {
                let (x, y) = (x + at, y - 16.0);
                let _ = writeln!(
                    svg,
                    "<text x=\"{x:.1}\" y=\"{y:.1}\" transform=\"rotate(-60 {x:.1} {y:.1})\">{}</text>",
                    escape(token)
                );
            }
        }
    }
    svg + "</svg>\n"
}

fn map(svg: &mut String, head: &Head, x: f64, y: f64) {
    let cell = SIDE / head.time as f64;
    let _ = writeln!(
        svg,
        "<g><title>layer {}, head {}</title>\n<text x=\"{x:.1}\" y=\"{:.1}\">layer {} · head {}</text>\n\
         <rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{SIDE}\" height=\"{SIDE}\" fill=\"#f4f6f8\"/>",
        head.layer,
        head.head,
        y - 4.0,
        head.layer,
        head.head
    );
    for t in 0..head.time {
        for (s, &p) in head.row(t).iter().enumerate().filter(|(_, p)| **p >= 0.005) {
            let _ = writeln!(
                svg,
                "<rect x=\"{:.2}\" y=\"{:.2}\" width=\"{cell:.2}\" height=\"{cell:.2}\" fill=\"#0072b2\" \
                 fill-opacity=\"{p:.3}\"/>",
                x + s as f64 * cell,
                y + t as f64 * cell
            );
        }
    }
    *svg += "</g>\n";
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
