//! Part 9, Lal: the whole arc. A model reads tales until it can tell its own; shown how questions are answered, it
//! answers questions about tales it has never seen; and then one can talk with it.
//!
//! Pretraining teaches what tales are like: the lowest loss that any model could reach is known, and is printed
//! beside the model's. It can tell on, but asked something it tells on as well. Fine-tuning goes on with the same
//! weights and a few new tokens that say whose turn it is, and counts the loss of the answers alone. First the model
//! learns what kind of word answers a question; then, rather suddenly, to find that word in the tale.
//!
//! `cargo run --release --example 09_lal`

use std::error::Error;

use lal::engine::device::cpu::Cpu;
use lal::finetune::answers::{exact_match, replies};
use lal::finetune::base::Base;
use lal::finetune::sft_dataset::SftDataset;
use lal::finetune::sft_source::SftSource;
use lal::finetune::stage::Options;
use lal::finetune::stages::sft::SftOptions;
use lal::models::config::ModelConfig;
use lal::run::settings::Settings;
use lal::sample::conversation::Conversation;
use lal::sample::generator::Generator;
use lal::sample::load::Model;
use lal::sample::strategy::{Sampler, Strategy};
use lal::text::corpus::{TALES, TALES_CHARS, TALES_SEED};
use lal::text::dataset::{Dataset, Split};
use lal::text::tales::Tales;
use lal::text::tokenizer::Tokenizer;
use lal::train::pretraining::pretraining;
use lal::train::trainer::Trainer;

/// How much of everything.
pub struct Size {
    /// What differs from the preset `tales-mini` in pretraining, and in fine-tuning from what is usual for tales.
    pub pretraining: Settings,
    pub finetuning: Settings,
    pub conversations: usize,
    pub questions: usize,
}

/// What came of it.
pub struct Findings {
    /// After pretraining, in nats per token, and the least there could be.
    pub val_loss: f64,
    pub floor: f64,
    /// The share of held-out questions answered with an exact match, before and after fine-tuning.
    pub before: f64,
    pub after: f64,
    /// The loss of each step of fine-tuning, in nats per token of the answers.
    pub losses: Vec<f32>,
    /// A held-out tale and a question, and what both models say to it.
    pub asked: String,
    pub said: [String; 2],
    /// What was asked then, and answered.
    pub talk: Vec<[String; 2]>,
}

pub fn run(size: Size) -> Result<Findings, Box<dyn Error>> {
    // Pretraining.
    let corpus = Tales::new().corpus(TALES_SEED, TALES_CHARS);
    let preset = Settings { preset: Some("tales-mini".into()), ..Settings::default() };
    let config = size.pretraining.over(&preset)?.resolve()?;
    let tokenizer = config.tokenizer(&corpus.text)?;
    let dataset = Dataset::new(TALES, &corpus.text, &tokenizer)?;
    let floor = corpus.val_nats_per_char() * dataset.val_bytes as f64 / dataset.val.len() as f64;
    let model = config.model(tokenizer.vocab_size());
    let mut cpu = Cpu::<f32>::default();
    let source = pretraining(&config, &model, dataset)?;
    let mut trainer = Trainer::new(&mut cpu, config, model, source)?;
    trainer.train_to(&mut cpu, trainer.config.steps)?;
    let val_loss = trainer.estimate(&mut cpu, Split::Val)?.loss;

    // Fine-tuning, on a device of its own: the names of the weights are the same.
    let mut base = Base::of(&mut cpu, &trainer, &tokenizer)?;
    let defaults = SftOptions {}.defaults(Some(TALES));
    let config = size.finetuning.over(&defaults)?.over(base.settings())?.resolve()?;
    let tokenizer = base.chat_tokenizer();
    let model = base.for_chat(config.model.block_size, 0.0)?;
    let dataset =
        SftDataset::of_tales(false, size.conversations, size.questions, model.block_size, &tokenizer)?;
    let held_out = &dataset.held_out.examples;
    let source = SftSource::new(&dataset.name, &dataset.train, held_out, &config, &model)?;
    let mut cpu = Cpu::<f32>::default();
    let mut trainer = Trainer::new(&mut cpu, config, model.clone(), Box::new(source))?;
    base.write_to(&mut cpu, &trainer.parameters(), trainer.config.seed)?;
    let ask = |cpu: &mut Cpu<f32>| -> Result<(f64, String), Box<dyn Error>> {
        let replies = replies(cpu, &model, &tokenizer, held_out, &Strategy::greedy(), 0, &mut |_, _| ())?;
        Ok((exact_match(held_out, &replies, &tokenizer), replies[0].clone()))
    };
    let (before, first) = ask(&mut cpu)?;
    let losses = trainer.train_to(&mut cpu, trainer.config.steps)?;
    let (after, last) = ask(&mut cpu)?;

    // Talking.
    let asked = dataset.held_out.exchanges[0].prompt();
    let mut talk = Vec::new();
    let mut conversation = Conversation::new(None, 40, 0);
    for text in [asked.as_str(), "Where is the moon?", "What is the king like?"] {
        let (mut model, mut greedy) = (speaker(&model, &tokenizer), Sampler::new(Strategy::greedy())?);
        let answer = conversation.say(&mut cpu, &mut model, text, &mut greedy, &mut |_| Ok(()))?;
        talk.push([text.to_owned(), answer]);
    }
    Ok(Findings { val_loss, floor, before, after, losses, asked, said: [first, last], talk })
}

/// The model in training, to speak.
fn speaker(model: &ModelConfig, tokenizer: &Tokenizer) -> Model {
    let (config, tokenizer) = (model.clone(), tokenizer.clone());
    Model { generator: Generator::new(config.clone()), config, tokenizer }
}

fn main() -> Result<(), Box<dyn Error>> {
    let steps = |steps| Settings { steps: Some(steps), ..Settings::default() };
    let size = Size { pretraining: steps(250), finetuning: steps(300), conversations: 8000, questions: 100 };
    println!("Pretraining on the Tales world, then fine-tuning on questions about it: a minute or two.\n");
    let found = run(size)?;
    println!("val loss {:.3} nats per token; no model can go below {:.3}\n", found.val_loss, found.floor);
    println!("{}", found.asked);
    println!("  before fine-tuning: {}", found.said[0]);
    println!("  and after:          {}\n", found.said[1]);
    println!("loss of the answers, by step:");
    let step = (found.losses.len() / 8).max(1);
    for (number, few) in found.losses.chunks(step).enumerate() {
        let mean = few.iter().sum::<f32>() / few.len() as f32;
        println!("  {:>5} {mean:.3} {}", number * step, "▇".repeat((40.0 * mean.min(1.5)) as usize));
    }
    println!(
        "\nexact match on held-out questions: {:.0}% before, {:.0}% after\n",
        100.0 * found.before,
        100.0 * found.after
    );
    for [asked, answer] in &found.talk {
        println!("> {}\n{answer}", asked.replace('\n', "\n> "));
    }
    Ok(())
}
