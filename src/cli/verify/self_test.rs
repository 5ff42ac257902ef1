//! `--self-test`: whether the checks find mistakes.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;

use super::Args;
use super::report::head;
use crate::cli::failure::{Exit, Usage};
use crate::cli::output::Output;
use crate::verify::crew::CHECKED_WAYS;
use crate::verify::self_test::{Fate, Mutant, SelfTest};

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

#[derive(Clone, Copy, Default, Serialize)]
struct Counts {
    caught: usize,
    equivalent: usize,
    survived: usize,
}

pub fn run(args: &Args, output: Output) -> anyhow::Result<Exit> {
    let started = Instant::now();
    // Mutants may reach beyond their tensors: only devices with shader checks stand that.
    let mut crews = args.crews(&CHECKED_WAYS)?;
    let test = SelfTest::new(args.cases()?, &mut crews[0], if args.quick { FEW } else { MANY })?;
    let Some(gpu) = crews[0].first() else {
        return Err(
            Usage("--self-test breaks shaders, and the CPU has none: leave out --device cpu".into()).into()
        );
    };
    head(output, Some(gpu))?;
    let mut bar = output.progress("mutants");
    let (mutants, mut tried) = (test.mutants.len() as u64, 0);
    let mut ops: BTreeMap<&str, Counts> = BTreeMap::new();
    test.run(&mut crews, |fates| {
        tried += fates.len() as u64;
        bar.at(tried, mutants);
        for (mutant, fate) in fates {
            ops.entry(mutant.op).or_default().count(&fate);
            tell(mutant, &fate, output)?;
        }
        anyhow::Ok(())
    })?;
    bar.clear();
    let mut total = Counts::default();
    for counts in ops.values() {
        total.caught += counts.caught;
        total.equivalent += counts.equivalent;
        total.survived += counts.survived;
    }
    let Counts { caught, equivalent, survived } = total;
    if output.json {
        output.named("done", &total)?;
    } else {
        output.line(format!("\n{:<26} {:>6} {:>10} {:>8}", "op", "caught", "equivalent", "survived"))?;
        for (op, Counts { caught, equivalent, survived }) in &ops {
            output.line(format!("{op:<26} {caught:>6} {equivalent:>10} {survived:>8}"))?;
        }
        let (all, seconds) = (caught + equivalent + survived, started.elapsed().as_secs());
        output.line(format!(
            "\n{all} mutants: {caught} caught, {equivalent} equivalent, {survived} survived, in {seconds} s"
        ))?;
    }
    Ok(if survived == 0 { Exit::Done } else { Exit::Failed })
}

impl Counts {
    fn count(&mut self, fate: &Fate) {
        match fate {
            Fate::Caught(_) => self.caught += 1,
            Fate::Equivalent(_) => self.equivalent += 1,
            Fate::Survived => self.survived += 1,
            Fate::Refused => {}
        }
    }
}

fn tell(mutant: &Mutant, fate: &Fate, output: Output) -> anyhow::Result<()> {
    let (name, why) = match fate {
        Fate::Caught(why) => ("caught", why.as_str()),
        Fate::Equivalent(why) => ("equivalent", *why),
        Fate::Survived => ("survived", ""),
        Fate::Refused => return Ok(()),
    };
    let Mutant { op, shader, kind, line, change, function, .. } = mutant;
    if output.json {
        output.named("mutant", &Line { op, shader, kind, line: *line, change, fate: name, why })
    } else if *fate == Fate::Survived {
        let place = format!("{kind} in `{function}` of shaders/{shader}.wgsl");
        Ok(output.line(format!("SURVIVED {op}, {place}: {change}"))?)
    } else {
        output.detail(format!("{name} {shader} {kind}: {change}: {why}"));
        Ok(())
    }
}
