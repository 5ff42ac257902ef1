//! Training as a whole: equal on every device, equal to the bit when repeated, and decoding that agrees with it.

use std::sync::Arc;

use lal::engine::device::cpu::{Cpu, Precision};
use lal::engine::device::gpu::{Gpu, GpuOptions};
use lal::engine::device::{Device, HostData};
use lal::engine::plan::Plan;
use lal::engine::step::Step;
use lal::engine::tape::Tape;
use lal::engine::tensor::Spec;
use lal::models::config::ModelConfig;
use lal::models::{ModelInputs, backbone};
use lal::nn::Pass;
use lal::ops::adamw::AdamW;
use lal::optim::{Optimizer, OptimizerConfig};
use lal::sample::batch::BatchGenerator;
use lal::sample::generator::Generator;
use lal::sample::strategy::Strategy;
use lal::train::plans::{StepShape, training};

const RULE: OptimizerConfig = OptimizerConfig {
    optimizer: Optimizer::AdamW,
    adamw: AdamW { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.1, clip: 1.0 },
};

fn odd_gpt(dropout: f64) -> ModelConfig {
    ModelConfig { bias: true, dropout, ..ModelConfig::gpt(17, 7, 2, 3, 12) }
}

fn shape(config: &ModelConfig, grad_accum: usize) -> StepShape {
    StepShape::pretraining(config, 3, grad_accum)
}

/// Tokens that follow a rule a model can learn, the same for every device.
fn batch(step: u64, len: usize) -> (Vec<u32>, Vec<u32>) {
    let token = |i: usize| ((i as u64 * 5 + step * 3 + (i as u64 * i as u64) % 7) % 17) as u32;
    ((0..len).map(token).collect(), (0..len).map(|i| token(i + 1)).collect())
}

/// Losses and gradient norms of some steps, and all parameters after them.
fn train(
    device: &mut dyn Device,
    config: &ModelConfig,
    grad_accum: usize,
    steps: u64,
) -> (Vec<[f32; 2]>, Vec<f32>) {
    let plan = Arc::new(training(config, shape(config, grad_accum), &RULE).unwrap());
    let id = device.load(&plan, 42).unwrap();
    let rows = 3 * config.block_size;
    let weight = 1.0 / (rows * grad_accum) as f32;
    device.set_input(id, "weights", HostData::F32(&vec![weight; rows])).unwrap();
    let mut reports = Vec::new();
    for t in 0..steps {
        let mut step = Step {
            learning_rate: 1e-2,
            correction1: 1.0 - 0.9f32.powi(t as i32 + 1),
            correction2: 1.0 - 0.99f32.powi(t as i32 + 1),
            ..Step::default()
        };
        if grad_accum > 1 {
            device.run(id, plan.phase("begin"), &step).unwrap();
        }
        let phase = plan.phase(if grad_accum > 1 { "micro" } else { "step" });
        for micro in 0..grad_accum {
            let (tokens, targets) = batch(t * grad_accum as u64 + micro as u64, rows);
            device.set_input(id, "tokens", HostData::U32(&tokens)).unwrap();
            device.set_input(id, "targets", HostData::U32(&targets)).unwrap();
            step.seed = (t * 100) as u32 + micro as u32;
            device.run(id, phase, &step).unwrap();
        }
        if grad_accum > 1 {
            device.run(id, plan.phase("update"), &step).unwrap();
        }
        let mut all = Vec::new();
        while let Some(results) = device.results(true).unwrap() {
            all.extend(results.into_iter().map(|r| r[0]));
        }
        let grad_norm = all.pop().unwrap();
        reports.push([all.iter().sum(), grad_norm]);
    }
    let weights = plan.parameters().flat_map(|(name, ..)| device.read(name).unwrap());
    (reports, weights.collect())
}

fn gpu() -> Option<Gpu> {
    match Gpu::open(GpuOptions::default()) {
        Ok(gpu) => Some(gpu),
        Err(_) if std::env::var_os("LAL_ALLOW_NO_GPU").is_some() => None,
        Err(error) => panic!("{error}\nSet LAL_ALLOW_NO_GPU=1 to run the tests without one."),
    }
}

fn assert_close(got: &[[f32; 2]], want: &[[f32; 2]], relative: f32) {
    for (step, (got, want)) in got.iter().zip(want).enumerate() {
        for (got, want) in got.iter().zip(want) {
            assert!((got - want).abs() <= relative * want.abs(), "step {step}: {got} instead of {want}");
        }
    }
}

#[test]
fn a_model_learns_a_rule() {
    let (reports, _) = train(&mut Cpu::<f32>::default(), &odd_gpt(0.0), 1, 150);
    assert!((reports[0][0] - 17f32.ln()).abs() < 0.1, "{:?}", reports[0]);
    assert!(reports[149][0] < 1.5, "{:?}", reports[149]);
}

#[test]
fn the_gpu_and_the_cpu_train_alike() {
    let Some(mut gpu) = gpu() else { return };
    for (dropout, grad_accum) in [(0.0, 1), (0.2, 1), (0.2, 2)] {
        let config = odd_gpt(dropout);
        let (cpu, _) = train(&mut Cpu::<f32>::default(), &config, grad_accum, 20);
        gpu.clear();
        let (gpu, _) = train(&mut gpu, &config, grad_accum, 20);
        assert_close(&gpu, &cpu, 1e-4);
    }
}

#[test]
fn f32_training_follows_the_oracle() {
    let config = odd_gpt(0.2);
    let (oracle, _) = train(&mut Cpu::<f64>::default(), &config, 1, 10);
    let (fast, _) = train(&mut Cpu::<f32>::default(), &config, 1, 10);
    assert_close(&fast, &oracle, 1e-4);
}

#[test]
fn equal_runs_give_equal_bits() {
    let config = odd_gpt(0.2);
    let bits = |device: &mut dyn Device| {
        let (reports, weights) = train(device, &config, 2, 5);
        (format!("{reports:?}"), weights.iter().map(|w| w.to_bits()).collect::<Vec<_>>())
    };
    assert_eq!(bits(&mut Cpu::<f32>::default()), bits(&mut Cpu::<f32>::default()));
    let Some(mut first) = gpu() else { return };
    let once = bits(&mut first);
    first.clear();
    assert_eq!(once, bits(&mut first));
}

#[test]
fn accumulated_micro_steps_equal_one_large_batch() {
    // The same three sequences twice over: the mean over both micro-steps is the mean over one.
    let config = odd_gpt(0.0);
    let mut once = Cpu::<f64>::default();
    let mut twice = Cpu::<f64>::default();
    let rows = 3 * config.block_size;
    let (tokens, targets) = batch(1, rows);
    let mut norms = Vec::new();
    for (device, grad_accum) in [(&mut once, 1), (&mut twice, 2)] {
        let plan = Arc::new(training(&config, shape(&config, grad_accum), &RULE).unwrap());
        let id = device.load(&plan, 42).unwrap();
        let weight = 1.0 / (rows * grad_accum) as f32;
        device.set_input(id, "weights", HostData::F32(&vec![weight; rows])).unwrap();
        device.set_input(id, "tokens", HostData::U32(&tokens)).unwrap();
        device.set_input(id, "targets", HostData::U32(&targets)).unwrap();
        for phase in &plan.phases {
            let repeats = if phase.name == "micro" { grad_accum } else { 1 };
            for _ in 0..repeats {
                let step = Step { correction1: 0.1, correction2: 0.01, ..Step::default() };
                device.run(id, plan.phase(&phase.name), &step).unwrap();
            }
        }
        let mut last = Vec::new();
        while let Some(results) = device.results(true).unwrap() {
            last = results;
        }
        norms.push(last.pop().unwrap()[0]);
    }
    assert!((norms[0] - norms[1]).abs() < 1e-6 * norms[0], "{norms:?}");
}

/// Logits behind every token of a sequence, all at once.
fn all_logits<F: Precision>(device: &mut Cpu<F>, config: &ModelConfig, tokens: &[u32]) -> Vec<f32> {
    let mut tape = Tape::new("logits");
    let input = tape.input("tokens", Spec::u32([1, tokens.len()]));
    let backbone =
        backbone(&mut tape, config, ModelInputs { tokens: input, segments: None }, Pass::Evaluate).unwrap();
    let logits = backbone.logits(&mut tape, 0, tokens.len()).unwrap();
    let plan = device.load(&Arc::new(Plan::new(&tape, &[logits]).unwrap()), 42).unwrap();
    device.set_input(plan, "tokens", HostData::U32(tokens)).unwrap();
    device.run(plan, 0, &Step::default()).unwrap();
    device.results(true).unwrap().unwrap().pop().unwrap()
}

fn decodes_like_uncached(device: &mut dyn Device, config: &ModelConfig, tolerance: f32) {
    let tokens: Vec<u32> = (0..12).map(|i| (i * 7 % 17) as u32).collect();
    let block = config.block_size;
    for prompt in [1, 3, block] {
        let mut generator = Generator::new(config.clone());
        let mut logits = generator.start(device, &tokens[..prompt]).unwrap();
        let mut cached = prompt;
        for seen in prompt..=tokens.len() {
            // A full cache starts over with half a block of context.
            let context = &tokens[seen - cached..seen];
            // Names and seed being the same, a fresh device has the same weights.
            let all = all_logits(&mut Cpu::<f64>::default(), config, context);
            let want = &all[all.len() - config.vocab_size..];
            for (got, want) in logits.iter().zip(want) {
                assert!((got - want).abs() < tolerance, "after {seen} of {prompt}: {got} {want}");
            }
            let Some(&next) = tokens.get(seen) else { break };
            logits = generator.push(device, next).unwrap();
            cached = if cached == block { block.div_ceil(2) } else { cached + 1 };
        }
    }
}

#[test]
fn cached_decoding_equals_uncached() {
    let config = odd_gpt(0.0);
    let mut cpu = Cpu::<f32>::default();
    all_logits(&mut cpu, &config, &[0]);
    decodes_like_uncached(&mut cpu, &config, 1e-5);
    let Some(mut gpu) = gpu() else { return };
    train(&mut gpu, &config, 1, 0);
    decodes_like_uncached(&mut gpu, &config, 1e-5);
}

/// After the same weights were learned on both.
#[test]
fn streams_side_by_side_say_on_a_gpu_what_they_say_on_the_cpu() {
    let Some(mut gpu) = gpu() else { return };
    let config = odd_gpt(0.0);
    let prompts: [&[u32]; 5] = [&[1, 2, 3], &[4], &[5, 6, 7, 8], &[9, 10], &[11, 12, 13, 14, 15, 16, 0]];
    let said = |device: &mut dyn Device| {
        train(device, &config, 1, 20);
        let mut generator = BatchGenerator::new(config.clone(), 3);
        generator.replies(device, &prompts, 9, &Strategy::default(), 3, Some(2)).unwrap()
    };
    let (cpu, gpu) = (said(&mut Cpu::<f32>::default()), said(&mut gpu));
    for (cpu, gpu) in cpu.iter().zip(&gpu) {
        assert_eq!((&cpu.tokens, cpu.ended), (&gpu.tokens, gpu.ended));
        for (cpu, gpu) in cpu.log_probs.iter().zip(&gpu.log_probs) {
            assert!((cpu - gpu).abs() < 1e-3, "{cpu} and {gpu}");
        }
    }
}
