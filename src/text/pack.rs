//! Conversations side by side in windows of one size.
//!
//! Short examples would leave most of a window empty, so several share one; segment numbers keep their attention
//! apart, and [positions] start anew with each. Examples are never split, so no answer is cut.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::chat::Example;
use super::dataset::shuffle;

/// A row of a batch; every field has `block_size` entries. Padding follows the examples: token 0, weight 0,
/// and a segment of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    pub tokens: Vec<u32>,
    /// To each token the one after it.
    pub targets: Vec<u32>,
    /// 1 where the target is to be learned, else 0.
    pub weights: Vec<f32>,
    /// The number of the example in this window, from 0 on: only equal numbers may attend to each other.
    pub segments: Vec<u32>,
}

/// An example that no window holds.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{place}: this conversation has {tokens} tokens, and a block of {block_size} holds {}; choose a larger \
     --block-size, or shorten it", block_size + 1
)]
pub struct TooLong {
    pub place: String,
    pub tokens: usize,
    pub block_size: usize,
}

/// Puts each example into the first window that has room for it, in an order drawn from `seed`.
///
/// # Errors
/// When an example is longer than a window: what comes last is never predicted from, so `block_size` + 1 tokens fit.
pub fn pack(examples: &[Example], block_size: usize, seed: u64) -> Result<Vec<Window>, TooLong> {
    if let Some(example) = examples.iter().find(|example| example.tokens.len() > block_size + 1) {
        let (place, tokens) = (example.place.clone(), example.tokens.len());
        return Err(TooLong { place, tokens, block_size });
    }
    let mut order: Vec<usize> = (0..examples.len()).collect();
    shuffle(&mut order, &mut ChaCha8Rng::seed_from_u64(seed));
    let mut windows: Vec<Window> = Vec::new();
    // Windows before this one are full: no example fits.
    let mut open = 0;
    let shortest = examples.iter().map(Example::rows).min().unwrap_or(0);
    for example in order.into_iter().map(|at| &examples[at]) {
        let fits = |window: &Window| window.tokens.len() + example.rows() <= block_size;
        match windows[open..].iter_mut().find(|window| fits(window)) {
            Some(window) => window.add(example),
            None => {
                let mut window = Window::empty();
                window.add(example);
                windows.push(window);
            }
        }
        while windows.get(open).is_some_and(|window| window.tokens.len() + shortest > block_size) {
            open += 1;
        }
    }
    windows.iter_mut().for_each(|window| window.pad(block_size));
    Ok(windows)
}

impl Example {
    /// The tokens that something is predicted from: all but the last.
    fn rows(&self) -> usize {
        self.tokens.len().saturating_sub(1)
    }
}

impl Window {
    fn empty() -> Self {
        let (tokens, targets, weights) = (Vec::new(), Vec::new(), Vec::new());
        Self { tokens, targets, weights, segments: Vec::new() }
    }

    fn next_segment(&self) -> u32 {
        self.segments.last().map_or(0, |last| last + 1)
    }

    fn add(&mut self, example: &Example) {
        let (rows, segment) = (example.rows(), self.next_segment());
        self.tokens.extend_from_slice(&example.tokens[..rows]);
        self.targets.extend_from_slice(&example.tokens[1..]);
        self.weights.extend(example.answer[1..].iter().map(|&learned| f32::from(u8::from(learned))));
        self.segments.extend(std::iter::repeat_n(segment, rows));
    }

    fn pad(&mut self, block_size: usize) {
        let segment = self.next_segment();
        self.tokens.resize(block_size, 0);
        self.targets.resize(block_size, 0);
        self.weights.resize(block_size, 0.0);
        self.segments.resize(block_size, segment);
    }
}

/// The place of each token in its segment, in rows of `width`.
pub fn positions(segments: &[u32], width: usize) -> Vec<u32> {
    let mut next = 0;
    let place = |at: usize| {
        let begins = at.is_multiple_of(width) || segments[at] != segments[at - 1];
        let place = if begins { 0 } else { next };
        next = place + 1;
        place
    };
    (0..segments.len()).map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `prompt` tokens from `first` on, then `answer` of them to be learned.
    fn example(first: u32, prompt: u32, answer: u32) -> Example {
        let tokens: Vec<u32> = (first..first + prompt + answer).collect();
        let answer = (0..prompt + answer).map(|at| at >= prompt).collect();
        Example { tokens, answer, place: format!("x:{first}") }
    }

    #[test]
    fn a_window_by_hand() {
        let windows = pack(&[example(10, 2, 2), example(10, 2, 2)], 8, 0).unwrap();
        let wanted = Window {
            tokens: vec![10, 11, 12, 10, 11, 12, 0, 0],
            targets: vec![11, 12, 13, 11, 12, 13, 0, 0],
            weights: vec![0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0],
            segments: vec![0, 0, 0, 1, 1, 1, 2, 2],
        };
        assert_eq!(windows, [wanted]);
        assert_eq!(positions(&windows[0].segments, 8), [0, 1, 2, 0, 1, 2, 0, 1]);
        assert_eq!(positions(&windows[0].segments, 2), [0, 1, 0, 0, 0, 1, 0, 1]);
    }

    #[test]
    fn nothing_is_lost_cut_or_mixed() {
        let examples: Vec<Example> = (0..300).map(|i| example(1 + 100 * i, 2 + i % 23, 1 + i % 7)).collect();
        let windows = pack(&examples, 32, 7).unwrap();
        let mut found = Vec::new();
        for window in &windows {
            assert_eq!(window.tokens.len(), 32);
            for segment in 0..*window.segments.last().unwrap() + 1 {
                let rows: Vec<usize> = (0..32).filter(|&row| window.segments[row] == segment).collect();
                assert!(rows.windows(2).all(|pair| pair[1] == pair[0] + 1));
                if window.tokens[rows[0]] == 0 {
                    assert!(rows.iter().all(|&row| window.weights[row] == 0.0));
                    continue;
                }
                let mut tokens: Vec<u32> = rows.iter().map(|&row| window.tokens[row]).collect();
                tokens.push(window.targets[*rows.last().unwrap()]);
                let answer = [false].into_iter().chain(rows.iter().map(|&row| window.weights[row] == 1.0));
                found.push((tokens, answer.collect::<Vec<_>>()));
            }
        }
        let mut wanted: Vec<_> = examples.iter().map(|e| (e.tokens.clone(), e.answer.clone())).collect();
        found.sort();
        wanted.sort();
        assert_eq!(found, wanted);
        // First fit wastes little: never are two windows half empty.
        let rows: usize = examples.iter().map(Example::rows).sum();
        assert!(windows.len() <= 2 * rows.div_ceil(32));
        let half =
            windows.iter().filter(|w| w.weights.len() - w.tokens.iter().filter(|&&t| t > 0).count() >= 16);
        assert!(half.count() <= 1);
    }

    #[test]
    fn the_order_is_the_seed_s() {
        let examples: Vec<Example> = (0..50).map(|i| example(1 + 100 * i, 3, 2)).collect();
        assert_eq!(pack(&examples, 16, 1), pack(&examples, 16, 1));
        assert_ne!(pack(&examples, 16, 1), pack(&examples, 16, 2));
        assert_eq!(pack(&[], 16, 1), Ok(Vec::new()));
    }

    #[test]
    fn what_does_not_fit_is_named() {
        assert!(pack(&[example(1, 6, 3)], 8, 0).is_ok());
        let error = pack(&[example(1, 2, 2), example(50, 6, 4)], 8, 0).unwrap_err().to_string();
        assert!(
            error.contains("x:50") && error.contains("10 tokens") && error.contains("holds 9"),
            "{error}"
        );
    }
}
