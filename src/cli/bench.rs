//! `lal bench`: every kernel at the shapes of real models, against what the device can reach; or that alone.

use serde::Serialize;
use serde_json::json;

use super::device::{DeviceArgs, limits_file, roofline};
use super::failure::Exit;
use super::output::Output;
use super::values::op;
use crate::profile::bench::{Figure, PRESETS, ladder};
use crate::profile::columns::wrapped;
use crate::profile::limits::Limits;
use crate::profile::roofline::Roofline;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Time only this op (see `lal ops`)
    #[arg(long, value_name = "NAME", value_parser = op)]
    op: Option<String>,
    /// Measure what the device can do at all: arithmetic, memory, dispatches. It is kept, and rooflines start from it
    #[arg(long, conflicts_with = "op")]
    limits: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event {
    Start { device: String, gflops: f64, gbps: f64 },
    Skipped { op: &'static str, shape: String },
    Done { kernels: usize, skipped: usize },
}

pub fn run(args: &Args, output: Output) -> anyhow::Result<Exit> {
    if args.limits {
        return limits(args, output);
    }
    let mut opened = args.device.open(output)?;
    let device = opened.subject();
    let (roofline, measured) = roofline(device)?;
    let Roofline { gflops, gbps } = roofline;
    if output.json {
        output.event(&Event::Start { device: device.describe(), gflops, gbps })?;
    } else {
        output.line(wrapped(&device.describe(), 2))?;
        let when = measured.map_or("here".into(), |date| format!("on {date}"));
        output.line(format!("limits measured {when}: {gflops:.0} GFLOP/s, {gbps:.1} GB/s\n"))?;
        output.line(HEADING)?;
    }
    let presets = if device.slow() { &PRESETS[..2] } else { &PRESETS };
    let (mut kernels, mut skipped) = (0, 0);
    for rung in ladder(presets, args.op.as_deref())? {
        if device.slow() && rung.is_long(&roofline) {
            skipped += 1;
            if output.json {
                output.event(&Event::Skipped { op: rung.op, shape: rung.shape })?;
            }
            continue;
        }
        if !output.json {
            output.line(wrapped(&rung.shape, 2))?;
        }
        for figure in rung.measure(device, &roofline)? {
            kernels += 1;
            if output.json {
                output.named("kernel", &figure)?;
            } else {
                output.line(line(&figure))?;
            }
        }
    }
    if output.json {
        output.event(&Event::Done { kernels, skipped })?;
    } else if skipped > 0 {
        output.line(format!(
            "\nleft out: {skipped} shapes that may take more than a second each on this processor"
        ))?;
    }
    Ok(Exit::Done)
}

/// `--limits`
fn limits(args: &Args, output: Output) -> anyhow::Result<Exit> {
    let mut opened = args.device.open_extended(output)?;
    let bar = output.progress("parts of what the device can do");
    let limits = Limits::measure(opened.subject(), &mut |done, of| bar.at(done, of))?;
    drop(bar);
    if output.json {
        for row in limits.rows() {
            output.named("limit", &row)?;
        }
        let Limits { device, driver, version, date, .. } = &limits;
        let done =
            json!({"event": "done", "device": device, "driver": driver, "version": version, "date": date});
        output.event(&done)?;
    } else {
        output.line(limits.to_text())?;
    }
    if let Some(file) = limits_file() {
        match limits.keep(&file) {
            Ok(()) => output.remark(format!("kept in {}", file.display())),
            Err(error) => output.remark(format!("not kept: {error}")),
        }
    }
    Ok(Exit::Done)
}

const HEADING: &str = "kernel (*: the device's choice)      µs  GFLOP/s    GB/s  % roof";

fn line(figure: &Figure) -> String {
    format!(
        "  {:<26}{} {:>9.1}  {:>7.1} {:>7.1}  {:>6.1}",
        format!("{}/{}", figure.op, figure.variant),
        if figure.chosen { '*' } else { ' ' },
        figure.us,
        figure.gflops,
        figure.gbps,
        figure.roofline_percent,
    )
}
