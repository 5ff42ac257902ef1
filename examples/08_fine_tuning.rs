//! Part 8, fine-tuning: from a model that tells tales to one that answers, and answers as it should.
//!
//! People show how questions are answered, and err: they invent what they do not know, and are rude. A model learns
//! both from them (SFT). What people would rather have had is easier to say than to do, so pairs of answers put it
//! right: straight into the model (DPO), or into a model of what is good that then rewards its answers (reward model
//! and PPO). Or a program rewards them (GRPO), or principles revise them (Constitutional AI). Whoever seeks reward
//! alone, and is not held to what they were (no KL), finds what the reward did not mean.
//!
//! `cargo run --release --example 08_fine_tuning`, and `-- --full` for larger models that have had time to learn;
//! `--seed N` for other random numbers

use std::error::Error;
use std::time::Instant;

use lal::engine::device::cpu::Cpu;
use lal::finetune::base::Base;
use lal::finetune::calibration::Calibration;
use lal::finetune::constitution::Constitution;
use lal::finetune::course::{Course, Outcome};
use lal::finetune::policy_options::{Algorithm, PolicyOptions};
use lal::objective::preference::Preference;
use lal::run::config::TrainConfig;
use lal::run::settings::Settings;
use lal::text::corpus::{TALES, TALES_CHARS, TALES_SEED};
use lal::text::dataset::Dataset;
use lal::text::tales::Tales;
use lal::train::source::{Measures, REWARD, pretraining};
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
    /// The share of held-out pairs that the model preferred rightly after DPO.
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
    let config = TrainConfig::new(&settings(size.pretraining, size.seed).over(&shape)?)?;
    let tokenizer = config.tokenizer(&corpus.text)?;
    let model = config.model(tokenizer.vocab_size());
    let source = pretraining(&config, &model, Dataset::new(TALES, &corpus.text, &tokenizer)?);
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
        println!("{:31}of the likeliest replies{:27}of drawn ones", "", "");
        println!(
            "{:30} accuracy honesty kindness violations  reward        reward           KL      s",
            "stage"
        );
        Self { outcomes: Vec::new(), since: Instant::now() }
    }

    fn add(&mut self, outcome: Outcome) {
        let Outcome { stage, tally, violations, drawn, kl, .. } = &outcome;
        let [accuracy, honesty, kindness, violations] =
            [tally.accuracy(), tally.honesty(), tally.kindness(), *violations].map(|share| 100.0 * share);
        let (likeliest, spread) = (tally.mean_reward(), tally.std_reward());
        print!(
            "{stage:30} {accuracy:7.1}% {honesty:6.1}% {kindness:7.1}% {violations:9.1}% {likeliest:7.2} ±{spread:.2}"
        );
        let (reward, spread) = (drawn.mean_reward(), drawn.std_reward());
        println!(" {reward:7.2} ±{spread:.2} {kl:5.2} {:6.0}", self.since.elapsed().as_secs_f64());
        self.outcomes.push(outcome);
        self.since = Instant::now();
    }
}

pub fn run(size: Size) -> Result<Findings, Box<dyn Error>> {
    let Size { seed, prompts, questions, .. } = size;
    let mut table = Table::new();
    let mut course = Course::new(pretrained(&size)?, &settings(size.sft, seed), questions)?;
    table.add(course.outcome("SFT")?);

    // Fewer layers take a higher rate.
    let rewards = Settings { learning_rate: Some(1e-3), ..settings(size.reward, seed) };
    let (mut judge, reward_model) = course.reward(&rewards, questions)?;
    let policy = settings(size.policy, seed);
    // A reward model is right about replies like those it has seen: whoever seeks what it gives goes in small steps.
    let careful = Settings { learning_rate: Some(1.5e-4), ..policy.clone() };
    let ppo = PolicyOptions::default();
    let learned = course.policy("SFT, reward model, PPO", &careful, ppo.clone(), Some(&mut judge))?;
    let of_step = |measures: &Measures| {
        let measure = |name| measures.iter().find(|m| m.0 == name).map(|m| m.1);
        Some([measure(REWARD)?, measure("reward_std")?])
    };
    let rewards = learned.measures.iter().filter_map(of_step).collect();
    table.add(learned.outcome);
    let grpo = PolicyOptions { algorithm: Algorithm::Grpo, kl_coefficient: 0.25, ..ppo };
    table.add(course.policy("SFT, program, GRPO", &policy, grpo.clone(), None)?.outcome);

    let pairs = settings(size.dpo, seed);
    let (learned, preferred) = course.dpo("SFT, DPO", &pairs, Preference::default(), questions)?;
    table.add(learned.outcome);

    let constitution = Constitution::of_tales();
    let revisions = settings(size.revision, seed);
    table.add(course.revised("SFT, constitution", &revisions, &constitution, prompts)?.outcome);

    let free = PolicyOptions { kl_coefficient: 0.0, kl_stop: 1.0, ..grpo };
    let hasty = Settings { learning_rate: Some(1e-3), ..settings(size.policy_without_kl, seed) };
    table.add(course.policy("SFT, program, GRPO without KL", &hasty, free, None)?.outcome);
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
    println!("\nwhat the reward model gave PPO, by iterations, at first ±{spread:.2}: {}", few.join(" "));
    println!("\nDPO: {:.1}% of held-out pairs preferred rightly", 100.0 * preferred);
    if let [first, .., last] = &outcomes[..] {
        println!("\nbefore:     {}\nwithout KL: {}", first.reply, last.reply);
    }
    Ok(())
}
