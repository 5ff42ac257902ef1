//! The op of `docs/add_an_op.md`, checked as those of the registry are.

mod relu_squared;

use lal::engine::device::DeviceError;
use lal::engine::device::gpu::Gpu;
use lal::verify::Check;
use lal::verify::check::{check_kernels, check_twin};
use lal::verify::crew::{CHECKED_WAYS, Crew};
use lal::verify::derivative::check_derivative;
use lal::verify::self_test::{Fate, SelfTest, Unsound};
use relu_squared::{backward_cases, cases};

/// Devices that look for stray accesses.
fn crew() -> Option<Crew> {
    match Crew::open(&CHECKED_WAYS, |options| Gpu::open(options).map(Some)) {
        Ok(crew) => Some(crew),
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
fn kernels_agree_with_the_formula_in_every_way() {
    let Some(mut crew) = crew() else { return };
    for way in CHECKED_WAYS {
        let all = cases().into_iter().chain(backward_cases());
        assert_all_pass(all.flat_map(|case| check_kernels(crew.ready(&way), &case)).collect());
    }
}

#[test]
fn every_mistake_in_the_shader_is_found() {
    let Some(mut crew) = crew() else { return };
    let all = cases().into_iter().chain(backward_cases()).collect();
    let test = SelfTest::new(all, &mut crew, usize::MAX).unwrap_or_else(|error| panic!("{error}"));
    assert!(test.mutants.len() >= 10, "only {} mistakes were made", test.mutants.len());
    let mut missed = Vec::new();
    let run = test.run(&mut [crew], |fates| {
        let survived = fates.into_iter().filter(|(_, fate)| *fate == Fate::Survived);
        missed.extend(survived.map(|(mutant, _)| mutant.change.clone()));
        Ok::<_, Unsound>(())
    });
    run.unwrap_or_else(|error| panic!("{error}"));
    assert!(missed.is_empty(), "not found: {missed:#?}");
}
