//! The op of `docs/add_an_op.md`, checked as those of the registry are.

mod relu_squared;

use lal::engine::device::DeviceError;
use lal::engine::device::gpu::{Gpu, GpuOptions};
use lal::verify::Check;
use lal::verify::check::{check_kernels, check_twin};
use lal::verify::derivative::check_derivative;
use lal::verify::self_test::{Fate, SelfTest, Unsound};
use relu_squared::{backward_cases, cases};

/// Devices that look for stray accesses: as it is, and with grids and bindings that large tensors do not fit.
fn gpus() -> Option<Vec<Gpu>> {
    let checked = GpuOptions { checked: true, poison: true, ..GpuOptions::default() };
    let folded = GpuOptions { max_grid: Some(3), ..checked.clone() };
    let parts = GpuOptions { max_binding_bytes: Some(1 << 10), ..folded.clone() };
    match [checked, folded, parts].into_iter().map(Gpu::open).collect() {
        Ok(gpus) => Some(gpus),
        Err(DeviceError::NoAdapter) if std::env::var_os("LAL_ALLOW_NO_GPU").is_some() => None,
        Err(error) => panic!("{error}\nSet LAL_ALLOW_NO_GPU=1 to run the other tests without a GPU."),
    }
}

fn assert_all_pass(checks: Vec<Check>) {
    let failures: Vec<_> = checks.iter().filter(|c| !c.passed()).map(ToString::to_string).collect();
    assert!(!checks.is_empty() && failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn twins_and_derivative_agree_with_the_formula() {
    assert_all_pass(cases().iter().chain(&backward_cases()).map(check_twin).collect());
    assert_all_pass(cases().iter().flat_map(check_derivative).collect());
}

#[test]
fn kernels_agree_with_the_formula_on_every_kind_of_device() {
    for mut gpu in gpus().into_iter().flatten() {
        let all = cases().into_iter().chain(backward_cases());
        assert_all_pass(all.flat_map(|case| check_kernels(&mut gpu, &case)).collect());
    }
}

#[test]
fn every_mistake_in_the_shader_is_found() {
    let Some(gpus) = gpus() else { return };
    let all = cases().into_iter().chain(backward_cases()).collect();
    let test = SelfTest::new(all, &gpus, usize::MAX).unwrap_or_else(|error| panic!("{error}"));
    assert!(test.mutants.len() >= 10, "only {} mistakes were made", test.mutants.len());
    let mut missed = Vec::new();
    let run = test.run(vec![gpus], |fates| {
        let survived = fates.into_iter().filter(|(_, fate)| *fate == Fate::Survived);
        missed.extend(survived.map(|(mutant, _)| mutant.change.clone()));
        Ok::<_, Unsound>(())
    });
    run.unwrap_or_else(|error| panic!("{error}"));
    assert!(missed.is_empty(), "not found: {missed:#?}");
}
