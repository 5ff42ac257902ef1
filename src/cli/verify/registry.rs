//! The registry's cases, and the nodes of a model's plans.

use super::Args;
use super::lockstep::{Subject, subject};
use super::report::{Report, head};
use crate::cli::failure::{Exit, Usage};
use crate::cli::output::Output;
use crate::engine::case::Case;
use crate::engine::device::gpu::Gpu;
use crate::verify::check::{Prepared, check_kernels, check_twin, is_folded};
use crate::verify::derivative::check_derivative;
use crate::verify::lockstep::{Lockstep, Watch};

/// FLOPs that the oracle can do in about a minute; beyond them a step gets fewer tokens.
const MOST_FLOPS: u64 = 20_000_000_000;

pub fn run(args: &Args, output: Output) -> anyhow::Result<Exit> {
    let cases = args.cases()?;
    let mut gpus = args.gpus()?;
    head(output, gpus.first().map(|(_, gpu)| gpu))?;
    if gpus.is_empty() && (args.preset.is_some() || args.model.is_some()) {
        return Err(Usage("a model's kernels are a GPU's: leave out --device cpu".into()).into());
    }
    let subject = subject(args, output)?;
    let mut report = Report::default();
    for case in &cases {
        check_case(args, output, case, &mut gpus, &mut report)?;
    }
    if let (Some((_, gpu)), Some(subject)) = (gpus.first_mut(), subject) {
        check_model(args, output, gpu, subject, &mut report)?;
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

fn check_model(
    args: &Args,
    output: Output,
    gpu: &mut Gpu,
    mut subject: Subject,
    report: &mut Report,
) -> anyhow::Result<()> {
    let asked = subject.shape();
    let train = subject.shrink(MOST_FLOPS)?;
    let gflop = subject.step_flops()? as f64 / 1e9;
    if !train {
        report.skipped += 1;
        output.remark(format!(
            "skipped: the training plan of {}, {gflop:.1} GFLOP even with one sequence",
            subject.config.preset
        ));
    } else if subject.shape() != asked {
        let [batch, tokens] = asked;
        let [fewer, shorter] = subject.shape();
        report.skipped += 1;
        output.remark(format!(
            "skipped: steps of {batch} × {tokens} tokens; {fewer} × {shorter} are {gflop:.1} GFLOP for the \
             oracle, at most {} are taken on",
            MOST_FLOPS / 1_000_000_000,
        ));
    }
    let mut lockstep = Lockstep::device(gpu, Watch::Distinct { most_flops: u64::MAX });
    subject.run_once(&mut lockstep, train)?;
    let wanted = |op: &str| args.op.as_deref().is_none_or(|name| name == op);
    for check in lockstep.hook.checks.into_iter().filter(|check| wanted(check.op)) {
        let of = match &args.model {
            Some(model) => format!("--model '{}'", model.display()),
            None => format!("--preset {}", subject.config.preset),
        };
        let repeat = format!("lal verify --op {} {of}{}", check.op, args.device_flags());
        report.take(output, check, &repeat)?;
    }
    Ok(())
}
