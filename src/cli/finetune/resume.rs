//! A stage that is continued: what it keeps, what may change, and where that lies which it was made of.

use std::collections::BTreeSet;
use std::mem::discriminant;
use std::path::{Path, PathBuf};

use super::run::{Learner, Plan, StageArgs};
use super::{check_counts, job};
use crate::cli::data::lessons_at;
use crate::cli::failure::Usage;
use crate::finetune::base::Base;
use crate::finetune::stage::{Method, Stage};
use crate::run::folder::RunFolder;
use crate::run::origin::{Origin, Piece};
use crate::run::resume::{Difference, Kept};

/// The run in `folder`, with what `args` and the options `given` with `asked` change of it.
///
/// # Errors
/// When it would become another run, or something that it was made of is gone or has changed.
pub fn plan(
    path: &Path,
    args: &StageArgs,
    mut asked: Method,
    given: &BTreeSet<String>,
) -> anyhow::Result<Plan> {
    let folder = RunFolder::resume(path)?;
    let mut stage = Stage::read(path)?;
    if discriminant(&stage.method) != discriminant(&asked) {
        let method = stage.method;
        let what = format!("this is a run of {method}: continue it with finetune {method} --resume");
        return Err(Usage(what).into());
    }
    [&stage.method, &asked].into_iter().try_for_each(check_counts)?;
    let (mut config, mut differences) = folder.settings()?.resumed(&args.settings)?;
    differences.extend(stage.method.differences(&asked, given));
    if let Some(rank) = args.lora_rank.filter(|&rank| rank != stage.lora_rank) {
        let (asked, has) = (rank.to_string(), stage.lora_rank.to_string());
        differences.push(Difference { flag: "--lora-rank".into(), asked, has });
    }
    Kept::unless_none(path, differences)?;

    let mut origin = Origin::read(path)?;
    if let Some(was) = &config.data {
        config.data = Some(origin.again("data", was, args.settings.data.as_deref(), true, lessons_at)?);
    }
    let asked = asked.named().map(|(_, place)| place.clone());
    if let Some((part, place)) = stage.method.named() {
        let find = if part == "reward" { weights_at } else { file_at };
        *place = again(&mut origin, part, place, asked.as_deref(), true, find)?;
    }
    let job = job(&stage.method)?;
    let needs_base = job.needs_base() || !folder.has_checkpoint();
    stage.model = again(&mut origin, "model", &stage.model, args.model.as_deref(), needs_base, weights_at)?;
    let base = if needs_base { Some(Base::open(&stage.model)?) } else { None };
    let learner = Learner::of_run(&folder, &stage, config)?;
    Ok(Plan { resumed: Some(folder), job, base, stage, learner, origin })
}

/// [`Origin::again`] of a path.
fn again(
    origin: &mut Origin,
    part: &str,
    was: &Path,
    asked: Option<&Path>,
    needed: bool,
    find: fn(&str) -> anyhow::Result<Piece>,
) -> anyhow::Result<PathBuf> {
    let name = |path: &Path| path.to_string_lossy().into_owned();
    Ok(origin.again(part, &name(was), asked.map(name).as_deref(), needed, find)?.into())
}

pub fn weights_at(folder: &str) -> anyhow::Result<Piece> {
    Ok(Piece::of_model(Path::new(folder))?)
}

pub fn file_at(path: &str) -> anyhow::Result<Piece> {
    Ok(Piece::of_file(Path::new(path))?)
}
