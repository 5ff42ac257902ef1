//! The checks themselves are checked: a few mistakes in every shader, each of which must be found.

use lal::engine::device::DeviceError;
use lal::engine::device::gpu::{Gpu, GpuOptions};
use lal::ops::OPS;
use lal::verify::self_test::{Fate, SelfTest};

/// Mistakes in each shader.
const FEW: usize = 1;

#[test]
fn a_mistake_in_any_shader_is_found() {
    let checked = GpuOptions { checked: true, poison: true, ..GpuOptions::default() };
    let folded = GpuOptions { max_grid: Some(3), ..checked.clone() };
    let parts = GpuOptions { max_binding_bytes: Some(1 << 10), ..folded.clone() };
    let opened = [checked, folded, parts].map(Gpu::open).into_iter().collect::<Result<Vec<_>, _>>();
    let mut gpus = match opened {
        Ok(gpus) => gpus,
        Err(DeviceError::NoAdapter) if std::env::var_os("LAL_ALLOW_NO_GPU").is_some() => return,
        Err(error) => panic!("{error}\nSet LAL_ALLOW_NO_GPU=1 to run the other tests without a GPU."),
    };
    let cases = OPS.iter().flat_map(|op| (op.cases)()).collect();
    let test = SelfTest::new(cases, &gpus, FEW).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(test.control(&mut gpus), None, "a shader fails before anything is spoilt");
    let survivors: Vec<_> = test
        .mutants
        .iter()
        .filter(|mutant| test.try_out(mutant, &mut gpus) == Fate::Survived)
        .map(|mutant| {
            format!(
                "{} in `{}` of shaders/{}.wgsl: {}",
                mutant.kind, mutant.function, mutant.shader, mutant.change
            )
        })
        .collect();
    assert!(survivors.is_empty(), "{} mistakes were not found:\n{}", survivors.len(), survivors.join("\n"));
}
