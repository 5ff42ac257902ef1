//! Submissions: cut by time, with the same bits however they are cut; and a GPU that does not finish.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use assert_cmd::Command;
use lal::engine::device::gpu::{Gpu, GpuOptions};
use lal::engine::device::timeline::Detail;
use lal::engine::device::{Device, DeviceError, Results};
use lal::engine::plan::Plan;
use lal::engine::step::Step;
use lal::engine::tape::{Init, Parameter, Tape};
use lal::models::config::ModelConfig;
use lal::ops::OPS;
use lal::ops::matmul::Matmul;
use lal::profile::workload::Workload;
use lal::run::config::TrainConfig;
use lal::run::presets;
use lal::verify::check::check_kernels;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Opens the GPU; `None` where tests may go without one.
fn gpu(options: GpuOptions) -> Option<Gpu> {
    match Gpu::open(options) {
        Ok(gpu) => Some(gpu),
        Err(DeviceError::NoAdapter) if std::env::var_os("LAL_ALLOW_NO_GPU").is_some() => None,
        Err(error) => panic!("{error}\nSet LAL_ALLOW_NO_GPU=1 to run the other tests without a GPU."),
    }
}

fn at_most(milliseconds: u64) -> GpuOptions {
    GpuOptions { max_submit: Some(Duration::from_millis(milliseconds)), ..GpuOptions::default() }
}

/// What a training step leaves: its results and every tensor.
#[derive(PartialEq)]
struct Left {
    results: Vec<Results>,
    tensors: BTreeMap<String, Vec<f32>>,
}

/// Trains for two steps; also says how many submissions the second took, and how many in all.
fn train(gpu: &mut Gpu, work: &Workload) -> Result<(Left, u64, u64), DeviceError> {
    let id = work.load(gpu)?;
    let loaded = gpu.submissions();
    let (mut results, mut before) = (Vec::new(), 0);
    for _ in 0..2 {
        before = gpu.submissions();
        for part in &work.parts {
            gpu.run(id, part.phase, &work.step)?;
        }
        while let Some(of_part) = gpu.results(true)? {
            results.push(of_part);
        }
    }
    let submissions = (gpu.submissions() - before, gpu.submissions() - loaded);
    let read = |(name, ..): (&str, _, _)| Ok((name.to_owned(), gpu.read(name)?));
    let tensors = work.plan.persistent().map(read).collect::<Result<_, DeviceError>>()?;
    Ok((Left { results, tensors }, submissions.0, submissions.1))
}

fn work(config: &TrainConfig) -> Workload {
    Workload::pretraining(config, &config.model(65)).unwrap_or_else(|e| panic!("{e}"))
}

fn mini() -> TrainConfig {
    presets::named("mini").expect("mini is a preset")
}

#[test]
fn a_step_in_slices_leaves_the_same_bits() -> Outcome {
    let model =
        ModelConfig { n_layer: 2, n_head: 2, n_embd: 34, block_size: 21, dropout: 0.1, ..mini().model };
    let work = work(&TrainConfig { model, batch_size: 3, grad_accum: 2, ..mini() });
    // Nothing of this takes as long as the guesses say before anything is known.
    let Some(mut whole) = gpu(at_most(60_000)) else { return Ok(()) };
    let (want, of_a_step, in_all) = train(&mut whole, &work)?;
    assert_eq!((of_a_step, in_all), (work.parts.len() as u64, 2 * work.parts.len() as u64));
    assert!(want.results.iter().flatten().flatten().all(|x| x.is_finite()));
    let launches = work.plan.nodes.len() as u64;
    for groups in [1, 3] {
        let Some(mut sliced) = gpu(GpuOptions { max_groups: Some(groups), ..at_most(60_000) }) else {
            continue;
        };
        let (got, of_a_step, _) = train(&mut sliced, &work)?;
        assert!(got == want, "slices of {groups} workgroups leave other bits");
        assert!(of_a_step > 2 * launches, "{of_a_step} submissions for {launches} nodes");
    }
    Ok(())
}

#[test]
fn a_step_that_takes_longer_than_the_limit_is_cut() -> Outcome {
    let work =
        work(&TrainConfig { model: ModelConfig { n_layer: 1, ..mini().model }, batch_size: 4, ..mini() });
    let Some(mut whole) = gpu(at_most(60_000)) else { return Ok(()) };
    let (want, of_a_step, _) = train(&mut whole, &work)?;
    assert_eq!(of_a_step, 1);
    for milliseconds in [500, 3] {
        let Some(mut cut) = gpu(at_most(milliseconds)) else { continue };
        let (got, of_a_step, in_all) = train(&mut cut, &work)?;
        assert!(got == want, "a limit of {milliseconds} ms leaves other bits");
        // A rasteriser takes tens of milliseconds; a GPU is only cut before it is known.
        let is_cut = if cut.software() { of_a_step } else { in_all };
        assert!(milliseconds > 3 || is_cut > 2, "{of_a_step} submissions");
    }
    Ok(())
}

#[test]
fn every_op_can_be_sliced() {
    let Some(mut gpu) = gpu(GpuOptions { max_groups: Some(2), poison: true, ..GpuOptions::default() }) else {
        return;
    };
    for op in OPS {
        let mut cases = (op.cases)();
        let size = |case: &lal::engine::case::Case| -> usize {
            case.inputs.iter().map(|input| input.spec.shape.len()).sum()
        };
        cases.sort_by_key(|case| size(case).abs_diff(2_000));
        for check in cases.iter().take(1).flat_map(|case| check_kernels(&mut gpu, case)) {
            assert!(check.passed(), "{check}");
        }
    }
}

/// A product of two square matrices.
fn product(n: usize) -> Result<Arc<Plan>, Box<dyn std::error::Error>> {
    let mut tape = Tape::new("products");
    let [a, b] = ["a", "b"].map(|name| tape.parameter(name, [n, n], Init::Normal(1.0), Parameter::Hidden));
    let product = tape.apply_one(Matmul::default(), &[a, b])?;
    Ok(Arc::new(Plan::new(&tape, &[product])?))
}

#[test]
fn one_long_product_is_cut_and_profiled_as_a_whole() -> Outcome {
    let plan = product(449)?;
    let run = |gpu: &mut Gpu| -> Result<_, DeviceError> {
        let id = gpu.load(&plan, 1)?;
        let mut all = Vec::new();
        for _ in 0..2 {
            gpu.run(id, 0, &Step::default())?;
            all.push(gpu.results(true)?);
        }
        let whole = gpu.profile(id, 0, &Step::default(), Detail::Whole)?;
        all.push(gpu.results(true)?);
        let launches = gpu.profile(id, 0, &Step::default(), Detail::Launches)?;
        all.push(gpu.results(true)?);
        Ok((all, whole, launches))
    };
    let Some(mut whole) = gpu(at_most(60_000)) else { return Ok(()) };
    let (want, timeline, _) = run(&mut whole)?;
    assert_eq!(timeline.submissions, 1);
    assert!(want.iter().all(|results| *results == want[0] && results.is_some()));
    let Some(mut sliced) = gpu(GpuOptions { max_groups: Some(5), ..GpuOptions::default() }) else {
        return Ok(());
    };
    let (got, timeline, launches) = run(&mut sliced)?;
    assert!(got == want);
    assert!(timeline.submissions > 2, "{timeline:?}");
    // All of its slices are timed, and it is one launch.
    let kernels = launches.launches.len();
    assert!(kernels <= 2 && launches.launches_us() > 0.0 && timeline.device.us > 0.0, "{launches:?}");
    Ok(())
}

#[test]
fn a_gpu_that_does_not_finish_is_given_up_by_the_name_of_its_kernel() -> Outcome {
    let patience = Some(Duration::from_micros(1));
    let Some(mut gpu) = gpu(GpuOptions { patience, ..at_most(60_000) }) else { return Ok(()) };
    let id = gpu.load(&product(700)?, 1)?;
    let first = gpu.run(id, 0, &Step::default()).and_then(|()| gpu.results(true).map(|_| ()));
    for error in [first, gpu.run(id, 0, &Step::default()), gpu.read("a").map(|_| ())] {
        let Err(error) = error else { panic!("a wait of a microsecond was enough") };
        assert!(matches!(error, DeviceError::Stuck { .. }), "{error}");
        let said = error.to_string();
        for words in ["`/matmul` (shaders/matmul/", "in `products`", "--resume", "0.000001 s"] {
            assert!(said.contains(words), "{said}");
        }
    }
    Ok(())
}

fn lal() -> Command {
    let mut command = Command::cargo_bin("lal").expect("the program is built with the tests");
    command.env_remove("LAL_MAX_SUBMIT_MS");
    command
}

#[test]
fn the_limit_is_a_flag_of_every_verb_that_opens_a_gpu() {
    for verb in ["train", "sample", "eval", "verify", "profile", "bench", "chat"] {
        let help = lal().args([verb, "--help"]).assert().success().get_output().stdout.clone();
        assert!(String::from_utf8_lossy(&help).contains("--max-submit-ms"), "{verb}");
    }
    for wrong in ["0", "-1", "60001", "half", "18446744073709551616"] {
        lal().args(["train", "--max-submit-ms", wrong]).assert().code(2);
    }
}
