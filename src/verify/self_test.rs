//! Whether the checks find mistakes: every shader is spoilt in many small ways, and each must be noticed.

use std::collections::{BTreeMap, HashMap, HashSet};

use rayon::prelude::*;

use super::check::Prepared;
use super::crew::{Crew, share};
use super::equivalent::reason;
use super::mutants::{Mutation, guarded, mutations};
use crate::engine::case::Case;
use crate::engine::device::gpu::shader::source;
use crate::engine::device::gpu::substitute::Substitute;
use crate::engine::dispatch::{Kernel, Shader};
use crate::engine::op::OpError;

/// A spoilt shader.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// The op whose cases check it.
    pub op: &'static str,
    pub shader: &'static str,
    pub kind: &'static str,
    /// The function that holds it; empty outside of any.
    pub function: String,
    /// The line, and what became of it.
    pub line: usize,
    pub change: String,
    text: String,
}

/// What became of a mutant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A check failed, on this case.
    Caught(String),
    /// It computes the same as the shader it came from, for this reason.
    Equivalent(&'static str),
    Survived,
    /// A driver refuses it: no mutant at all.
    Refused,
}

/// A shader fails although nothing but guards was added to it, on a case by which one of its mutants was caught:
/// catching that one means nothing.
#[derive(Debug, thiserror::Error)]
#[error("shaders/{shader}.wgsl fails before anything is spoilt: {fate:?}; see `lal verify`")]
pub struct Unsound {
    pub shader: &'static str,
    pub fate: Fate,
}

/// The registry's cases and the mutants of all shaders they run.
pub struct SelfTest {
    prepared: Vec<Prepared>,
    /// For each shader, the cases that run it, small ones first.
    by_shader: HashMap<&'static str, Vec<usize>>,
    shaders: Vec<Shader>,
    pub mutants: Vec<Mutant>,
}

impl SelfTest {
    /// Makes mutants of the shaders that `cases` run in the ways of a crew, at most `most` of each shader: every
    /// n-th of them, so that all kinds and places are met.
    pub fn new(cases: Vec<Case>, crew: &mut Crew, most: usize) -> Result<Self, OpError> {
        let prepared: Vec<_> = cases.into_par_iter().map(Prepared::new).collect::<Result<_, _>>()?;
        let mut order: Vec<_> = (0..prepared.len()).collect();
        order.sort_by_key(|&i| prepared[i].size());
        let mut shaders: BTreeMap<&'static str, (Shader, &'static str)> = BTreeMap::new();
        let mut by_shader: HashMap<_, Vec<usize>> = HashMap::new();
        let ways = crew.ways().to_vec();
        for (i, way) in order.iter().flat_map(|&i| ways.iter().map(move |way| (i, way))) {
            let gpu = crew.ready(way);
            for dispatch in prepared[i].kernels(gpu.target()).iter().flat_map(|kernel| &kernel.dispatches) {
                shaders
                    .entry(dispatch.shader.name)
                    .or_insert((dispatch.shader, prepared[i].case.op.info().name));
                let cases = by_shader.entry(dispatch.shader.name).or_default();
                if cases.last() != Some(&i) {
                    cases.push(i);
                }
            }
        }
        let mut done = HashSet::new();
        let mut mutants = Vec::new();
        // Shared functions are spoilt in the shader that calls them most: one that reduces once does not need
        // the barrier before the next time.
        let mut callers: Vec<_> = shaders.values().collect();
        callers.sort_by_key(|(shader, _)| std::cmp::Reverse(shader.source.matches("reduce_").count()));
        for (shader, op) in callers {
            let all = of_shader(shader, op, &mut done);
            let stride = all.len().div_ceil(most).max(1);
            mutants.extend(all.into_iter().step_by(stride));
        }
        let shaders = shaders.into_values().map(|(shader, _)| shader).collect();
        Ok(Self { prepared, by_shader, shaders, mutants })
    }

    /// Tries every mutant, a shader at a time, on as many threads as there are crews, in all of their ways. `each` is
    /// given the mutants of one shader after another, in the order in which they are done.
    ///
    /// # Errors
    /// What `each` returns, and [`Unsound`].
    pub fn run<E: From<Unsound>>(
        &self,
        crews: &mut [Crew],
        mut each: impl FnMut(Vec<(&Mutant, Fate)>) -> Result<(), E>,
    ) -> Result<(), E> {
        share(&self.shaders, crews, |shader, crew| self.try_shader(shader, crew), |fates| each(fates?))
    }

    fn try_shader(&self, shader: &Shader, crew: &mut Crew) -> Result<Vec<(&Mutant, Fate)>, Unsound> {
        let cases = &self.by_shader[shader.name];
        let (mut fates, mut needed) = (Vec::new(), 0);
        for mutant in self.mutants.iter().filter(|mutant| mutant.shader == shader.name) {
            let fate = if let Some(reason) = reason(mutant.shader, &mutant.function, &mutant.change) {
                Fate::Equivalent(reason)
            } else {
                let (tried, fate) = self.first_failure(shader.name, &mutant.text, cases, crew);
                if matches!(fate, Fate::Caught(_)) {
                    needed = needed.max(tried);
                }
                fate
            };
            fates.push((mutant, fate));
        }
        match self.first_failure(shader.name, &guarded(&source(shader)), &cases[..needed], crew) {
            (_, Fate::Survived) => Ok(fates),
            (_, fate) => Err(Unsound { shader: shader.name, fate }),
        }
    }

    /// How many of the cases were run with this text for the shader until one failed, and what became of it.
    fn first_failure(
        &self,
        shader: &'static str,
        text: &str,
        cases: &[usize],
        crew: &mut Crew,
    ) -> (usize, Fate) {
        let substitute = || Some(Substitute { shader, text: text.into() });
        crew.gpus().for_each(|gpu| gpu.substitute(substitute()));
        let fate = cases
            .iter()
            .enumerate()
            .find_map(|(n, &i)| Some((n + 1, self.failure(shader, &self.prepared[i], crew)?)));
        crew.gpus().for_each(|gpu| gpu.substitute(None));
        fate.unwrap_or((cases.len(), Fate::Survived))
    }

    fn failure(&self, shader: &str, prepared: &Prepared, crew: &mut Crew) -> Option<Fate> {
        let uses = |kernel: &Kernel| kernel.dispatches.iter().any(|d| d.shader.name == shader);
        crew.ways().to_vec().iter().find_map(|way| {
            let gpu = crew.ready(way);
            if !way.applies(prepared, gpu) {
                return None;
            }
            let target = gpu.target().clone();
            let checks = prepared.check(gpu, |kernel| uses(kernel) && prepared.fits(kernel, &target));
            checks.into_iter().find_map(|check| {
                check.failure.map(|message| match message.starts_with("shader ") {
                    true => Fate::Refused,
                    false => Fate::Caught(format!("{}: {message}", check.case)),
                })
            })
        })
    }
}

/// The mutants of one shader that compile. Of shared files only functions that it calls are spoilt, and each
/// in one shader only.
fn of_shader(shader: &Shader, op: &'static str, done: &mut HashSet<Site>) -> Vec<Mutant> {
    let text = source(shader);
    let shared: usize = shader.common.iter().map(|file| file.len() + 1).sum();
    let called = called(&text, "main");
    let mut mutants = Vec::new();
    for mutation in mutations(&text) {
        if !mutation.function.is_empty() && !called.contains(&mutation.function) {
            continue;
        }
        if mutation.at.start < shared {
            let needless = is_last_barrier(&text, &mutation) && is_last_call(shader, &mutation.function);
            if needless || !done.insert(site(shader, &mutation)) {
                continue;
            }
        }
        let spoilt = guarded(&mutation.apply(&text));
        if !compiles(&spoilt) {
            continue;
        }
        let (line, change) = mutation.describe(&text);
        let Mutation { kind, function, .. } = mutation;
        mutants.push(Mutant { op, shader: shader.name, kind, function, line, change, text: spoilt });
    }
    mutants
}

/// Whether the mistake leaves out the last barrier of its function.
fn is_last_barrier(text: &str, mutation: &Mutation) -> bool {
    let rest = text[mutation.at.end..].split("\n}").next().unwrap_or_default();
    mutation.kind == "barrier" && !rest.contains("workgroupBarrier")
}

/// Whether the shader calls this function once and no other reduction after it: nothing after it can meet what
/// it left in workgroup memory.
fn is_last_call(shader: &Shader, function: &str) -> bool {
    let call = format!("{function}(");
    let last = shader.source.rfind("reduce_").map_or("", |at| &shader.source[at..]);
    last.starts_with(&call) && shader.source.matches(&call).count() == 1
}

/// A mistake in a shared file, the same whatever shader includes it: the file, the byte, the mistake.
type Site = (&'static str, usize, String);

fn site(shader: &Shader, mutation: &Mutation) -> Site {
    let mut offset = mutation.at.start;
    for file in shader.common {
        if offset < file.len() {
            return (file, offset, mutation.with.clone());
        }
        offset -= file.len() + 1;
    }
    (shader.source, offset, mutation.with.clone())
}

/// The functions that `from` calls, directly or not, and itself.
fn called(text: &str, from: &str) -> HashSet<String> {
    let mut bodies: HashMap<&str, &str> = HashMap::new();
    for part in text.split("\nfn ").skip(1).chain(text.split(" fn ").skip(1)).chain(text.strip_prefix("fn "))
    {
        let name = part.split('(').next().unwrap_or_default();
        bodies.insert(name, part.split("\n}").next().unwrap_or(part));
    }
    let mut called = HashSet::from([from.to_owned()]);
    let mut open = vec![from];
    while let Some(body) = open.pop().and_then(|name| bodies.get(name)) {
        for &name in bodies.keys() {
            if body.contains(&format!("{name}(")) && called.insert(name.to_owned()) {
                open.push(name);
            }
        }
    }
    called
}

fn compiles(text: &str) -> bool {
    let Ok(module) = naga::front::wgsl::parse_str(text) else { return false };
    let (flags, all) = (naga::valid::ValidationFlags::all(), naga::valid::Capabilities::all());
    naga::valid::Validator::new(flags, all).validate(&module).is_ok()
}
