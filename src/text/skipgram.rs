//! Words and the words around them: what word vectors are learned from (Mikolov et al. 2013, "Distributed
//! Representations of Words and Phrases and their Compositionality").
//!
//! A pass over the text drops a frequent word of frequency f with probability 1 − √(t / f), and pairs each word
//! that is left with those up to some places away, the number of places drawn for each anew. A pair is told from
//! pairs with random words, drawn in proportion to count^¾.

use std::collections::{BTreeMap, HashMap};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::dataset::{below, shuffle, unit};

/// The power of a word's count by which it is drawn as a wrong neighbour.
const NEGATIVE_POWER: f64 = 0.75;

/// The words of a text, in lower case, the most frequent first; equally frequent ones in alphabetical order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    words: Vec<String>,
    counts: Vec<u64>,
    ids: HashMap<String, u32>,
}

/// Pairs to learn from.
#[derive(Clone, Debug)]
pub struct SkipGram {
    pub words: Words,
    /// The text, a line at a time: neighbours are on one line.
    lines: Vec<Vec<u32>>,
    /// The most places between a word and a neighbour.
    window: usize,
    /// Of each word the probability to stay in a pass.
    keep: Vec<f64>,
    /// Of each word the summed count^¾ of it and those before it.
    cumulative: Vec<f64>,
}

/// Runs of letters and digits, in lower case; everything else is between words.
pub fn split(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

impl Words {
    /// The words that occur at least `min_count` times.
    pub fn new(text: &str, min_count: u64) -> Self {
        let mut counted = BTreeMap::<String, u64>::new();
        split(text).for_each(|word| *counted.entry(word).or_default() += 1);
        let mut kept: Vec<(String, u64)> = counted.into_iter().filter(|(_, n)| *n >= min_count).collect();
        // Stable: the alphabetical order of the map remains where counts are equal.
        kept.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let (words, counts): (Vec<_>, Vec<_>) = kept.into_iter().unzip();
        let ids = words.iter().cloned().zip(0..).collect();
        Self { words, counts, ids }
    }

    pub fn len(&self) -> usize {
        self.words.len()
    }

    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// By id.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// How often each word occurs, by id.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    pub fn id(&self, word: &str) -> Option<u32> {
        self.ids.get(word).copied()
    }

    /// The ids of the words of a text; unknown ones are left out.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        split(text).filter_map(|word| self.id(&word)).collect()
    }
}

impl SkipGram {
    /// Pairs up to `window` places apart on one line of `text`. Words above a frequency of `threshold` (the t
    /// above; the paper's text of a billion words takes 1e-5, a small one 1e-3) are thinned out.
    pub fn new(text: &str, min_count: u64, window: usize, threshold: f64) -> Self {
        let words = Words::new(text, min_count);
        let lines = text.lines().map(|line| words.encode(line)).filter(|line| line.len() > 1).collect();
        let total = words.counts.iter().sum::<u64>() as f64;
        let keep =
            words.counts.iter().map(|&count| (threshold * total / count as f64).sqrt().min(1.0)).collect();
        let mut sum = 0.0;
        let add = |&count: &u64| {
            sum += (count as f64).powf(NEGATIVE_POWER);
            sum
        };
        let cumulative = words.counts.iter().map(add).collect();
        Self { words, lines, window, keep, cumulative }
    }

    /// The (word, neighbour) pairs of one pass over the text, shuffled: a function of `seed` and `pass` alone.
    pub fn pairs(&self, seed: u64, pass: u64) -> Vec<[u32; 2]> {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&pass.to_le_bytes());
        let mut rng = ChaCha8Rng::from_seed(key);
        let mut pairs = Vec::new();
        for line in &self.lines {
            let kept: Vec<u32> =
                line.iter().copied().filter(|&word| unit(&mut rng) < self.keep[word as usize]).collect();
            for (at, &word) in kept.iter().enumerate() {
                let reach = 1 + below(self.window, &mut rng);
                let (from, to) = (at.saturating_sub(reach), (at + reach + 1).min(kept.len()));
                let neighbours = kept[from..at].iter().chain(&kept[at + 1..to]);
                pairs.extend(neighbours.map(|&neighbour| [word, neighbour]));
            }
        }
        shuffle(&mut pairs, &mut rng);
        pairs
    }

    /// A wrong neighbour where `right` is the right one: any other word, in proportion to count^¾.
    ///
    /// # Panics
    /// If there is no other word.
    pub fn negative(&self, right: u32, rng: &mut impl Rng) -> u32 {
        assert!(self.words.len() > 1, "there is no second word");
        let total = self.cumulative.last().copied().unwrap_or(0.0);
        loop {
            let drawn = unit(rng) * total;
            // Rounding may carry the product up to the total itself.
            let word = self.cumulative.partition_point(|&sum| sum <= drawn).min(self.words.len() - 1) as u32;
            if word != right {
                return word;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::tales::Tales;

    fn rng(seed: u64) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(seed)
    }

    #[test]
    fn words_are_counted_and_ordered() {
        let words = Words::new("The cat, the hat: THE Café's 12 cats; a cat a.", 2);
        assert_eq!(
            (words.words(), words.counts()),
            (&["the", "a", "cat"].map(str::to_owned)[..], &[3, 2, 2][..])
        );
        assert_eq!(words.encode("A dog, the CAT"), [1, 0, 2]);
        assert_eq!((words.id("hat"), words.len(), words.is_empty()), (None, 3, false));
        let all: Vec<String> = split("Café's — 12\ncats").collect();
        assert_eq!(all, ["café", "s", "12", "cats"]);
    }

    /// With a window of one and nothing dropped, exactly the words next to each other on a line.
    #[test]
    fn pairs_by_hand() {
        let data = SkipGram::new("a b c\nd\na d\n", 1, 1, 1.0);
        // a and d occur twice, b and c once.
        assert_eq!(data.words.words(), ["a", "d", "b", "c"]);
        let mut pairs = data.pairs(1, 0);
        pairs.sort();
        assert_eq!(pairs, [[0, 1], [0, 2], [1, 0], [2, 0], [2, 3], [3, 2]]);
    }

    /// Of a window of 2, half the words reach one place and half two: of 10,000 words in a row, a distance of 1
    /// pairs each with two, a distance of 2 every other one.
    #[test]
    fn nearer_words_are_paired_more_often() {
        let text: Vec<String> = (0..10_000).map(|i| format!("w{i:05}")).collect();
        let data = SkipGram::new(&text.join(" "), 1, 2, 1.0);
        let pairs = data.pairs(3, 0);
        let apart = |distance: u32| pairs.iter().filter(|[a, b]| a.abs_diff(*b) == distance).count() as f64;
        assert_eq!(apart(1), 19_998.0);
        // Twice a binomial count of 10,000 halves, but for the ends; four standard deviations.
        assert!((apart(2) - 10_000.0).abs() < 4.0 * 100.0 + 4.0, "{}", apart(2));
        assert_eq!(pairs.len() as f64, apart(1) + apart(2));
    }

    /// a is 9 in 10 words: with t = 0.1 it stays with probability √(0.1 / 0.9) = ⅓, b always.
    #[test]
    fn frequent_words_are_thinned_out() {
        let text = "b a a a a a a a a a ".repeat(3000);
        let data = SkipGram::new(&text, 1, 1, 0.1);
        let words = |pairs: &[[u32; 2]], id| pairs.iter().filter(|[word, _]| *word == id).count() as f64;
        let pairs = data.pairs(1, 0);
        // Every word that stays has two neighbours, but for the ends of the line.
        assert!((words(&pairs, 1) - 6000.0).abs() <= 2.0);
        let (mean, deviation) = (27_000.0 / 3.0, (27_000.0f64 * 2.0 / 9.0).sqrt());
        assert!((words(&pairs, 0) / 2.0 - mean).abs() < 4.0 * deviation + 2.0);
        assert_eq!(pairs, data.pairs(1, 0));
        assert_ne!(pairs, data.pairs(1, 1));
        assert_ne!(pairs, data.pairs(2, 0));
    }

    /// Counts 16, 1 and 1 to the power of ¾ are 8, 1 and 1.
    #[test]
    fn negatives_follow_the_power_of_the_counts() {
        let data = SkipGram::new(&format!("{} b c", "a ".repeat(16)), 1, 1, 1.0);
        let draw = |right: u32| {
            let (mut rng, mut counts) = (rng(right.into()), [0.0; 3]);
            (0..10_000).for_each(|_| counts[data.negative(right, &mut rng) as usize] += 1.0);
            counts
        };
        let near =
            |count: f64, share: f64| (count - 1e4 * share).abs() < 4.0 * (1e4 * share * (1.0 - share)).sqrt();
        let [a, b, c] = draw(1);
        assert!(b == 0.0 && near(a, 8.0 / 9.0) && near(c, 1.0 / 9.0), "{a} {c}");
        let [a, b, c] = draw(0);
        assert!(a == 0.0 && near(b, 0.5) && near(c, 0.5), "{b} {c}");
    }

    /// Vectors by plain stochastic gradient descent, as word2vec.c does: ∂/∂x −ln σ(±x·y) = ∓(1 − σ(±x·y)) y.
    fn vectors(data: &SkipGram, width: usize, passes: u64) -> Vec<Vec<f32>> {
        let mut rng = rng(5);
        let mut words: Vec<Vec<f32>> = (0..data.words.len())
            .map(|_| (0..width).map(|_| (unit(&mut rng) as f32 - 0.5) / width as f32).collect())
            .collect();
        let mut neighbours = vec![vec![0.0f32; width]; data.words.len()];
        for pass in 0..passes {
            let pairs = data.pairs(1, pass);
            for (at, &[word, right]) in pairs.iter().enumerate() {
                let done = (pass as f32 + at as f32 / pairs.len() as f32) / passes as f32;
                let rate = 0.05 * (1.0 - done).max(0.01);
                let mut change = vec![0.0; width];
                for k in 0..=5 {
                    let (other, label) =
                        if k == 0 { (right, 1.0) } else { (data.negative(right, &mut rng), 0.0) };
                    let (x, y) = (&words[word as usize], &mut neighbours[other as usize]);
                    let dot: f32 = x.iter().zip(&*y).map(|(x, y)| x * y).sum();
                    let error = rate * (label - 1.0 / (1.0 + (-dot).exp()));
                    for ((x, y), change) in x.iter().zip(y).zip(&mut change) {
                        *change += error * *y;
                        *y += error * x;
                    }
                }
                words[word as usize].iter_mut().zip(&change).for_each(|(x, change)| *x += change);
            }
        }
        for vector in &mut words {
            let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
            vector.iter_mut().for_each(|x| *x /= norm);
        }
        words
    }

    /// The text of the Tales holds what its analogies need: b − a + c is nearest to d.
    #[test]
    fn the_analogies_of_the_tales_can_be_learned() {
        let world = Tales::new();
        let data = SkipGram::new(&world.corpus(1, 1_000_000).text, 1, 5, 1e-3);
        let vectors = vectors(&data, 32, 3);
        let analogies = world.analogies();
        let right = analogies.iter().filter(|analogy| {
            let [a, b, c, d] = [0, 1, 2, 3].map(|i| data.words.id(&analogy[i]).unwrap() as usize);
            let goal: Vec<f32> = (0..32).map(|i| vectors[b][i] - vectors[a][i] + vectors[c][i]).collect();
            let likeness = |word: &usize| vectors[*word].iter().zip(&goal).map(|(x, y)| x * y).sum::<f32>();
            let others = (0..vectors.len()).filter(|word| ![a, b, c].contains(word));
            others.max_by(|one, two| likeness(one).total_cmp(&likeness(two))) == Some(d)
        });
        let right = right.count();
        assert!(right * 100 >= analogies.len() * 95, "{right} of {}", analogies.len());
    }
}
