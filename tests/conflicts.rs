//! No access to workgroup memory meets another one at a bank, in any shader of the registry, but for a stated reason.

use std::collections::{BTreeMap, BTreeSet};

use lal::engine::case::Case;
use lal::engine::device::DeviceError;
use lal::engine::device::gpu::recorder::Space;
use lal::engine::device::gpu::{Gpu, GpuOptions, shader};
use lal::engine::dispatch::{Dispatch, Operands};
use lal::explain::accepted::{entries, reason};
use lal::explain::counted::Counted;
use lal::explain::record::{Loaded, Work};
use lal::ops::OPS;
use lal::verify::check::specs;
use lal::verify::inputs::draw;

/// A case and one of its kernels.
struct Subject {
    case: Case,
    variant: &'static str,
}

/// Constants that decide who accesses which element of workgroup memory. Others say what is computed from them.
const LAYOUT: [&str; 8] =
    ["TILE", "TILE_M", "TILE_N", "COPIES", "WORKGROUP", "COLS", "TRANSPOSE_A", "TRANSPOSE_B"];

/// What tells dispatches apart: the shader, and the values of those constants.
fn traits(dispatch: &Dispatch) -> Vec<(&'static str, u32)> {
    let layout = dispatch.constants.iter().filter(|(name, _)| LAYOUT.contains(name));
    let mut traits: Vec<_> = layout.copied().chain([(dispatch.shader.name, 0)]).collect();
    traits.sort_unstable();
    traits
}

fn elements(case: &Case) -> usize {
    case.inputs.iter().map(|input| input.spec.shape.len()).sum()
}

/// Cases by which each shader that has workgroup memory is run in all its layouts: small ones, but where it can be none
/// so small that most of a workgroup has nothing to do.
fn subjects(gpu: &Gpu) -> Vec<Subject> {
    let mut cases: Vec<Case> = OPS.iter().flat_map(|op| (op.cases)()).collect();
    cases.sort_by_key(|case| (elements(case) < 512, elements(case)));
    let (mut seen, mut subjects) = (BTreeSet::new(), Vec::new());
    for case in cases {
        let (inputs, outputs) = specs(&case).unwrap();
        let operands = Operands { inputs: &inputs, outputs: &outputs };
        for kernel in case.op.kernels(&operands, gpu.target()) {
            let shares = |dispatch: &&Dispatch| shader::source(&dispatch.shader).contains("var<workgroup>");
            let all: BTreeSet<_> = kernel.dispatches.iter().filter(shares).map(traits).collect();
            if !all.is_subset(&seen) {
                seen.extend(all);
                subjects.push(Subject { case: case.clone(), variant: kernel.variant });
            }
        }
    }
    subjects
}

#[test]
fn no_shader_has_bank_conflicts_without_a_reason() {
    let mut gpu = match Gpu::open(GpuOptions { record: true, ..GpuOptions::default() }) {
        Ok(gpu) => gpu,
        Err(DeviceError::NoAdapter) if std::env::var_os("LAL_ALLOW_NO_GPU").is_some() => return,
        Err(error) => panic!("{error}\nSet LAL_ALLOW_NO_GPU=1 to run the other tests without a GPU."),
    };
    let (mut needed, mut shaders) = (BTreeSet::new(), BTreeSet::new());
    // The worst of each access, by shader and expression.
    let mut unexplained: BTreeMap<(String, String), (f64, String)> = BTreeMap::new();
    for Subject { case, variant } in subjects(&gpu) {
        let work = Work {
            op: case.op.clone(),
            specs: specs(&case).unwrap().0,
            inputs: draw(&case),
            step: case.step,
        };
        let mut loaded = Loaded::new(&mut gpu, &work, Some(variant)).unwrap();
        for dispatch in 0..loaded.dispatches.len() {
            if loaded.dispatches[dispatch].anatomy.workgroup_bytes == 0 {
                continue;
            }
            let counted = Counted::new(&mut loaded, dispatch).unwrap();
            shaders.insert(counted.of.shader);
            for (site, amounts) in counted.of.anatomy.sites.iter().zip(&counted.sites) {
                if site.space != Space::Workgroup || amounts.conflict() < 1.0 + 1e-9 {
                    continue;
                }
                if let Some((entry, _)) = reason(counted.of.shader, site) {
                    needed.insert(entry);
                    continue;
                }
                let key = (counted.of.shader.to_owned(), site.expression.clone());
                let worst = unexplained.entry(key).or_insert((1.0, String::new()));
                if amounts.conflict() > worst.0 {
                    *worst = (amounts.conflict(), case.name());
                }
            }
        }
    }
    assert!(shaders.len() > 10, "only {shaders:?} have workgroup memory");
    let told: Vec<_> = unexplained
        .iter()
        .map(|((shader, expression), (degree, case))| {
            format!("{shader}: `{expression}` {degree:.2} ways, {case}")
        })
        .collect();
    assert!(told.is_empty(), "{} conflicts:\n{}", told.len(), told.join("\n"));
    let idle: Vec<_> =
        entries().enumerate().filter(|(i, _)| !needed.contains(i)).map(|(_, entry)| entry).collect();
    assert!(idle.is_empty(), "these conflicts are no more: {idle:?}");
}
