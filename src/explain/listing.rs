//! The shader with what each of its lines costs in a left column, and what binds it above.

use std::fmt::Write;

use super::counted::{Amounts, Counted};
use super::kernel::Explained;
use super::predict::{Prediction, Unit};
use crate::engine::device::gpu::recorder::Part;

/// Lines that take less than this share of every unit's work are left out, unless all are wanted.
const HOT: f64 = 0.02;
/// Columns of a terminal.
const COLUMNS: usize = 80;

/// A kernel as text: a summary of each dispatch and the hot lines of its shader, or all of them.
pub fn listing(explained: &Explained, all: bool) -> String {
    let mut text = headline(explained);
    for (counted, prediction) in &explained.dispatches {
        // Writing to a string does not fail.
        let _ = write!(text, "\n{}", summary(counted, prediction, explained.dispatches.len() > 1));
        lines(&mut text, counted, all);
    }
    text
}

/// What binds a kernel, in a line or two.
pub fn headline(explained: &Explained) -> String {
    format!(
        "{}/{} {} on {}\nbound by {}: {}, {:.0}% of the roofline\n",
        explained.op,
        explained.variant,
        explained.shape(),
        explained.machine.name,
        explained.binds().name(),
        time(explained.us()),
        explained.percent()
    )
}

/// Microseconds, or milliseconds where there are many.
pub fn time(us: f64) -> String {
    if us < 1000.0 { format!("{us:.1} µs") } else { format!("{:.2} ms", us / 1e3) }
}

fn summary(counted: &Counted, prediction: &Prediction, several: bool) -> String {
    let (anatomy, all) = (&counted.of.anatomy, &counted.total);
    let mut text = String::new();
    let of_it = if several {
        format!(": bound by {}, {}", prediction.binds().name(), time(prediction.us))
    } else {
        String::new()
    };
    let _ = writeln!(text, "shaders/{}.wgsl{of_it}", counted.of.shader);
    let most = prediction.units[0].us.max(1e-9);
    let mut at = 0;
    for busy in prediction.units.iter().filter(|busy| busy.us > 0.01 * most || busy.unit == Unit::MultiplyAdd)
    {
        let entry = format!("{} {}", busy.unit.name(), time(busy.us));
        let begins = at == 0 || at + entry.chars().count() + 2 > COLUMNS;
        if begins && at > 0 {
            text.push('\n');
        }
        text += if begins { "  " } else { ", " };
        at = if begins { 2 } else { at + 2 } + entry.chars().count();
        text += &entry;
    }
    let per_invocation = |warps: f64| warps / counted.warps();
    let _ = write!(
        text,
        "\n  an invocation: {:.0} multiply-adds, {:.0} other float, {:.0} special, {:.0} integer\n  a workgroup: {} \
         invocations, {} bytes of workgroup memory, {:.0} barriers,\n    about {} registers an invocation\n  {} \
         workgroups: the busiest multiprocessor has {}, {:.0}% of all are busy\n",
        per_invocation(all.multiply_adds),
        per_invocation(all.floats),
        per_invocation(all.special),
        per_invocation(all.integers),
        anatomy.invocations,
        anatomy.workgroup_bytes,
        per_invocation(all.barriers),
        anatomy.registers,
        counted.workgroups(),
        prediction.waves,
        100.0 * prediction.filled,
    );
    if all.cycles > 0.0 {
        let _ = writeln!(
            text,
            "  workgroup memory: {:.0} cycles a workgroup, {:.2} times the least",
            all.cycles,
            all.conflict()
        );
    }
    let _ = writeln!(
        text,
        "  storage: {:.0} sectors a workgroup, {:.2} times the least",
        all.sectors,
        all.excess()
    );
    if counted.left_out > 0.0 {
        let _ = writeln!(
            text,
            "  {:.0}% of accesses were more than the record holds: taken to be as the others",
            100.0 * counted.left_out
        );
    }
    text
}

/// The costs of a line.
fn columns(amounts: &Amounts) -> String {
    let number = |value: f64| if value < 0.5 { String::new() } else { short(value) };
    let factor = |value: f64| if value < 1.005 { String::new() } else { format!("×{}", short(value)) };
    let others = amounts.floats + amounts.special + amounts.integers;
    format!(
        "{:>5}{:>5}{:>5}{:>5}{:>5}{:>5}",
        number(amounts.cycles),
        factor(amounts.conflict()),
        number(amounts.sectors),
        factor(amounts.excess()),
        number(amounts.multiply_adds),
        number(others)
    )
}

/// A number in at most four columns.
fn short(value: f64) -> String {
    match value {
        ..10.0 if value.fract() > 0.05 => format!("{value:.1}"),
        ..1e4 => format!("{value:.0}"),
        ..1e6 => format!("{:.0}k", value / 1e3),
        _ => format!("{:.0}M", value / 1e6),
    }
}

fn lines(text: &mut String, counted: &Counted, all: bool) {
    let total = &counted.total;
    let is_hot = |amounts: &Amounts| {
        [
            (amounts.cycles, total.cycles),
            (amounts.sectors, total.sectors),
            (amounts.multiply_adds + amounts.floats, total.multiply_adds + total.floats),
            (amounts.special, total.special),
            (amounts.integers, total.integers),
        ]
        .iter()
        .any(|(part, whole)| *part > HOT * whole.max(1.0))
    };
    let _ = writeln!(text, "\n{:>5}{:>5}{:>5}{:>5}{:>5}{:>5}", "bank", "", "sect", "", "mul+", "else");
    let (mut before, mut file) = (0, None);
    let nothing = Amounts::default();
    let sources: Vec<&str> = counted.of.text.lines().collect();
    for (at, source) in sources.iter().enumerate() {
        let amounts = counted.lines.get(&(at + 1)).unwrap_or(&nothing);
        if !all && !is_hot(amounts) {
            continue;
        }
        let (part, number) = counted.of.lines[at];
        let begin = at + 1 - number;
        if file != Some(begin) {
            let name = name(part, counted.of.shader, sources[begin]);
            let _ = writeln!(text, "{}", cut(&format!("{:>36}{name}", "")));
        } else if at > before + 1 {
            let _ = writeln!(text, "{:>35}", "…");
        }
        (before, file) = (at, Some(begin));
        let code = source.trim_start();
        let indent = (source.len() - code.len()) / 4;
        let line = format!("{}{number:>5} {:indent$}{code}", columns(amounts), "");
        let _ = writeln!(text, "{}", cut(line.trim_end()));
    }
}

/// The file of a part: of those that are shared, what their first line says.
fn name(part: Part, shader: &str, first: &str) -> String {
    match part {
        Part::Common => format!("common: {}", first.trim_start_matches("// ")),
        Part::Own => format!("shaders/{shader}.wgsl"),
        Part::Frame => format!("frame: {}", first.trim_start_matches("// ")),
    }
}

/// The line, no wider than a terminal.
fn cut(line: &str) -> String {
    match line.char_indices().nth(COLUMNS) {
        None => line.into(),
        Some(_) => line.chars().take(COLUMNS - 1).chain(['…']).collect(),
    }
}
