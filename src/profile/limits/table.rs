//! Limits as a table for a terminal.

use std::fmt::Write;

use super::Limits;
use crate::profile::columns::wrapped;

/// Columns of a label, and of a figure after it.
const LABEL: usize = 46;
const FIGURE: usize = 13;

/// Lines under headings.
struct Table(String);

impl Table {
    fn line(&mut self, label: &str, figures: &[String]) {
        let figures: String = figures.iter().map(|figure| format!("{figure:>FIGURE$}")).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{}", format!("{label:<LABEL$}{figures}").trim_end());
    }

    fn heading(&mut self, label: &str, columns: &[&str]) {
        self.0.push('\n');
        self.line(label, &columns.iter().map(|&column| column.to_owned()).collect::<Vec<_>>());
    }

    fn row(&mut self, label: &str, figures: &[String]) {
        self.line(&format!("  {label}"), figures);
    }
}

impl Limits {
    /// A table of at most 80 columns, but for the names of devices that are longer.
    pub fn to_text(&self) -> String {
        let mut table = Table(format!("{}\n", wrapped(&self.device, 2)));
        let measured = format!("{}; measured on {} by Lal {}", self.driver, self.date, self.version);
        let _ = writeln!(table.0, "{}", wrapped(&measured, 2));
        self.arithmetic(&mut table);
        table.heading("storage memory: so much, over and over", &["read", "copy"]);
        for memory in &self.memory {
            let rates = [memory.read_bytes_per_s, memory.copy_bytes_per_s].map(|rate| si(rate, "B/s"));
            table.row(&format!("{:>4} MiB", memory.bytes >> 20), &rates);
        }
        self.workgroup_memory(&mut table);
        self.reductions(&mut table);
        self.overheads(&mut table);
        table.0.truncate(table.0.trim_end().len());
        table.0
    }

    fn arithmetic(&self, table: &mut Table) {
        let arithmetic = &self.arithmetic;
        let rounded = |once: bool| if once { "rounded once" } else { "rounded twice" };
        table.heading("multiply-adds in registers", &["per second"]);
        let figure = |rate| [si(rate, "")];
        let fma = format!("f32, fma(a, b, c), {}", rounded(arithmetic.fma_is_fused));
        table.row(&fma, &figure(arithmetic.fma_per_s));
        let two = format!("f32, a * b + c, {}", rounded(arithmetic.multiply_add_is_fused));
        table.row(&two, &figure(arithmetic.multiply_add_per_s));
        if let Some(rate) = arithmetic.f16_fma_per_s {
            table.row("f16, fma(a, b, c)", &figure(rate));
        }
        if let Some(rate) = arithmetic.matmul_per_s {
            table.row("f32, a product of large matrices", &figure(rate));
        }
        for unit in &self.matrix_units {
            let label =
                format!("matrix units {}×{}×{}, {} to {}", unit.m, unit.n, unit.k, unit.operand, unit.result);
            match (unit.multiply_add_per_s, &unit.problem) {
                (Some(rate), _) => table.row(&label, &figure(rate)),
                (None, problem) => {
                    let problem = problem.as_deref().unwrap_or("not measured");
                    let _ = writeln!(table.0, "{}", wrapped(&format!("  {label}: {problem}"), 4));
                }
            }
        }
    }

    fn workgroup_memory(&self, table: &mut Table) {
        let Some(memory) = self.workgroup_memory else { return };
        table.heading("workgroup memory: neighbouring threads read", &["", "time a byte"]);
        let words = memory.words_bytes_per_s;
        for (label, rate) in [
            ("neighbouring words of 32 bits", words),
            ("words 2 apart", memory.stride_2_bytes_per_s),
            ("words 8 apart", memory.stride_8_bytes_per_s),
            ("words 32 apart", memory.stride_32_bytes_per_s),
            ("neighbouring vectors of 128 bits", memory.vectors_bytes_per_s),
            ("vectors of 128 bits, one for two threads", memory.paired_vectors_bytes_per_s),
        ] {
            table.row(label, &[si(rate, "B/s"), format!("× {:.2}", words / rate)]);
        }
    }

    fn reductions(&self, table: &mut Table) {
        let Some(reductions) = self.reductions else { return };
        table.heading("sum of a number of each of 256 threads", &["of many, one"]);
        table.row("by a tree in workgroup memory", &[si(reductions.workgroup_s, "s")]);
        if let Some(seconds) = reductions.subgroup_s {
            table.row("within subgroups first", &[si(seconds, "s")]);
        }
    }

    fn overheads(&self, table: &mut Table) {
        let Some(overheads) = self.overheads else { return };
        table.heading("what it takes", &[]);
        for (label, figure, unit) in [
            ("a dispatch", overheads.dispatch_s, "s"),
            ("a dispatch that waits for the last one", overheads.dispatch_after_same_s, "s"),
            ("a dispatch that waits for the last but one", overheads.dispatch_after_other_s, "s"),
            ("recording a dispatch, on the host", overheads.record_s, "s"),
            ("a submission, until its end is seen", overheads.submission_s, "s"),
            ("a result of 4 bytes, until it is there", overheads.readback_s, "s"),
            ("a pipeline of a shader never seen before", overheads.pipeline_s, "s"),
            ("reading back", overheads.readback_bytes_per_s, "B/s"),
            ("uploading", overheads.upload_bytes_per_s, "B/s"),
        ] {
            table.row(label, &[si(figure, unit)]);
        }
    }
}

/// Three digits and a prefix: `61.5 TB/s`.
fn si(value: f64, unit: &str) -> String {
    const PREFIXES: [(f64, &str); 8] =
        [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n")];
    // What rounds to 1000 belongs to the next prefix.
    let (scale, prefix) =
        PREFIXES.into_iter().find(|(scale, _)| value >= 0.9995 * scale).unwrap_or((1e-9, "n"));
    let scaled = value / scale;
    let decimals = if scaled < 9.995 { 2 } else { usize::from(scaled < 99.95) };
    format!("{scaled:.decimals$} {prefix}{unit}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::si;

    #[test]
    fn figures_have_three_digits_and_a_prefix() {
        for (value, unit, text) in [
            (61.54e12, "", "61.5 T"),
            (999.4e9, "B/s", "999 GB/s"),
            (999.6e9, "B/s", "1.00 TB/s"),
            (9.996, "s", "10.0 s"),
            (2.104e-6, "s", "2.10 µs"),
            (0.0, "s", "0.00 ns"),
            (3e15, "", "3000 T"),
        ] {
            assert_eq!(si(value, unit), text);
        }
    }
}
