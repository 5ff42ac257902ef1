//! Verdicts as a table and as lines of JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cli::failure::Exit;
use crate::cli::output::Output;
use crate::engine::device::gpu::Gpu;
use crate::profile::columns::wrapped;
use crate::verify::{Check, CheckKind};

#[derive(Serialize)]
struct Line<'a> {
    op: &'a str,
    variant: &'a str,
    case: &'a str,
    kind: String,
    max_error: f64,
    bound: f64,
    pass: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'a str>,
}

/// Units in the last place, of which a result near zero among larger ones may be off by many.
fn ulp(ulp: f64) -> String {
    if ulp < 1e4 { format!("{ulp:.2}") } else { format!("{ulp:.1e}") }
}

#[derive(Serialize)]
struct Done {
    passed: usize,
    failed: usize,
    skipped: usize,
}

/// What has been checked so far.
#[derive(Default)]
pub struct Report {
    /// By op: checks, failures, and the check nearest to its bound.
    ops: BTreeMap<&'static str, (usize, usize, Option<Check>)>,
    pub skipped: usize,
    passed: usize,
    failed: usize,
}

/// Adapter, driver, backend and limits.
pub fn head(output: Output, gpu: Option<&Gpu>) -> anyhow::Result<()> {
    if output.json {
        return Ok(());
    }
    let Some(gpu) = gpu else {
        output.line("on the CPU: twins and derivatives only")?;
        return Ok(());
    };
    let (entry, target) = (gpu.adapter(), gpu.target());
    output.line(wrapped(&format!("{} ({}, {})", entry.name, entry.backend, entry.driver), 2))?;
    let limits = format!(
        "bindings of {} MiB, workgroups of {} invocations and {} KiB, {} of them along an axis",
        target.max_binding_bytes >> 20,
        target.workgroup_size,
        target.workgroup_memory >> 10,
        target.max_grid,
    );
    output.line(wrapped(&limits, 2))?;
    Ok(())
}

impl Report {
    /// Takes in a verdict; a failure is printed at once, with the command that repeats it.
    pub fn take(&mut self, output: Output, check: Check, repeat: &str) -> anyhow::Result<()> {
        if output.json {
            let line = Line {
                op: check.op,
                variant: &check.variant,
                case: &check.case,
                kind: check.kind.to_string(),
                max_error: check.worst.error,
                bound: check.worst.bound,
                pass: check.passed(),
                failure: check.failure.as_deref(),
            };
            output.named("check", &line)?;
        } else if !check.passed() {
            output.line(format!("FAILED {check}\n       repeat: {repeat}"))?;
        } else {
            output.detail(check.to_string());
        }
        let (checks, failures, worst) = self.ops.entry(check.op).or_default();
        *checks += 1;
        if check.passed() {
            self.passed += 1;
        } else {
            *failures += 1;
            self.failed += 1;
        }
        // Derivatives are compared in f64: their errors say nothing of kernels.
        let ratio = |check: &Check| check.worst.ratio();
        if check.kind == CheckKind::Kernel && worst.as_ref().is_none_or(|w| ratio(w) < ratio(&check)) {
            *worst = Some(check);
        }
        Ok(())
    }

    /// The table, the last line, and how the program ends.
    pub fn finish(&self, output: Output) -> anyhow::Result<Exit> {
        if output.json {
            let Self { passed, failed, skipped, .. } = *self;
            output.named("done", &Done { passed, failed, skipped })?;
        } else {
            self.table(output)?;
        }
        Ok(if self.failed == 0 { Exit::Done } else { Exit::Failed })
    }

    fn table(&self, output: Output) -> anyhow::Result<()> {
        output.line(format!(
            "\n{:<26} {:>6} {:>8} {:>9} {:>9}",
            "op", "checks", "of bound", "ulp", "relative"
        ))?;
        for (op, (checks, failures, worst)) in &self.ops {
            let mark = if *failures > 0 { format!("  {failures} FAILED") } else { String::new() };
            let figures = match worst {
                Some(check) if check.worst.error > 0.0 => format!(
                    "{:>8.2} {:>9} {:>9.1e}",
                    check.worst.ratio(),
                    ulp(check.worst.ulp()),
                    check.worst.relative(),
                ),
                Some(_) => format!("{:>8} {:>9} {:>9}", "0", "0", "0"),
                None => format!("{:>8} {:>9} {:>9}  no kernel", "-", "-", "-"),
            };
            output.line(format!("{op:<26} {checks:>6} {figures}{mark}"))?;
            if let Some(check) = worst.as_ref().filter(|check| check.worst.error > 0.0) {
                let place = format!("  {}, {} at {}", check.variant, check.case, check.worst.at);
                output.line(wrapped(&place, 2))?;
            }
        }
        output.line(format!("\n{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped))?;
        Ok(())
    }
}
