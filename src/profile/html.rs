//! The report as one HTML file that needs nothing else: figures, roofline, the step as a strip, kernels.

use std::fmt::Write;

use super::measure::PartTimes;
use super::report::{Report, mib};
use super::svg::{Palette, escape, roofline, strip};
use super::workload::Workload;
use crate::engine::device::timeline::Clock;
use crate::explain::table::{self, Compared};

/// Kernels in the table.
const LISTED: usize = 40;

/// The page. Kernels that were explained stand below the roofline.
pub fn page(report: &Report, workload: &Workload, times: &[PartTimes], explained: &[Compared]) -> String {
    let palette = Palette::new(report);
    let clock = match report.clock {
        Clock::Timestamps => "by the device's own timestamps",
        Clock::Wall => "by the host's clock",
    };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title} · Lal</title>\n\
         <style>{STYLE}{colours}</style>\n<main>\n\
         <header><h1>{title}</h1><p>{device}</p></header>\n{tiles}\
         <section><h2>Against the roofline</h2>\
         <p>Each dot is a kernel at one shape; its area is its share of the step. The line is the most this \
         device can do: a copy reached {gbps:.1} GB/s, multiply-adds in registers {gflops:.0} GFLOP/s. A dot \
         above the slope found its operands in a cache.</p>{roofline}</section>\n{explained}\
         <section><h2>The step, in order</h2><p>Timed kernel by kernel, {clock}.</p>{strip}</section>\n\
         <section><h2>Kernels</h2><p>Errors are the worst against the f64 oracle on these operands, in units \
         of the bound that follows from them: above 1 a kernel is wrong.</p><div class=\"scroll\">{table}</div></section>\n\
         <section><h2>Memory</h2>{memory}</section>\n</main>\n</html>\n",
        title = escape(&report.title),
        device = escape(&report.device),
        colours = palette.style(),
        tiles = tiles(report),
        gbps = report.roofline.gbps,
        gflops = report.roofline.gflops,
        roofline = roofline(report, &palette),
        explained = binding(explained),
        strip = strip(workload, times, &palette),
        table = kernels(report, &palette),
        memory = memory(report),
    )
}

fn tiles(report: &Report) -> String {
    let ms = |us: f64| format!("{:.2} ms", us / 1e3);
    let rate = report.flops as f64 / report.gpu_us / 1e3;
    let limit = 100.0 * rate / report.roofline.gflops;
    let tile = |value: String, name: &str, more: String| {
        format!("<div><b>{value}</b><span>{name}</span><small>{more}</small></div>")
    };
    [
        "<div class=\"tiles\">".into(),
        tile(ms(report.step_us), "step", format!("{:.2} GFLOP", report.flops as f64 / 1e9)),
        tile(ms(report.gpu_us), "device", format!("kernels one by one {:+.1}%", 100.0 * report.sum_error())),
        tile(
            ms(report.host_us()),
            "host",
            format!(
                "encode {:.0}, submit {:.0}, read {:.0} µs",
                report.host.encode_us, report.host.submit_us, report.host.readback_us
            ),
        ),
        tile(format!("{rate:.1} GFLOP/s"), "reached", format!("{limit:.0}% of the arithmetic limit")),
        tile(mib(report.memory.total()), "memory", format!("{} slots", report.slots)),
        "</div>\n".into(),
    ]
    .concat()
}

/// What binds the kernels that were explained; nothing where none was.
fn binding(explained: &[Compared]) -> String {
    let Some(first) = explained.first() else { return String::new() };
    format!(
        "<section><h2>What binds them</h2><p>Counted from the addresses and operations of a few workgroups, for {} \
         ({}): the unit of it that is busiest, and what the kernel can reach at most because of that.</p>\
         <div class=\"scroll\">{}</div></section>\n",
        first.explained.machine.name,
        escape(&first.explained.machine.sources()),
        table::html(explained)
    )
}

fn kernels(report: &Report, palette: &Palette) -> String {
    let mut html = String::from(
        "<table><thead><tr><th>kernel<th>shape<th>calls<th>µs<th>GFLOP/s<th>GB/s<th>% of roofline<th>share<th>error\
         </thead><tbody>",
    );
    for row in report.rows.iter().take(LISTED) {
        // Writing to a string does not fail.
        let _ = write!(
            html,
            "<tr><td><i class=\"{}\"></i>{} <small>{}</small><td class=\"shape\">{}<td>{}<td>{:.0}<td>{:.1}\
             <td>{:.1}<td>{}<td>{}<td>{}",
            palette.class(row.op),
            row.op,
            row.variant,
            row.shape.replace(' ', "&ensp;"),
            row.calls,
            row.us,
            row.gflops,
            row.gbps,
            meter(row.roofline_percent),
            meter(100.0 * row.share),
            row.error.map_or("–".into(), error),
        );
    }
    html += "</tbody></table>";
    if report.rows.len() > LISTED {
        let rest: f64 = report.rows[LISTED..].iter().map(|row| row.share).sum();
        let _ = write!(html, "<p>and {} more, {:.1}%</p>", report.rows.len() - LISTED, 100.0 * rest);
    }
    html
}

/// A number of percent over a bar of that length.
fn meter(percent: f64) -> String {
    format!("<span class=\"meter\" style=\"--part:{:.1}%\">{percent:.1}</span>", percent.min(100.0))
}

/// An error in units of its bound.
fn error(error: f64) -> String {
    if error > 1.0 { format!("<b class=\"wrong\">{error:.2}</b>") } else { format!("{error:.2}") }
}

fn memory(report: &Report) -> String {
    let m = report.memory;
    let mut html = format!(
        "<p>{} in all: parameters {}, states {}, inputs {}, temporaries {} in {} slots, where at least {} are \
         needed at one time.</p><table><thead><tr><th>largest tensors<th>shape<th>size</thead><tbody>",
        mib(m.total()),
        mib(m.parameters),
        mib(m.states),
        mib(m.inputs),
        mib(m.temporaries),
        report.slots,
        mib(report.least_slot_bytes),
    );
    for tensor in &report.largest {
        let _ = write!(
            html,
            "<tr><td>{}<td class=\"shape\">{}<td>{}",
            escape(&tensor.name),
            tensor.shape,
            mib(tensor.bytes)
        );
    }
    html + "</tbody></table>"
}

const STYLE: &str = include_str!("report.css");
