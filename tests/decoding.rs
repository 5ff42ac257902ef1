//! Tokens that the device draws: the same text however many of them a submission has, and the one that the host draws.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use lal::engine::device::cpu::Cpu;
use lal::engine::device::gpu::{Gpu, GpuOptions};
use lal::engine::device::timeline::{Detail, Timeline};
use lal::engine::device::{Device, DeviceError, HostData, PlanId, Results};
use lal::engine::plan::Plan;
use lal::engine::step::Step;
use lal::models::config::ModelConfig;
use lal::run::presets;
use lal::sample::generator::{Generator, decode_plan, decode_width, drawing_plan};
use lal::sample::strategy::{Sampler, Strategy};
use lal::sample::writer::{WriteError, Writer};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// A device that is given so many steps at once, and runs each by itself; 0 for the device as it is.
struct Apart<'a> {
    device: &'a mut dyn Device,
    at_once: usize,
    /// How often it was given steps.
    calls: usize,
    /// Of the last step of each call.
    held: VecDeque<Results>,
}

impl Device for Apart<'_> {
    fn describe(&self) -> String {
        self.device.describe()
    }
    fn load(&mut self, plan: &Arc<Plan>, seed: u64) -> Result<PlanId, DeviceError> {
        self.device.load(plan, seed)
    }
    fn plan(&self, plan: PlanId) -> Result<Arc<Plan>, DeviceError> {
        self.device.plan(plan)
    }
    fn set_input(&mut self, plan: PlanId, name: &str, data: HostData) -> Result<(), DeviceError> {
        self.device.set_input(plan, name, data)
    }
    fn run(&mut self, plan: PlanId, phase: usize, step: &Step) -> Result<(), DeviceError> {
        self.device.run(plan, phase, step)
    }
    fn run_steps(&mut self, plan: PlanId, phase: usize, steps: &[Step]) -> Result<(), DeviceError> {
        self.calls += 1;
        assert!(steps.len() <= self.steps_at_once());
        if self.at_once == 0 {
            return self.device.run_steps(plan, phase, steps);
        }
        let mut last = None;
        for step in steps {
            self.device.run(plan, phase, step)?;
            last = self.device.results(true)?;
        }
        self.held.extend(last);
        Ok(())
    }
    fn steps_at_once(&self) -> usize {
        if self.at_once == 0 { self.device.steps_at_once() } else { self.at_once }
    }
    fn profile(
        &mut self,
        plan: PlanId,
        phase: usize,
        step: &Step,
        detail: Detail,
    ) -> Result<Timeline, DeviceError> {
        self.device.profile(plan, phase, step, detail)
    }
    fn results(&mut self, wait: bool) -> Result<Option<Results>, DeviceError> {
        self.held.pop_front().map_or_else(|| self.device.results(wait), |held| Ok(Some(held)))
    }
    fn read_parts(&mut self, name: &str, part: &mut dyn FnMut(&[f32])) -> Result<(), DeviceError> {
        self.device.read_parts(name, part)
    }
    fn write(&mut self, name: &str, data: &[f32]) -> Result<(), DeviceError> {
        self.device.write(name, data)
    }
}

/// Opens a GPU; `None` where tests may go without one.
fn gpu(options: GpuOptions) -> Option<Gpu> {
    match Gpu::open(options) {
        Ok(gpu) => Some(gpu),
        Err(DeviceError::NoAdapter) if std::env::var_os("LAL_ALLOW_NO_GPU").is_some() => None,
        Err(error) => panic!("{error}\nSet LAL_ALLOW_NO_GPU=1 to run the other tests without a GPU."),
    }
}

/// A block that is full twice in a text, a net that carries a state, and a window.
fn models() -> Vec<(&'static str, ModelConfig)> {
    let gpt = ModelConfig { unused_tokens: 3, ..ModelConfig::gpt(37, 16, 2, 2, 24) };
    let preset = |name: &str| presets::named(name).expect("a preset").model(19);
    let small = |name| ModelConfig { block_size: 5, n_embd: 12, n_inner: 20, ..preset(name) };
    vec![("gpt", gpt), ("lstm", small("lstm-mini")), ("mlp", small("mlp-mini"))]
}

fn strategies() -> Vec<Strategy> {
    let plain = Strategy::default;
    vec![
        Strategy::greedy(),
        plain(),
        Strategy { temperature: 0.7, ..plain() },
        Strategy { top_k: Some(4), ..plain() },
        Strategy { temperature: 1.4, top_k: Some(20), top_p: Some(0.8), min_p: Some(0.2), ..plain() },
        Strategy { repetition_penalty: 1.3, ..plain() },
    ]
}

/// Puts weights on the device that are large enough for logits to be far apart.
fn load(device: &mut dyn Device, model: &ModelConfig) {
    let plan = Arc::new(decode_plan(model, decode_width(model)).unwrap());
    device.load(&plan, 5).unwrap();
    for (name, ..) in plan.parameters() {
        let larger: Vec<_> = device.read(name).unwrap().iter().map(|x| 6.0 * x).collect();
        device.write(name, &larger).unwrap();
    }
}

const TOKENS: usize = 45;

/// A text after a prompt of three tokens, how often the device was given steps, and the generator's next number.
fn text(
    device: &mut dyn Device,
    at_once: usize,
    by_host: bool,
    (model, strategy): (&ModelConfig, &Strategy),
    tokens: usize,
) -> Result<(Vec<u32>, usize, u128), WriteError> {
    let mut device = Apart { device, at_once, calls: 0, held: VecDeque::new() };
    let mut generator = Generator::new(model.clone());
    let mut sampler = Sampler::new(strategy.clone()).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut written = Vec::new();
    let mut writer = Writer::new(&mut device, &mut generator, &mut sampler, &mut rng, &[3, 1, 4], TOKENS)?;
    if by_host {
        writer = writer.by_host();
    }
    while written.len() < tokens {
        let token = writer.next(&written)?;
        written.push(token);
    }
    drop(writer);
    Ok((written, device.calls, rng.get_word_pos()))
}

/// Every way to write a text gives the same, and takes one random number for each token.
fn check(device: &mut dyn Device, name: &str, model: &ModelConfig, ways: &[usize]) {
    load(device, model);
    for strategy in strategies() {
        let of = (model, &strategy);
        let (want, calls, _) = text(device, 0, true, of, TOKENS).unwrap();
        assert_eq!((want.len(), calls), (TOKENS, 0));
        assert!(want.iter().all(|&token| (token as usize) < model.n_tokens()), "{name}: {want:?}");
        for &at_once in ways {
            let (got, calls, numbers) = text(device, at_once, false, of, TOKENS).unwrap();
            assert_eq!(got, want, "{name}, {at_once} at once, {strategy:?}");
            assert_eq!(numbers, TOKENS as u128, "{name}, {at_once} at once, {strategy:?}");
            let is_drawn = strategy.repetition_penalty == 1.0 && at_once != 1;
            assert_eq!(calls > 0, is_drawn, "{name}, {at_once} at once, {strategy:?}");
        }
        // Cut short while more is under way.
        for tokens in [1, 7, 20] {
            let (got, _, numbers) = text(device, ways[0], false, of, tokens).unwrap();
            assert_eq!((got.as_slice(), numbers), (&want[..tokens], tokens as u128), "{name}, {strategy:?}");
        }
    }
}

#[test]
fn a_gpu_draws_the_same_tokens_several_at_once_one_by_one_and_as_the_host_does() {
    for (name, model) in models() {
        let Some(mut gpu) = gpu(GpuOptions::default()) else { return };
        check(&mut gpu, name, &model, &[0, 3, 1]);
    }
}

#[test]
fn the_twin_draws_what_the_sampler_draws() {
    for (name, model) in models() {
        check(&mut Cpu::<f32>::default(), name, &model, &[7, 64, 1]);
    }
}

/// The CPU has no submissions to save.
#[test]
fn a_cpu_leaves_it_to_the_host() {
    let (_, model) = &models()[0];
    let mut cpu = Cpu::<f32>::default();
    load(&mut cpu, model);
    assert_eq!(text(&mut cpu, 0, false, (model, &Strategy::default()), TOKENS).unwrap().1, 0);
}

/// Weights of a model that diverged: the host says which logit it is.
#[test]
fn a_logit_that_is_no_number_is_named() {
    let (_, model) = &models()[0];
    let mut cpu = Cpu::<f32>::default();
    let Some(mut gpu) = gpu(GpuOptions::default()) else { return };
    for (device, at_once) in [(&mut cpu as &mut dyn Device, 8), (&mut gpu, 0)] {
        load(device, model);
        let name = "transformer.wte.weight";
        let mut table = device.read(name).unwrap();
        let of = (model, &Strategy::greedy());
        // A token that is written after a while: whatever reads it is no number.
        let (want, ..) = text(device, at_once, false, of, TOKENS).unwrap();
        let bad = want[12] as usize;
        let first = want.iter().position(|&token| token as usize == bad).unwrap();
        device.write(name, &table).unwrap();
        table[24 * bad] = f32::NAN;
        device.write(name, &table).unwrap();
        let error = text(device, at_once, false, of, TOKENS).unwrap_err().to_string();
        assert!(error.contains(&format!("the logit of token {bad} is NaN")), "{error} ({first})");
    }
}

#[test]
fn several_steps_are_one_submission() {
    let (_, model) = &models()[0];
    // However slow the machine is.
    let options = GpuOptions { max_submit: Some(Duration::from_secs(60)), ..GpuOptions::default() };
    let Some(mut gpu) = gpu(options) else { return };
    load(&mut gpu, model);
    let rule = Sampler::new(Strategy::greedy()).unwrap().rule(5).unwrap();
    let plan = Arc::new(drawing_plan(model, rule, 8).unwrap());
    let plan = gpu.load(&plan, 0).unwrap();
    let steps: Vec<_> = (0..8).map(|place| Step { position: 3 + place, place, ..Step::default() }).collect();
    // Kernels must have been measured before they are repeated.
    for (steps, wanted) in [(&steps[..1], 1), (&steps[..1], 1), (&steps, 1), (&steps, 1)] {
        let before = gpu.submissions();
        gpu.run_steps(plan, 0, steps).unwrap();
        assert_eq!(gpu.submissions() - before, wanted);
        assert_eq!(gpu.results(true).unwrap().map(|results| results[0].len()), Some(8));
        assert!(gpu.results(true).unwrap().is_none());
    }
}
