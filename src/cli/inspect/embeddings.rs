//! `lal inspect embeddings`: which tokens lie near each other, analogies, and a picture.

use std::path::PathBuf;

use serde::Serialize;

use super::{names, shown};
use crate::cli::failure::{Exit, Usage};
use crate::cli::hub::located;
use crate::cli::output::Output;
use crate::cli::values::{MOST_TOKENS, whole};
use crate::files::write_output;
use crate::inspect::embeddings::{Answer, Embeddings, Near, Rule, WordError, table, word};
use crate::inspect::projection::Projection;
use crate::sample::load::Stored;
use crate::text::tales::Tales;
use crate::text::tokenizer::Tokenizer;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of a model, a .gguf file, or org/name of a published model
    #[arg(long, env = "LAL_MODEL", value_name = "MODEL")]
    model: PathBuf,
    /// Show the nearest neighbours of these words
    #[arg(long, value_name = "WORD,…", value_delimiter = ',')]
    word: Vec<String>,
    /// How many neighbours to show
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = whole::<usize>(1..=MOST_TOKENS))]
    top: usize,
    /// Show what is nearest to A − B + C, as in king,man,woman
    #[arg(long, value_name = "A,B,C")]
    analogy: Vec<String>,
    /// Test all analogies of the Tales world
    #[arg(long)]
    analogies: bool,
    /// Score of an analogy: cosine similarity with the sum A − B + C, or product of the three similarities (3CosMul)
    #[arg(long, value_enum, default_value_t = Rule::Product)]
    by: Rule,
    /// Plot these words, or the first tokens, in two dimensions
    #[arg(long, value_name = "FILE.svg")]
    svg: Option<PathBuf>,
}

/// Tokens drawn where none are asked for.
const DRAWN: usize = 60;

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event {
    Near { of: String, token: String, likeness: f64 },
    Analogy { a: String, b: String, c: String, wanted: String, found: String, right: bool },
    Done { tokens: usize, width: usize, right: Option<usize>, analogies: Option<usize> },
}

/// An open model: its tokenizer, and its tokens' directions.
struct Table {
    tokenizer: Tokenizer,
    embeddings: Embeddings,
    output: Output,
}

pub fn run(args: &Args, output: Output) -> anyhow::Result<Exit> {
    // The picture comes last.
    let output = if args.svg.is_some() { output.outlasting() } else { output };
    if args.word.is_empty() && args.analogy.is_empty() && !args.analogies && args.svg.is_none() {
        let ways = "--word WORD, --analogy A,B,C, --analogies or --svg FILE.svg";
        return Err(Usage(format!("there is nothing to show: give one of {ways}")).into());
    }
    let mut stored = Stored::open(&located(&args.model, output)?)?;
    let entry = table(&stored.config)?;
    let (tokens, width) = (stored.config.n_tokens(), entry.shape.width());
    let embeddings = Embeddings::new(&stored.read(&entry)?[..tokens * width], width);
    let table = Table { tokenizer: stored.tokenizer, embeddings, output };

    let mut drawn = Vec::new();
    for word in &args.word {
        let id = table.id(word)?;
        table.show(word, &table.embeddings.neighbours(id, args.top))?;
        drawn.push(id);
    }
    for terms in &args.analogy {
        let [a, b, c] = terms.split(',').collect::<Vec<_>>()[..] else {
            return Err(Usage(format!("{terms:?} is not A,B,C: three words, as in king,man,woman")).into());
        };
        let ids = [table.id(a)?, table.id(b)?, table.id(c)?];
        let found = table.embeddings.combination(ids, args.by, args.top);
        table.show(&format!("{a} − {b} + {c}"), &found)?;
        drawn.extend(ids.into_iter().chain(found.first().map(|near| near.id)));
    }
    let mut pairs = Vec::new();
    let answers = args.analogies.then(|| table.tales(args.by, &mut pairs)).transpose()?;
    drawn.extend(pairs.as_flattened());

    if let Some(path) = &args.svg {
        if drawn.is_empty() {
            drawn.extend(0..tokens.min(DRAWN) as u32);
        }
        let title = format!("Tokens of {}", args.model.display());
        write_output(path, table.picture(&title, drawn, &pairs)?.as_bytes())?;
        output.remark(format!("picture in {}", path.display()));
    }
    if output.json {
        let right = answers.as_ref().map(|all| all.iter().filter(|answer| answer.is_right()).count());
        output.event(&Event::Done { tokens, width, right, analogies: answers.map(|all| all.len()) })?;
    }
    Ok(Exit::Done)
}

impl Table {
    fn id(&self, name: &str) -> anyhow::Result<u32> {
        Ok(word(&self.tokenizer, name).map_err(Usage::from)?)
    }

    fn name(&self, id: u32) -> String {
        names(&self.tokenizer, &[id], self.output).remove(0)
    }

    /// What is near, nearest first.
    fn show(&self, of: &str, near: &[Near]) -> anyhow::Result<()> {
        if self.output.json {
            for &Near { id, likeness } in near {
                self.output.event(&Event::Near { of: of.to_owned(), token: self.name(id), likeness })?;
            }
            return Ok(());
        }
        self.output.line(of)?;
        for &Near { id, likeness } in near {
            let bar = "━".repeat((30.0 * likeness.max(0.0)).round() as usize);
            self.output.line(format!("{:>16} {likeness:>6.3}  {bar}", self.name(id)).trim_end())?;
        }
        Ok(())
    }

    /// The analogies of the Tales world, and its pairs of words.
    fn tales(&self, rule: Rule, pairs: &mut Vec<[u32; 2]>) -> anyhow::Result<Vec<Answer>> {
        let world = Tales::new();
        let ids = |words: &[String]| words.iter().map(|w| self.id(w)).collect::<anyhow::Result<Vec<_>>>();
        for pair in world.pairs() {
            let ids = ids(&pair)?;
            pairs.push([ids[0], ids[1]]);
        }
        let mut analogies = Vec::new();
        for analogy in world.analogies() {
            let ids = ids(&analogy)?;
            analogies.push([ids[0], ids[1], ids[2], ids[3]]);
        }
        let answers = self.embeddings.solve(&analogies, rule);
        for answer in &answers {
            let [a, b, c, wanted] = answer.analogy.map(|id| self.name(id));
            let (found, right) = (self.name(answer.found.id), answer.is_right());
            if self.output.json {
                self.output.event(&Event::Analogy { a, b, c, wanted, found, right })?;
            } else if !right {
                self.output.line(format!("{a} : {b} as {c} : {found}, not {wanted}"))?;
            }
        }
        if !self.output.json {
            let (right, all) = (answers.iter().filter(|answer| answer.is_right()).count(), answers.len());
            let share = 100.0 * right as f64 / all as f64;
            self.output
                .line(format!("{right} of {all} analogies of the Tales world are right ({share:.0}%)"))?;
        }
        Ok(answers)
    }

    fn picture(&self, title: &str, mut drawn: Vec<u32>, pairs: &[[u32; 2]]) -> anyhow::Result<String> {
        drawn.sort_unstable();
        drawn.dedup();
        let rows: Vec<_> = drawn.iter().map(|&id| self.embeddings.vector(id)).collect();
        let labels: Vec<_> = drawn.iter().map(|&id| shown(&self.name(id))).collect();
        let place = |id: u32| drawn.partition_point(|&other| other < id);
        let pairs: Vec<_> = pairs.iter().map(|pair| pair.map(place)).collect();
        Ok(Projection::new(&rows).to_svg(title, &labels, &pairs)?)
    }
}

impl From<WordError> for Usage {
    fn from(error: WordError) -> Self {
        Self(error.to_string())
    }
}
