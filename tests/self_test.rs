//! The checks themselves are checked: a few mistakes in every shader, each of which must be found.

use lal::engine::device::DeviceError;
use lal::engine::device::gpu::Gpu;
use lal::ops::OPS;
use lal::verify::crew::{CHECKED_WAYS, Crew};
use lal::verify::self_test::{Fate, SelfTest, Unsound};

/// Mistakes in each shader.
const FEW: usize = 1;

#[test]
fn a_mistake_in_any_shader_is_found() {
    let mut crews = match Crew::all(&CHECKED_WAYS, |options| Gpu::open(options).map(Some)) {
        Ok(crews) => crews,
        Err(DeviceError::NoAdapter) if std::env::var_os("LAL_ALLOW_NO_GPU").is_some() => return,
        Err(error) => panic!("{error}\nSet LAL_ALLOW_NO_GPU=1 to run the other tests without a GPU."),
    };
    let cases = OPS.iter().flat_map(|op| (op.cases)()).collect();
    let test = SelfTest::new(cases, &mut crews[0], FEW).unwrap_or_else(|error| panic!("{error}"));
    let (mut tried, mut caught, mut survivors) = (0, 0, Vec::new());
    let run = test.run(&mut crews, |fates| {
        tried += fates.len();
        for (mutant, fate) in fates {
            caught += usize::from(matches!(fate, Fate::Caught(_)));
            if fate == Fate::Survived {
                survivors.push(format!(
                    "{} in `{}` of shaders/{}.wgsl: {}",
                    mutant.kind, mutant.function, mutant.shader, mutant.change
                ));
            }
        }
        Ok::<_, Unsound>(())
    });
    run.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(tried, test.mutants.len());
    assert!(
        2 * caught > tried,
        "only {caught} of {tried} were caught: the others were refused or are said to be equal"
    );
    assert!(survivors.is_empty(), "{} mistakes were not found:\n{}", survivors.len(), survivors.join("\n"));
}
