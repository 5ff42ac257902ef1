//! Whether a reward model is calibrated: of the pairs that it is 80% sure of, four in five should be right.

use std::fmt;

use serde::Serialize;

/// Held-out pairs by how sure the model is of which answer is the better.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Calibration {
    pub pairs: usize,
    /// The share of pairs whose better answer has the higher score.
    pub accuracy: f64,
    /// The mean difference of scores.
    pub margin: f64,
    /// From unsure to sure.
    pub bins: Vec<Bin>,
}

/// Pairs of which the model is about equally sure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Bin {
    pub pairs: usize,
    /// How sure it is on average: σ(|margin|).
    pub sure: f64,
    /// How often it is right.
    pub right: f64,
}

/// Bins between a half and 1.
const BINS: usize = 5;

impl Calibration {
    pub fn of(margins: &[f64]) -> Self {
        let mut bins = vec![Bin::default(); BINS];
        for margin in margins {
            let sure = 1.0 / (1.0 + (-margin.abs()).exp());
            let bin = &mut bins[(((sure - 0.5) * 2.0 * BINS as f64) as usize).min(BINS - 1)];
            bin.pairs += 1;
            bin.sure += sure;
            bin.right += f64::from(u8::from(*margin > 0.0));
        }
        for bin in &mut bins {
            let n = bin.pairs.max(1) as f64;
            (bin.sure, bin.right) = (bin.sure / n, bin.right / n);
        }
        let n = margins.len().max(1) as f64;
        let ahead = margins.iter().filter(|&&margin| margin > 0.0).count() as f64;
        Self { pairs: margins.len(), accuracy: ahead / n, margin: margins.iter().sum::<f64>() / n, bins }
    }
}

impl fmt::Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { pairs, accuracy, margin, bins } = self;
        write!(
            f,
            "the better of {pairs} held-out pairs scores higher in {:.1}%, by {margin:.2}",
            100.0 * accuracy
        )?;
        write!(f, "\n{:>8} {:>8} {:>8}", "pairs", "sure", "right")?;
        for Bin { pairs, sure, right } in bins.iter().filter(|bin| bin.pairs > 0) {
            write!(f, "\n{pairs:>8} {:>7.1}% {:>7.1}%", 100.0 * sure, 100.0 * right)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// σ(ln 3) = 0.75, in the third of five bins; σ(0.1) = 0.525 in the first.
    #[test]
    fn bins_by_hand() {
        let three = 3f64.ln();
        let got = Calibration::of(&[three, three, three, -three, 0.1]);
        assert_eq!((got.pairs, got.accuracy), (5, 0.8));
        let bin = got.bins[2];
        assert_eq!((bin.pairs, bin.right), (4, 0.75));
        assert!((bin.sure - 0.75).abs() < 1e-12 && (got.bins[0].sure - 0.525).abs() < 1e-3);
        assert!((got.margin - (2.0 * three + 0.1) / 5.0).abs() < 1e-12);
        let text = got.to_string();
        assert!(text.contains("80.0%") && text.contains("75.0%    75.0%"), "{text}");
    }
}
