//! The registry's cases, and the nodes of a model's plans.

use super::Args;
use super::lockstep::{Subject, subject};
use super::report::{Report, head};
use crate::cli::failure::{Exit, Usage};
use crate::cli::output::Output;
use crate::engine::device::gpu::Gpu;
use crate::verify::crew::WAYS;
use crate::verify::lockstep::{Lockstep, Watch};
use crate::verify::walk::Walk;

/// FLOPs that the oracle can do in about a minute; beyond them a step gets fewer tokens.
const MOST_FLOPS: u64 = 20_000_000_000;

pub fn run(args: &Args, output: Output) -> anyhow::Result<Exit> {
    let cases = args.cases()?;
    let mut crews = args.crews(&WAYS)?;
    head(output, crews[0].first().as_deref())?;
    if crews[0].ways().is_empty() && (args.preset.is_some() || args.model.is_some()) {
        return Err(Usage("a model's kernels are a GPU's: leave out --device cpu".into()).into());
    }
    let subject = subject(args, output)?;
    let mut report = Report::default();
    Walk::new(cases, &mut crews[0]).run(&mut crews, |case, checks| {
        let (op, name) = (case.op.info().name, case.name());
        let repeat = format!("lal verify --op {op} --case '{name}'{}", args.device_flags());
        checks.into_iter().try_for_each(|check| report.take(output, check, &repeat))
    })?;
    if let (Some(gpu), Some(subject)) = (crews[0].first(), subject) {
        check_model(args, output, gpu, subject, &mut report)?;
    }
    report.finish(output)
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
