//! `--self-test`: whether the checks find mistakes.

use std::collections::BTreeMap;
use std::time::Instant;

use indicatif::ProgressBar;
use serde::Serialize;

use super::Args;
use super::report::head;
use crate::cli::failure::{Exit, Usage};
use crate::cli::output::Output;
use crate::verify::self_test::{Fate, SelfTest};

/// Mistakes made in each shader.
const MANY: usize = 24;
const FEW: usize = 3;

#[derive(Serialize)]
struct Line<'a> {
    op: &'a str,
    shader: &'a str,
    kind: &'a str,
    line: usize,
    change: &'a str,
    fate: &'a str,
    why: &'a str,
}

#[derive(Default)]
struct Counts {
    caught: usize,
    equivalent: usize,
    survived: usize,
}

pub fn run(args: &Args, output: Output) -> anyhow::Result<Exit> {
    let started = Instant::now();
    // Mutants may reach beyond their tensors: only a device with shader checks stands that.
    let mut gpus: Vec<_> =
        args.gpus()?.into_iter().filter(|(kind, _)| *kind != "unchecked").map(|(_, gpu)| gpu).collect();
    if gpus.is_empty() {
        return Err(Usage("--self-test spoils shaders: leave out --device cpu".into()).into());
    }
    head(output, gpus.first())?;
    let test = SelfTest::new(args.cases()?, &gpus, if args.quick { FEW } else { MANY })?;
    if let Some((shader, fate)) = test.control(&mut gpus) {
        anyhow::bail!("shaders/{shader}.wgsl fails before anything is spoilt: {fate:?}; see `lal verify`");
    }
    let bar =
        if output.draws() { ProgressBar::new(test.mutants.len() as u64) } else { ProgressBar::hidden() };
    let mut ops: BTreeMap<&str, Counts> = BTreeMap::new();
    let mut total = Counts::default();
    for mutant in &test.mutants {
        let fate = test.try_out(mutant, &mut gpus);
        bar.inc(1);
        let counts = ops.entry(mutant.op).or_default();
        let (name, why) = match &fate {
            Fate::Caught(why) => {
                (counts.caught, total.caught) = (counts.caught + 1, total.caught + 1);
                ("caught", why.as_str())
            }
            Fate::Equivalent(why) => {
                (counts.equivalent, total.equivalent) = (counts.equivalent + 1, total.equivalent + 1);
                ("equivalent", *why)
            }
            Fate::Survived => {
                (counts.survived, total.survived) = (counts.survived + 1, total.survived + 1);
                ("survived", "")
            }
            Fate::Refused => continue,
        };
        let (op, shader, kind, line, change) =
            (mutant.op, mutant.shader, mutant.kind, mutant.line, mutant.change.as_str());
        if output.json {
            output.event(&Line { op, shader, kind, line, change, fate: name, why })?;
        } else if fate != Fate::Survived {
            output.detail(format!("{name} {shader} {kind}: {change}: {why}"));
        } else {
            bar.suspend(|| {
                output.line(format!(
                    "SURVIVED {op}, {kind} in `{}` of shaders/{shader}.wgsl: {change}",
                    mutant.function
                ))
            })?;
        }
    }
    bar.finish_and_clear();
    let Counts { caught, equivalent, survived } = total;
    if output.json {
        output.line(format!(
            "{{\"event\":\"done\",\"caught\":{caught},\"equivalent\":{equivalent},\"survived\":{survived}}}"
        ))?;
    } else {
        output.line(format!("\n{:<26} {:>6} {:>10} {:>8}", "op", "caught", "equivalent", "survived"))?;
        for (op, counts) in &ops {
            let Counts { caught, equivalent, survived } = counts;
            output.line(format!("{op:<26} {caught:>6} {equivalent:>10} {survived:>8}"))?;
        }
        let (all, seconds) = (caught + equivalent + survived, started.elapsed().as_secs());
        output.line(format!(
            "\n{all} mutants: {caught} caught, {equivalent} equivalent, {survived} survived, in {seconds} s"
        ))?;
    }
    Ok(if survived == 0 { Exit::Done } else { Exit::Failed })
}
