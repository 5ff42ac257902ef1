//! Part 8, fine-tuning: from a model that tells tales to one that answers, and answers as it should.
//!
//! People show how questions are answered, and err: they invent what they do not know, and are rude. A model learns
//! both from them (SFT). What people would rather have had is easier to say than to do, so pairs of answers put it
//! right: straight into the model (DPO), or into a model of what is good that then rewards its answers (reward model
//! and PPO). Or a program rewards them (GRPO), or principles revise them (Constitutional AI). A policy that seeks reward
//! alone, and is not held to what they were (no KL), finds what the reward did not mean.
//!
//! `cargo run --release --example 08_fine_tuning`, and `-- --full` for larger models that have had time to learn;
//! `--seed N` for other random numbers

use std::error::Error;
use std::time::Instant;

use lal::engine::device::cpu::Cpu;
use lal::finetune::base::Base;
use lal::finetune::calibration::Calibration;
use lal::finetune::pipeline::{OpenDevice, Outcome, Pipeline, Sampled};
use lal::finetune::ppo_options::{Algorithm, PpoOptions};
use lal::finetune::report::{Answers, Grades, Report};
use lal::finetune::stages::Method;
use lal::finetune::stages::constitution::ConstitutionOptions;
use lal::finetune::stages::dpo::DpoOptions;
use lal::finetune::stages::reward::RewardOptions;
use lal::run::settings::Settings;
use lal::text::corpus::{TALES, TALES_CHARS, TALES_SEED};
use lal::text::dataset::Dataset;
use lal::text::tales::Tales;
use lal::train::pretraining::pretraining;
use lal::train::source::{Measures, REWARD};
use lal::train::trainer::Trainer;

/// Steps of each kind, and how much there is to learn and to judge by.
#[derive(Clone, Debug)]
pub struct Size {
    /// What differs from the preset `tales-mini`.
    pub shape: Settings,
    pub pretraining: u64,
    pub sft: u64,
    pub reward: u64,
    pub dpo: u64,
    pub policy: u64,
    pub policy_without_kl: u64,
    pub revision: u64,
    pub prompts: usize,
    pub questions: usize,
    pub seed: u64,
}

/// What came of every stage.
pub struct Findings {
    pub outcomes: Vec<Outcome>,
    pub reward_model: Calibration,
    /// The share of held-out pairs that the model preferred correctly after DPO.
    pub preferred: f64,
    /// Of each iteration of PPO what the reward model gave to its replies: the mean, and the standard deviation.
    pub rewards: Vec<[f64; 2]>,
}

/// A stage of so many steps, as its recipe has it.
fn settings(steps: u64, seed: u64) -> Settings {
    Settings { steps: Some(steps), warmup_steps: Some(steps / 20), seed: Some(seed), ..Settings::default() }
}

/// A model that tells tales.
fn pretrained(size: &Size) -> Result<Base, Box<dyn Error>> {
    let corpus = Tales::new().corpus(TALES_SEED, TALES_CHARS);
    let shape = Settings { preset: Some("tales-mini".into()), ..size.shape.clone() };
    let config = settings(size.pretraining, size.seed).over(&shape)?.resolve()?;
    let tokenizer = config.tokenizer(&corpus.text)?;
    let model = config.model(tokenizer.vocab_size());
    let source = pretraining(&config, &model, Dataset::new(TALES, &corpus.text, &tokenizer)?)?;
    let mut cpu = Cpu::<f32>::default();
    let mut trainer = Trainer::new(&mut cpu, config, model, source)?;
    trainer.train_to(&mut cpu, size.pretraining)?;
    Ok(Base::of(&mut cpu, &trainer, &tokenizer)?)
}

/// A row for each stage as it ends.
struct Table {
    outcomes: Vec<Outcome>,
    since: Instant,
}

impl Table {
    fn new() -> Self {
        println!("{:31}greedy replies{:37}sampled replies", "", "");
        println!(
            "{:30} accuracy honesty kindness violations  reward        reward           KL      s",
            "stage"
        );
        Self { outcomes: Vec::new(), since: Instant::now() }
    }

    fn add(&mut self, outcome: Outcome) {
        let Outcome { name, report, sampled, .. } = &outcome;
        let (Report { answers: Some(Answers { grades: Some(grades), .. }), violations, .. }, Some(sampled)) =
            (report, sampled)
        else {
            return;
        };
        let Grades { accuracy, honesty, kindness, reward, reward_std } = *grades;
        let violations = violations.as_ref().map_or(f64::NAN, |violations| violations.share());
        let [accuracy, honesty, kindness, violations] =
            [accuracy, honesty, kindness, violations].map(|share| 100.0 * share);
        print!(
            "{name:30} {accuracy:7.1}% {honesty:6.1}% {kindness:7.1}% {violations:9.1}% {reward:7.2} ±{reward_std:.2}"
        );
        let Sampled { grades: Grades { reward, reward_std, .. }, kl, .. } = sampled;
        println!(" {reward:7.2} ±{reward_std:.2} {kl:5.2} {:6.0}", self.since.elapsed().as_secs_f64());
        self.outcomes.push(outcome);
        self.since = Instant::now();
    }
}

/// The figure of this name.
fn figure(measures: &Measures, name: &str) -> Option<f64> {
    measures.iter().find(|measure| measure.0 == name).map(|measure| measure.1)
}

pub fn run(size: Size) -> Result<Findings, Box<dyn Error>> {
    let Size { seed, questions, .. } = size;
    let mut table = Table::new();
    let cpu: OpenDevice = Box::new(|| Ok(Box::new(Cpu::<f32>::default())));
    let mut pipeline = Pipeline::new(pretrained(&size)?, &settings(size.sft, seed), questions, cpu)?;
    table.add(pipeline.start("SFT")?);

    // Fewer layers take a higher rate.
    let rewards = Settings { learning_rate: Some(1e-3), ..settings(size.reward, seed) };
    let reward = Method::Reward(RewardOptions::default());
    let Outcome { report: Report { calibration, .. }, mut model, .. } =
        pipeline.run("reward model", &reward, &rewards, None)?;
    let policy = settings(size.policy, seed);
    // A reward model is right about replies like those it has seen: a policy that seeks its rewards takes small steps.
    let careful = Settings { learning_rate: Some(1.5e-4), ..policy.clone() };
    let ppo = PpoOptions::default();
    let learned =
        pipeline.run("SFT, reward model, PPO", &Method::Ppo(ppo.clone()), &careful, model.as_mut())?;
    let of_step = |measures: &Measures| Some([figure(measures, REWARD)?, figure(measures, "reward_std")?]);
    let rewards = learned.measures.iter().filter_map(of_step).collect();
    table.add(learned);
    let grpo = PpoOptions { algorithm: Algorithm::Grpo, kl_coefficient: 0.25, ..ppo };
    table.add(pipeline.run("SFT, program, GRPO", &Method::Ppo(grpo.clone()), &policy, None)?);

    let pairs = Settings { eval_iters: Some(questions.div_ceil(16)), ..settings(size.dpo, seed) };
    let learned = pipeline.run("SFT, DPO", &Method::Dpo(DpoOptions::default()), &pairs, None)?;
    let preferred = figure(&learned.validation, "accuracy").unwrap_or(f64::NAN);
    table.add(learned);

    let principles = ConstitutionOptions { questions: size.prompts, ..ConstitutionOptions::default() };
    let revisions = settings(size.revision, seed);
    table.add(pipeline.run("SFT, constitution", &Method::Constitution(principles), &revisions, None)?);

    let free = PpoOptions { kl_coefficient: 0.0, kl_stop: 1.0, ..grpo };
    let hasty = Settings { learning_rate: Some(1e-3), ..settings(size.policy_without_kl, seed) };
    table.add(pipeline.run("SFT, program, GRPO without KL", &Method::Ppo(free), &hasty, None)?);
    let reward_model = calibration.ok_or("the reward model was not evaluated")?;
    Ok(Findings { outcomes: table.outcomes, reward_model, preferred, rewards })
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let full = args.iter().any(|arg| arg == "--full");
    let seed = args.iter().position(|arg| arg == "--seed").and_then(|at| args.get(at + 1));
    let seed = seed.map_or(Ok(1337), |seed| seed.parse())?;
    let small = Size {
        shape: Settings { n_layer: Some(2), n_embd: Some(64), ..Settings::default() },
        pretraining: 300,
        sft: 300,
        reward: 120,
        dpo: 60,
        policy: 48,
        policy_without_kl: 96,
        revision: 60,
        prompts: 160,
        questions: 60,
        seed,
    };
    // Two layers of `mini`'s width answer like four, after half the time; a longer convolution helps them.
    let large = Size {
        shape: Settings { n_embd: Some(128), conv_kernel: Some(8), ..small.shape.clone() },
        pretraining: 1000,
        sft: 3300,
        reward: 950,
        dpo: 320,
        policy: 400,
        policy_without_kl: 240,
        revision: 440,
        prompts: 4000,
        questions: 300,
        seed,
    };
    let Findings { outcomes, reward_model, preferred, rewards } = run(if full { large } else { small })?;
    println!("\nreward model: {reward_model}");
    let few: Vec<String> = rewards.iter().step_by(8).map(|[reward, _]| format!("{reward:.2}")).collect();
    let spread = rewards.first().map_or(0.0, |first| first[1]);
    println!("\nwhat the reward model gave PPO, per iteration, initially ±{spread:.2}: {}", few.join(" "));
    println!("\nDPO: {:.1}% of held-out pairs preferred correctly", 100.0 * preferred);
    if let [first, .., last] = &outcomes[..] {
        let reply = |outcome: &Outcome| outcome.sampled.as_ref().map_or(String::new(), |s| s.reply.clone());
        println!("\nbefore:     {}\nwithout KL: {}", reply(first), reply(last));
    }
    Ok(())
}
