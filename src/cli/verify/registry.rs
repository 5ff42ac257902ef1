//! The registry's cases, and the nodes of a model's plans.

use super::Args;
use super::lockstep::{Subject, subject};
use super::report::{Report, head};
use crate::cli::failure::Exit;
use crate::cli::output::Output;
use crate::engine::case::Case;
use crate::engine::device::gpu::Gpu;
use crate::verify::check::{Prepared, check_kernels, check_twin, is_folded};
use crate::verify::derivative::check_derivative;
use crate::verify::lockstep::{Lockstep, Watch};

/// FLOPs that the oracle can do in about a minute; beyond them the batch is made smaller.
const MOST_FLOPS: u64 = 20_000_000_000;

pub fn run(args: &Args, output: Output) -> anyhow::Result<Exit> {
    let cases = args.cases()?;
    let mut gpus = args.gpus()?;
    head(output, gpus.first().map(|(_, gpu)| gpu))?;
    let mut report = Report::default();
    for case in &cases {
        check_case(args, output, case, &mut gpus, &mut report)?;
    }
    if let Some((_, gpu)) = gpus.first_mut() {
        check_model(args, output, gpu, &mut report)?;
    }
    report.finish(output)
}

fn check_case(
    args: &Args,
    output: Output,
    case: &Case,
    gpus: &mut [(&'static str, Gpu)],
    report: &mut Report,
) -> anyhow::Result<()> {
    let (op, name) = (case.op.info().name, case.name());
    let repeat = format!("lal verify --op {op} --case '{name}'{}", args.device_flags());
    report.take(output, check_twin(case), &repeat)?;
    for check in check_derivative(case) {
        report.take(output, check, &repeat)?;
    }
    for (kind, gpu) in gpus {
        // Where small bindings and grids change nothing, nothing new would be run.
        if matches!(*kind, "folded" | "in parts") && !is_folded(case, gpu.target()) {
            continue;
        }
        let checks = match Prepared::new(case.clone()) {
            Ok(prepared) if *kind == "in parts" => {
                let target = gpu.target().clone();
                prepared.check(gpu, |kernel| prepared.fits(kernel, &target))
            }
            _ => check_kernels(gpu, case),
        };
        for mut check in checks {
            check.variant = format!("{} {kind}", check.variant);
            report.take(output, check, &repeat)?;
        }
    }
    Ok(())
}

fn check_model(args: &Args, output: Output, gpu: &mut Gpu, report: &mut Report) -> anyhow::Result<()> {
    let Some(mut subject) = subject(args, output)? else { return Ok(()) };
    let flops = |subject: &Subject| subject.step_flops();
    let batch = subject.config.batch_size;
    while flops(&subject)? > MOST_FLOPS && subject.config.batch_size > 1 {
        subject.config.batch_size = subject.config.batch_size.div_ceil(2);
    }
    if subject.config.batch_size < batch {
        report.skipped += 1;
        output.remark(format!(
            "skipped: the shapes of batch size {batch}; at {} the oracle has {:.1} GFLOP to do, at most {} \
             are taken on",
            subject.config.batch_size,
            flops(&subject)? as f64 / 1e9,
            MOST_FLOPS / 1_000_000_000,
        ));
    }
    if flops(&subject)? > MOST_FLOPS {
        report.skipped += 1;
        output.remark(format!(
            "skipped: the training plan of {}, {:.1} GFLOP even with one sequence",
            subject.config.preset,
            flops(&subject)? as f64 / 1e9
        ));
    }
    let train = flops(&subject)? <= MOST_FLOPS;
    let mut beside = Lockstep::new(gpu, Watch::Distinct { most_flops: u64::MAX });
    subject.run_once(&mut beside, train)?;
    let wanted = |op: &str| args.op.as_deref().is_none_or(|name| name == op);
    for check in std::mem::take(&mut beside.checks).into_iter().filter(|check| wanted(check.op)) {
        let of = match &args.model {
            Some(model) => format!("--model '{}'", model.display()),
            None => format!("--preset {}", subject.config.preset),
        };
        let repeat = format!("lal verify --op {} {of}{}", check.op, args.device_flags());
        report.take(output, check, &repeat)?;
    }
    Ok(())
}
