//! Kernels of a step side by side: what binds each, predicted and measured.

use std::fmt::Write;

use serde::Serialize;

use super::kernel::{Explained, Summary};
use super::listing::time;

/// A kernel of a profile, explained.
pub struct Compared {
    pub explained: Explained,
    /// The share of the device's own roofline that was measured, in percent; `None` where no GPU was measured.
    pub measured_percent: Option<f64>,
}

/// What a [`Compared`] is in JSON.
#[derive(Serialize)]
pub struct ComparedSummary {
    #[serde(flatten)]
    pub summary: Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured_percent: Option<f64>,
}

impl Compared {
    pub fn summary(&self) -> ComparedSummary {
        ComparedSummary { summary: self.explained.summary(), measured_percent: self.measured_percent }
    }
}

/// The table as text.
pub fn text(all: &[Compared]) -> String {
    let mut text = format!(
        "{:<26}  {:<17} {:>10} {:>8} {:>9}\n",
        "kernel", "bound by", "predicted", "% roof", "measured"
    );
    for Compared { explained, measured_percent } in all {
        let name = format!("{}/{}", explained.op, explained.variant);
        let measured = measured_percent.map_or("–".into(), |percent| format!("{percent:.1}"));
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{name:<26}  {:<17} {:>10} {:>8.1} {measured:>9}\n  {}",
            explained.binds().name(),
            time(explained.us()),
            explained.percent(),
            explained.shape()
        );
    }
    text
}

/// The table in HTML.
pub fn html(all: &[Compared]) -> String {
    let mut html = String::from(
        "<table><thead><tr><th>kernel<th>shape<th>bound by<th>next<th>predicted µs<th>predicted % of roofline<th>measured %\
         <th>conflicts<th>multiprocessors busy</thead><tbody>",
    );
    for Compared { explained, measured_percent } in all {
        let longest = explained.dispatches.iter().max_by(|(_, a), (_, b)| a.us.total_cmp(&b.us));
        let Some((counted, prediction)) = longest else { continue };
        let next = prediction.units.get(1).map_or(String::new(), |busy| {
            format!("{} {:.0}%", busy.unit.name(), 100.0 * busy.us / prediction.units[0].us.max(1e-9))
        });
        let _ = write!(
            html,
            "<tr><td>{} <small>{}</small><td class=\"shape\">{}<td>{}<td>{next}<td>{:.1}<td>{:.1}<td>{}<td>×{:.2}\
             <td>{:.0}%",
            explained.op,
            explained.variant,
            explained.shape().replace(' ', "&ensp;"),
            explained.binds().name(),
            explained.us(),
            explained.percent(),
            measured_percent.map_or("–".into(), |percent| format!("{percent:.1}")),
            counted.total.conflict(),
            100.0 * prediction.filled,
        );
    }
    html + "</tbody></table>"
}
