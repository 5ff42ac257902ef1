//! Part 2, embeddings: a word is known by the company it keeps.
//!
//! Skip-gram gives each word a vector, and one more as a neighbour. It learns to distinguish a word's true neighbours
//! from random ones by the dot product of the two. Words that stand in like company come to lie in like directions.
//! What sets king apart from queen (he, his, a man's name nearby) is what sets man apart from woman, so the way from
//! one to the other is the same: king − man + woman comes out at queen.
//!
//! The Tales world has nine such pairs, and so 144 analogies; every one of them is asked. By the plain sum of vectors
//! those that ask for brother or sister fail: friend and cousin, which are either, lie halfway between the two and so
//! nearer. By the product of likenesses they come out as well.
//!
//! `cargo run --release --example 02_embeddings` (a picture in runs/embeddings.svg)

use std::error::Error;

use lal::engine::device::Device;
use lal::engine::device::cpu::Cpu;
use lal::inspect::embeddings::{Answer, Embeddings, Near, Rule, WordError, table, word};
use lal::inspect::projection::Projection;
use lal::run::settings::Settings;
use lal::text::tales::Tales;
use lal::text::tokenizer::Tokenizer;
use lal::train::on_text::on_text;

/// Trained vectors, and the analogies of the world, as tokens.
pub struct Findings {
    pub embeddings: Embeddings,
    pub tokenizer: Tokenizer,
    pub analogies: Vec<[u32; 4]>,
}

impl Findings {
    /// The analogies that come out wrong.
    pub fn mistakes(&self, rule: Rule) -> Vec<Answer> {
        let mut answers = self.embeddings.solve(&self.analogies, rule);
        answers.retain(|answer| !answer.is_right());
        answers
    }
}

/// Learns word vectors from `chars` characters of the Tales world in `steps` steps.
pub fn run(chars: usize, steps: u64, seed: u64) -> Result<Findings, Box<dyn Error>> {
    let world = Tales::new();
    let settings = Settings {
        preset: Some("skipgram".into()),
        steps: Some(steps),
        seed: Some(seed),
        ..Settings::default()
    };
    let mut cpu = Cpu::<f32>::default();
    let (mut trainer, tokenizer) = on_text(&mut cpu, &settings, "tales", &world.corpus(1, chars).text)?;
    trainer.train_to(&mut cpu, steps)?;
    let vectors = cpu.read(&table(&trainer.model)?.name)?;
    let embeddings = Embeddings::new(&vectors, trainer.model.n_embd);
    let mut analogies = Vec::new();
    for words in world.analogies() {
        analogies.push(ids(&tokenizer, &words)?);
    }
    Ok(Findings { embeddings, tokenizer, analogies })
}

/// The tokens of words.
pub fn ids<const N: usize>(
    tokenizer: &Tokenizer,
    words: &[impl AsRef<str>; N],
) -> Result<[u32; N], WordError> {
    let mut ids = [0; N];
    for (id, name) in ids.iter_mut().zip(words) {
        *id = word(tokenizer, name.as_ref())?;
    }
    Ok(ids)
}

fn main() -> Result<(), Box<dyn Error>> {
    let found = run(1_000_000, 4000, 1)?;
    let Findings { embeddings, tokenizer, analogies } = &found;
    let name = |id: u32| tokenizer.decode(&[id]);
    let list = |near: Vec<Near>| {
        near.iter()
            .map(|near| format!("{} {:.2}", name(near.id), near.likeness))
            .collect::<Vec<_>>()
            .join(", ")
    };
    println!("Nearest by the angle between them:");
    for of in ["king", "Emma", "river", "golden", "sunny"] {
        println!("  {of:<8} {}", list(embeddings.neighbours(word(tokenizer, of)?, 6)));
    }
    println!("\nNearest to a combination:");
    for terms in [["king", "man", "woman"], ["princess", "girl", "boy"], ["brother", "wizard", "witch"]] {
        let ([a, b, c], ids) = (terms, ids(tokenizer, &terms)?);
        println!("  {a} − {b} + {c}: {}", list(embeddings.combination(ids, Rule::Product, 3)));
    }
    println!();
    for rule in [Rule::Product, Rule::Sum] {
        let mistakes = found.mistakes(rule);
        let (right, all) = (analogies.len() - mistakes.len(), analogies.len());
        println!(
            "{right} of {all} analogies are right by the {} of likenesses",
            if rule == Rule::Sum { "sum" } else { "product" }
        );
        for Answer { analogy, found } in mistakes {
            let [a, b, c, d] = analogy.map(name);
            println!("  {a} : {b} as {c} : {}, not {d}", name(found.id));
        }
    }

    let pairs = Tales::new().pairs();
    let labels: Vec<String> = pairs.concat();
    let mut rows = Vec::new();
    for label in &labels {
        rows.push(embeddings.vector(word(tokenizer, label)?));
    }
    let lines: Vec<_> = (0..pairs.len()).map(|i| [2 * i, 2 * i + 1]).collect();
    let picture = Projection::new(&rows).to_svg("Word vectors of the Tales world", &labels, &lines)?;
    std::fs::create_dir_all("runs")?;
    std::fs::write("runs/embeddings.svg", picture)?;
    println!("\npicture in runs/embeddings.svg");
    Ok(())
}
