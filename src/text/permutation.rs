//! A random permutation of 0..n. Each element is computed from its index and the seed alone, so no state is kept and a
//! run resumes at any index.
//!
//! A Feistel network (Luby & Rackoff 1988) orders the numbers below a power of four; one that leads outside the places is
//! led on until it is inside (cycle walking: Black & Rogaway 2002).

use rand_chacha::rand_core::Rng;

const ROUNDS: usize = 6;

/// An order of `len` places.
#[derive(Clone, Copy, Debug)]
pub struct Permutation {
    len: u64,
    /// Bits of half a number.
    bits: u32,
    keys: [u64; ROUNDS],
}

impl Permutation {
    /// One of the orders of 1 or more places, drawn by `rng`.
    pub fn new(len: usize, rng: &mut impl Rng) -> Self {
        let len = len as u64;
        let bits = (u64::BITS - len.saturating_sub(1).leading_zeros()).div_ceil(2).max(1);
        Self { len, bits, keys: std::array::from_fn(|_| rng.next_u64()) }
    }

    /// The place that comes as number `at`.
    ///
    /// # Panics
    /// If there are no more than `at`.
    pub fn place(&self, at: usize) -> usize {
        let mut number = at as u64;
        assert!(number < self.len, "{at} of {}", self.len);
        loop {
            number = self.mixed(number);
            if number < self.len {
                return number as usize;
            }
        }
    }

    fn mixed(&self, number: u64) -> u64 {
        let mask = (1 << self.bits) - 1;
        let (mut left, mut right) = (number >> self.bits, number & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (scattered(right ^ key) & mask));
        }
        left << self.bits | right
    }
}

/// The finalizer of SplitMix64 (Steele, Lea & Flood 2014).
fn scattered(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    #[test]
    fn every_place_comes_once() {
        for len in [1, 2, 3, 4, 5, 15, 16, 17, 100, 4096, 4097] {
            let order = Permutation::new(len, &mut ChaCha8Rng::seed_from_u64(len as u64));
            let mut places: Vec<_> = (0..len).map(|at| order.place(at)).collect();
            places.sort_unstable();
            assert!(places.into_iter().eq(0..len), "{len}");
        }
    }

    /// All 6 permutations of 3 elements are equally frequent, and so are all first elements of 20, within five standard
    /// deviations.
    #[test]
    fn orders_are_equally_likely() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let (mut orders, mut firsts) = ([0; 27], [0; 20]);
        for _ in 0..6000 {
            let order = Permutation::new(3, &mut rng);
            orders[(0..3).fold(0, |sum, at| 3 * sum + order.place(at))] += 1;
            firsts[Permutation::new(20, &mut rng).place(0)] += 1;
        }
        let seen: Vec<_> = orders.into_iter().filter(|&n| n > 0).collect();
        assert!(seen.len() == 6 && seen.iter().all(|&n: &i32| n.abs_diff(1000) < 145), "{seen:?}");
        assert!(firsts.iter().all(|&n: &i32| n.abs_diff(300) < 85), "{firsts:?}");
    }
}
