//! The tiles of `matmul/tiled`, and an estimate of which is fastest for a product.

use super::Extents;

/// What one workgroup computes of C, and how its threads share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    pub m: usize,
    pub n: usize,
    /// Quads of columns of a thread, which has two of rows.
    pub quads: usize,
}

pub const SMALL: Tile = Tile { m: 64, n: 64, quads: 1 };
pub const TALL: Tile = Tile { m: 128, n: 64, quads: 2 };
pub const LARGE: Tile = Tile { m: 128, n: 128, quads: 2 };

/// Steps along k in a stage, as in the shader.
const DEPTH: usize = 16;
/// Steps along k that are worth a workgroup, a whole number of stages.
const LEAST_SPLIT: usize = 128;

/// A large GPU (H100): multiprocessors; multiply-adds, and bytes of memory, of each per cycle; cycles between two
/// dispatches that depend on each other. The choice without measuring is made for it; the tuner measures.
const MULTIPROCESSORS: usize = 132;
const MULTIPLY_ADDS: f64 = 128.0;
/// The share of them that 64×64 reaches; that of the others is not known, so they are taken to do the same.
const EFFICIENCY: f64 = 0.57;
const BYTES: f64 = 15.0;
const DISPATCH: f64 = 3000.0;

impl Tile {
    pub fn threads(self) -> u32 {
        (32 * (self.m / 64) * (self.n / (16 * self.quads))) as u32
    }

    /// Bytes of workgroup memory of a copy of a stage.
    pub fn stage_bytes(self) -> u32 {
        (4 * DEPTH * (self.m + self.n)) as u32
    }

    /// Copies of a stage where there is so much workgroup memory: two, if WebGPU's least holds them or they leave some
    /// for another workgroup.
    pub fn copies(self, workgroup_memory: u32) -> u32 {
        let enough = (workgroup_memory / 4 * 3).max(16 << 10);
        if 2 * self.stage_bytes() <= enough { 2 } else { 1 }
    }

    fn count(self, Extents { batch, m, n, .. }: Extents) -> usize {
        batch * m.div_ceil(self.m) * n.div_ceil(self.n)
    }

    /// The share of the device that is busy, 0 to 1, if multiprocessors take one workgroup each in turns: in the last turn
    /// some have none.
    #[cfg(test)]
    fn filled(self, extents: Extents, splits: usize) -> f64 {
        let groups = self.count(extents) * splits;
        groups as f64 / (groups.div_ceil(MULTIPROCESSORS) * MULTIPROCESSORS) as f64
    }

    /// Cycles of a product in so many parts along k.
    pub fn cycles(self, extents: Extents, splits: usize) -> f64 {
        let Extents { m, n, k, .. } = extents;
        let turns = (self.count(extents) * splits).div_ceil(MULTIPROCESSORS);
        let products = turns * self.m * self.n * k.div_ceil(splits);
        let cycles = products as f64 / (MULTIPLY_ADDS * EFFICIENCY);
        // Partial sums are written and read again.
        let traffic = if splits > 1 {
            DISPATCH + (2 * 4 * splits * m * n) as f64 / BYTES / MULTIPROCESSORS as f64
        } else {
            0.0
        };
        cycles + traffic
    }

    /// How many parts of k, two or more, take least; `None` where k is too short for two.
    pub fn splits(self, extents: Extents) -> Option<usize> {
        let most = extents.k / LEAST_SPLIT;
        let cycles = |splits: &usize| self.cycles(extents, *splits);
        (2..=most).min_by(|one, other| cycles(one).total_cmp(&cycles(other)))
    }
}

/// Steps along k of each of so many parts, and how many parts that makes.
pub fn parts(k: usize, splits: usize) -> (usize, usize) {
    let steps = k.div_ceil(splits).next_multiple_of(DEPTH);
    (steps, k.div_ceil(steps))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The best way for a product, as the choice without measuring takes it.
    fn best(extents: Extents) -> (Tile, usize) {
        let ways = [SMALL, TALL, LARGE].into_iter().flat_map(|tile| {
            [Some(1), tile.splits(extents)].into_iter().flatten().map(move |splits| (tile, splits))
        });
        ways.min_by(|a, b| a.0.cycles(extents, a.1).total_cmp(&b.0.cycles(extents, b.1))).unwrap()
    }

    #[test]
    fn threads_and_memory_by_hand() {
        assert_eq!([SMALL, TALL, LARGE].map(Tile::threads), [128, 128, 256]);
        assert_eq!([SMALL, TALL, LARGE].map(Tile::stage_bytes), [8192, 12288, 16384]);
        // WebGPU's least, Apple's, NVIDIA's.
        assert_eq!([16, 32, 48].map(|kib| LARGE.copies(kib << 10)), [1, 1, 2]);
        assert_eq!([16, 32, 48].map(|kib| TALL.copies(kib << 10)), [1, 2, 2]);
        assert_eq!([16, 32, 48].map(|kib| SMALL.copies(kib << 10)), [2, 2, 2]);
    }

    #[test]
    fn large_products_fill_the_device() {
        for m in [1024, 2048, 4096, 16384] {
            for n in [384, 768, 1024, 1152, 1536, 2304, 3072, 4096] {
                for k in [1024, 2048, 4096] {
                    let extents = Extents { batch: 1, m, n, k };
                    let (tile, splits) = best(extents);
                    let filled = tile.filled(extents, splits);
                    assert!(filled >= 0.85, "{extents:?}: {tile:?} in {splits} parts fills {filled:.2}");
                }
            }
        }
    }

    #[test]
    fn parts_cover_k_in_whole_stages() {
        for (k, splits) in [(256, 2), (1000, 7), (4096, 32), (389, 3)] {
            let (steps, parts) = parts(k, splits);
            assert!(steps % DEPTH == 0 && parts <= splits && steps * parts >= k && steps * (parts - 1) < k);
        }
    }
}
