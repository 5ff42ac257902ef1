//! All cases in all ways on several threads, with verdicts in the order of the cases.

use std::collections::HashMap;
use std::mem::take;

use rayon::prelude::*;

use super::check::{Prepared, check_twin};
use super::crew::{Crew, share};
use super::derivative::check_derivative;
use super::{Check, CheckKind};
use crate::engine::case::Case;
use crate::engine::device::gpu::shader::source;
use crate::engine::dispatch::{Kernel, Shader};
use crate::engine::op::OpError;

/// What there is to check.
///
/// Most of the time goes into a driver's compiler, which takes one thread, and which some drivers ask when a pipeline is
/// run for the first time. So kernels that share a pipeline are one task: no other thread compiles it again.
pub struct Walk {
    cases: Vec<Case>,
    prepared: Vec<Result<Prepared, OpError>>,
    tasks: Vec<Task>,
    /// For each case, how many results it waits for.
    results: Vec<usize>,
}

enum Task {
    /// The twin and the derivatives of a case.
    Host(usize),
    /// Kernels with the same main pipeline.
    Kernels(Vec<Place>),
}

/// A kernel of a case in one way, and which of the case's results it gives.
struct Place {
    case: usize,
    result: usize,
    way: usize,
    variant: &'static str,
}

/// What kernels have in common: shader checks, and their main pipeline.
type Key = (bool, Option<Pipeline>);

/// A shader and its constants.
type Pipeline = (Shader, Vec<(&'static str, u32)>);

impl Walk {
    /// Draws operands, runs oracles and shares out what is to be run in the ways of a crew.
    pub fn new(cases: Vec<Case>, crew: &mut Crew) -> Self {
        let prepared = cases.par_iter().map(|case| Prepared::new(case.clone())).collect();
        let mut walk = Self { cases, prepared, tasks: Vec::new(), results: Vec::new() };
        let mut groups: HashMap<Key, usize> = HashMap::new();
        for case in 0..walk.cases.len() {
            walk.tasks.push(Task::Host(case));
            let mut result = 0;
            for (way, key, variant) in walk.kernels(case, crew) {
                result += 1;
                let place = Place { case, result, way, variant };
                let group = *groups.entry(key).or_insert(walk.tasks.len());
                match walk.tasks.get_mut(group) {
                    Some(Task::Kernels(places)) => places.push(place),
                    _ => walk.tasks.push(Task::Kernels(vec![place])),
                }
            }
            walk.results.push(result + 1);
        }
        walk
    }

    /// (way, key, variant) of all kernels of a case, way by way.
    fn kernels(&self, case: usize, crew: &mut Crew) -> Vec<(usize, Key, &'static str)> {
        let mut found = Vec::new();
        for (number, way) in crew.ways().to_vec().iter().enumerate() {
            let gpu = crew.ready(way);
            let Ok(prepared) = &self.prepared[case] else {
                found.push((number, (way.checked, None), "all"));
                continue;
            };
            if way.applies(prepared, gpu) {
                let kernels = prepared.kernels(gpu.target()).into_iter();
                found.extend(
                    kernels
                        .filter(|kernel| way.wants(prepared, kernel, gpu))
                        .map(|kernel| (number, (way.checked, main_pipeline(&kernel)), kernel.variant)),
                );
            }
        }
        found
    }

    /// Checks everything, on as many threads as there are crews. `each` is given the verdicts of one case after another:
    /// the twin, the derivatives, then the kernels, way by way.
    ///
    /// # Errors
    /// What `each` returns.
    pub fn run<E>(
        &self,
        crews: &mut [Crew],
        mut each: impl FnMut(&Case, Vec<Check>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut waiting: Vec<_> = self.results.iter().map(|&n| vec![None; n]).collect();
        let mut next = 0;
        share(
            &self.tasks,
            crews,
            |task, crew| self.check(task, crew),
            |found| {
                for (case, result, checks) in found {
                    waiting[case][result] = Some(checks);
                }
                while let Some(results) = waiting.get_mut(next).filter(|r| r.iter().all(Option::is_some)) {
                    let checks = take(results).into_iter().flatten().flatten().collect();
                    each(&self.cases[next], checks)?;
                    next += 1;
                }
                Ok(())
            },
        )
    }

    /// (case, which of its results, verdicts).
    fn check(&self, task: &Task, crew: &mut Crew) -> Vec<(usize, usize, Vec<Check>)> {
        match task {
            Task::Host(case) => {
                let mut checks = vec![check_twin(&self.cases[*case])];
                checks.extend(check_derivative(&self.cases[*case]));
                vec![(*case, 0, checks)]
            }
            Task::Kernels(places) => places
                .iter()
                .map(|place| (place.case, place.result, vec![self.check_kernel(place, crew)]))
                .collect(),
        }
    }

    fn check_kernel(&self, place: &Place, crew: &mut Crew) -> Check {
        let way = crew.ways()[place.way];
        let mut check = match &self.prepared[place.case] {
            Ok(prepared) => prepared.check_variant(crew.ready(&way), place.variant),
            Err(error) => {
                let mut check = Check::of(&self.cases[place.case], place.variant, CheckKind::Kernel);
                check.fail(error);
                check
            }
        };
        check.variant = format!("{} {}", check.variant, way.name);
        check
    }
}

/// Of a kernel's pipelines the one with most to compile.
fn main_pipeline(kernel: &Kernel) -> Option<Pipeline> {
    let lines = |shader: &Shader| source(shader).lines().count();
    let longest = kernel.dispatches.iter().max_by_key(|dispatch| lines(&dispatch.shader))?;
    Some((longest.shader, longest.constants.clone()))
}
