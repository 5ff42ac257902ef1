//! The share of hidden characters of the Tales world that a model restores, and the greatest share possible.
//!
//! The bound uses the grammar, the whole tale around the window, and which characters are hidden. A model gets less, so
//! that none is better. What lies between is what
//! the model has not learned and, where the tale is longer than its window, what it cannot see.

use std::sync::Arc;

use super::attention::InspectError;
use crate::engine::device::{Device, HostData};
use crate::engine::plan::Plan;
use crate::engine::step::Step;
use crate::engine::tape::Tape;
use crate::engine::tensor::Spec;
use crate::models::config::ModelConfig;
use crate::models::{ModelInputs, backbone};
use crate::nn::Pass;
use crate::text::dataset::{Purpose, batch_rng, below};
use crate::text::masked::{Masked, hide};
use crate::text::tales::{SEPARATOR, Seen, Tales};
use crate::text::tokenizer::Tokenizer;

/// Shares of the characters in question, over some windows of the validation part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Restored {
    pub asked: usize,
    /// That the model's likeliest character restores.
    pub model: f64,
    /// That the best of all guesses is expected to restore.
    pub optimum: f64,
}

/// Windows that the model reads side by side.
const BATCH: usize = 8;

/// Measures a model that sees both sides of a token, over at least `windows` windows of `val`, the last tokens of
/// a corpus of tales, one for each character. The device holds the model's parameters.
pub fn restored(
    device: &mut dyn Device,
    model: &ModelConfig,
    tokenizer: &Tokenizer,
    corpus: &str,
    val: &[u32],
    windows: usize,
) -> Result<Restored, InspectError> {
    let (time, vocab_size) = (model.block_size, model.vocab_size);
    let mut tape = Tape::new("masked");
    let input = tape.input("tokens", Spec::u32([BATCH, time]));
    let backbone = backbone(&mut tape, model, ModelInputs { tokens: input, segments: None }, Pass::Evaluate)?;
    let logits = backbone.logits(&mut tape, 0, BATCH * time)?;
    let plan = device.load(&Arc::new(Plan::new(&tape, &[logits])?), 0)?;

    let world = Tales::new();
    let text = corpus.as_bytes();
    let first = text.len() - val.len();
    let (mut asked, mut right, mut expected) = (0, 0, 0.0);
    for i in 0..windows.div_ceil(BATCH) {
        let mut rng = batch_rng(0, Purpose::Estimating, i as u64, 0);
        let starts: Vec<_> = (0..BATCH).map(|_| below(val.len() - time, &mut rng)).collect();
        let tokens: Vec<_> = starts.iter().flat_map(|&start| &val[start..start + time]).copied().collect();
        // The vocabulary ends with the token that hides others.
        let mask = vocab_size - 1;
        let masked = hide(&tokens, mask as u32, mask, &mut rng);
        device.set_input(plan, "tokens", HostData::U32(&masked.tokens))?;
        device.run(plan, 0, &Step::default())?;
        let logits = device.results(true)?.unwrap_or_default().pop().unwrap_or_default();
        for at in (0..tokens.len()).filter(|&at| masked.weights[at] > 0.0) {
            let row = &logits[at * vocab_size..][..vocab_size];
            let likeliest = (0..vocab_size).max_by(|&a, &b| row[a].total_cmp(&row[b]));
            right += usize::from(likeliest == Some(tokens[at] as usize));
            asked += 1;
        }
        for (row, &start) in starts.iter().enumerate() {
            let shown = shown(&masked, row * time..(row + 1) * time, tokenizer);
            expected += best(&world, text, first + start, &shown, mask);
        }
    }
    let share = |count: f64| count / asked.max(1) as f64;
    Ok(Restored { asked, model: share(right as f64), optimum: share(expected) })
}

/// What is seen in place of the characters in question; nothing at the others.
fn shown(masked: &Masked, row: std::ops::Range<usize>, tokenizer: &Tokenizer) -> Vec<Option<Seen>> {
    let see = |at: usize| match tokenizer.decode(&[masked.tokens[at]]).as_bytes() {
        [shown] => Seen::Doubtful(*shown),
        _ => Seen::Covered,
    };
    row.map(|at| (masked.weights[at] > 0.0).then(|| see(at))).collect()
}

/// How many characters of the window from byte `start` of a corpus the best guesses are expected to restore.
fn best(world: &Tales, text: &[u8], start: usize, shown: &[Option<Seen>], n_characters: usize) -> f64 {
    let separator = SEPARATOR.as_bytes();
    let ends = |at: &usize| text[*at..].starts_with(separator);
    let mut expected = 0.0;
    let mut begin = (0..start).rev().find(ends).map_or(0, |end| end + separator.len());
    while begin < start + shown.len() {
        let end = (begin..text.len()).find(ends).unwrap_or(text.len());
        let of = |at: usize| shown.get(at.wrapping_sub(start)).copied().flatten();
        let seen: Vec<_> = (begin..end).map(|at| of(at).unwrap_or(Seen::Plain(text[at]))).collect();
        expected += world.guesses(&seen, n_characters).iter().map(|guess| guess.probability).sum::<f64>();
        // Where a tale ends is visible in the rest of the text.
        begin = end + separator.len();
        expected += (end..begin).filter(|&at| of(at).is_some()).count() as f64;
    }
    expected
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A window with the end of a tale and the beginning of the next: nothing covered, all that is asked is
    /// known; and a covered "kind", of the sixteen tempers the only one of its length with these neighbours.
    #[test]
    fn windows_reach_over_tales() {
        let world = Tales::new();
        let corpus = world.corpus(9, 3000).text;
        let end = corpus.find(SEPARATOR).unwrap();
        let mut shown = vec![None; 40];
        for at in [18, 19, 20, 21, 22] {
            shown[at] = Some(Seen::Covered);
        }
        let expected = best(&world, corpus.as_bytes(), end - 20, &shown, 60);
        assert!(expected > 4.0 && expected <= 5.0, "{expected}");
        assert_eq!(best(&world, corpus.as_bytes(), 7, &[None; 64], 60), 0.0);
    }
}
