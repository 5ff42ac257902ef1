//! The GPU as a device: the same plan gives the same tensors as on the CPU, however it is fed and read.

use std::sync::Arc;

use lal::engine::device::cpu::Cpu;
use lal::engine::device::gpu::autotune::Autotune;
use lal::engine::device::gpu::{Gpu, GpuOptions};
use lal::engine::device::{Device, DeviceError, HostData, PlanId};
use lal::engine::op::OpError;
use lal::engine::plan::Plan;
use lal::engine::step::Step;
use lal::engine::tape::{Init, Parameter, State, Tape};
use lal::engine::tensor::Spec;
use lal::ops::add::Add;
use lal::ops::gelu::{Gelu, GeluApproximation};
use lal::ops::matmul::Matmul;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Opens the GPU; `None` where tests may go without one.
fn gpu(options: GpuOptions) -> Option<Gpu> {
    match Gpu::open(options) {
        Ok(gpu) => Some(gpu),
        Err(DeviceError::NoAdapter) if std::env::var_os("LAL_ALLOW_NO_GPU").is_some() => None,
        Err(error) => panic!("{error}\nSet LAL_ALLOW_NO_GPU=1 to run the other tests without a GPU."),
    }
}

/// y = gelu(w) + x and, in a second phase, total ← total + y; total is cleared when the first begins.
fn plan(len: usize) -> Result<Arc<Plan>, OpError> {
    let spec = Spec::f32([len]);
    let mut tape = Tape::new("forward");
    let x = tape.input("x", spec);
    let w = tape.parameter("w", [len], Init::Normal(1.0), Parameter::Outer);
    let total = tape.state("total", [len], Init::Constant(7.0), State::Transient);
    tape.clear_at_start(total);
    let activated = tape.apply_one(Gelu(GeluApproximation::Tanh), &[w])?;
    let y = tape.apply_one(Add, &[activated, x])?;
    tape.begin_phase("sum");
    let sum = tape.apply_one(Add, &[total, y])?;
    Ok(Arc::new(Plan::new(&tape, &[y, sum])?))
}

fn run_all(device: &mut dyn Device, plan: PlanId, x: &[f32]) -> Result<Vec<Vec<f32>>, DeviceError> {
    let mut all = Vec::new();
    device.set_input(plan, "x", HostData::F32(x))?;
    for phase in [0, 1, 1] {
        device.run(plan, phase, &Step::default())?;
    }
    while let Some(results) = device.results(true)? {
        all.extend(results);
    }
    all.push(device.read("w")?);
    all.push(device.read("total")?);
    Ok(all)
}

fn assert_near(got: &[Vec<f32>], want: &[Vec<f32>]) {
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(want) {
        assert_eq!(got.len(), want.len());
        for (got, want) in got.iter().zip(want) {
            assert!((got - want).abs() <= 1e-5 * want.abs().max(1.0), "{got} instead of {want}");
        }
    }
}

#[test]
fn plans_of_several_sizes_share_a_device_and_agree_with_the_cpu() -> Outcome {
    let Some(mut gpu) = gpu(GpuOptions::default()) else { return Ok(()) };
    let mut cpu = Cpu::<f32>::default();
    let x = |len| (0..len).map(|i| i as f32 / len as f32).collect::<Vec<_>>();
    for len in [65, 65] {
        let plan = plan(len)?;
        let (on_gpu, on_cpu) = (gpu.load(&plan, 3)?, cpu.load(&plan, 3)?);
        for _ in 0..3 {
            assert_near(&run_all(&mut gpu, on_gpu, &x(len))?, &run_all(&mut cpu, on_cpu, &x(len))?);
        }
    }
    let other_size = gpu.load(&plan(66)?, 3);
    assert!(matches!(other_size, Err(DeviceError::Length { expected: 65, got: 66, .. })));
    gpu.clear();
    // More than one piece of a transfer, so that uploads and reads are split.
    let large = 5_000_001;
    let plan = plan(large)?;
    let (on_gpu, on_cpu) = (gpu.load(&plan, 3)?, Cpu::<f32>::default().load(&plan, 3)?);
    assert_eq!(on_cpu, on_gpu);
    let values = x(large);
    gpu.write("w", &values)?;
    assert!(gpu.read("w")? == values);
    assert_eq!(run_all(&mut gpu, on_gpu, &values)?.len(), 5);
    Ok(())
}

#[test]
fn results_keep_their_order_when_many_steps_are_under_way() -> Outcome {
    let Some(mut gpu) = gpu(GpuOptions::default()) else { return Ok(()) };
    let id = gpu.load(&plan(1)?, 0)?;
    gpu.write("w", &[0.0])?;
    for i in 0..40 {
        gpu.set_input(id, "x", HostData::F32(&[i as f32]))?;
        gpu.run(id, 0, &Step::default())?;
    }
    for i in 0..40 {
        assert_eq!(gpu.results(true)?, Some(vec![vec![i as f32]]));
    }
    assert_eq!(gpu.results(true)?, None);
    Ok(())
}

#[test]
fn what_is_not_there_is_named() -> Outcome {
    let Some(mut gpu) = gpu(GpuOptions::default()) else { return Ok(()) };
    let id = gpu.load(&plan(4)?, 0)?;
    let said = |error: DeviceError| error.to_string();
    assert!(gpu.read("nothing").is_err_and(|e| said(e).contains("`nothing`")));
    assert!(gpu.write("w", &[0.0]).is_err_and(|e| said(e).contains("4 elements, not 1")));
    assert!(gpu.set_input(id, "z", HostData::F32(&[])).is_err_and(|e| said(e).contains("`z`")));
    assert!(gpu.set_input(id, "x", HostData::U32(&[0; 4])).is_err());
    let unknown = Gpu::open(GpuOptions { adapter: Some("no such GPU".into()), ..GpuOptions::default() });
    assert!(unknown.is_err_and(|e| said(e).contains("no adapter is called `no such GPU`")));
    let huge = Arc::new({
        let (mut tape, zero) = (Tape::new("huge"), Init::Constant(0.0));
        let parts: Vec<_> =
            (0..4096).map(|i| tape.state(&i.to_string(), [60 << 20], zero, State::Transient)).collect();
        tape.apply(Add, &parts[..2])?;
        Plan::new(&tape, &[])?
    });
    assert!(matches!(gpu.load(&huge, 0), Err(DeviceError::Memory { .. })));
    Ok(())
}

#[test]
fn equal_choices_give_equal_bits() -> Outcome {
    let tuned = |given| GpuOptions { autotune: Autotune::On { file: None, given }, ..GpuOptions::default() };
    let Some(mut first) = gpu(tuned(Default::default())) else { return Ok(()) };
    let plan = {
        let mut tape = Tape::new("products");
        let [a, b, sum] = ["a", "b", "sum"]
            .map(|name| tape.parameter(name, [65, 65], Init::Normal(1.0), Parameter::Hidden));
        let product = tape.apply_one(Matmul::default(), &[a, b])?;
        // Timing it must leave the sum as it is.
        let added = tape.apply_one(Matmul { accumulate: true, ..Matmul::default() }, &[product, b, sum])?;
        Arc::new(Plan::new(&tape, &[product, added])?)
    };
    let run = |gpu: &mut Gpu| -> Result<_, DeviceError> {
        let id = gpu.load(&plan, 1)?;
        gpu.run(id, 0, &Step::default())?;
        gpu.results(true)
    };
    let results = run(&mut first)?;
    assert_eq!(first.choices().len(), 2);
    let Some(mut second) = gpu(tuned(first.choices().clone())) else { return Ok(()) };
    assert!(run(&mut second)? == results);
    assert_eq!(first.choices(), second.choices());

    let mut cpu = Cpu::<f32>::default();
    let id = cpu.load(&plan, 1)?;
    cpu.run(id, 0, &Step::default())?;
    for (got, want) in results.iter().flatten().flatten().zip(cpu.results(true)?.iter().flatten().flatten()) {
        assert!((got - want).abs() < 1e-2, "{got} instead of {want}");
    }
    Ok(())
}
