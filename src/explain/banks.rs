//! Workgroup memory: 32 banks, each 4 bytes wide; a bank reads or writes one word per cycle.
//!
//! An access of 16 bytes by a warp moves four words per invocation. It takes four cycles, one for each eight
//! invocations; or two, where all invocations n and n^1, or all n and n^2, read the same addresses. Where invocations
//! of one cycle want different words of a bank, the cycle is repeated.

use std::ops::AddAssign;

use serde::Serialize;

use super::requests::{Addresses, WARP};

const BANKS: usize = 32;
const WORD: u32 = 4;

/// What requests take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cycles {
    pub taken: u64,
    /// Without conflicts.
    pub least: u64,
}

impl AddAssign for Cycles {
    fn add_assign(&mut self, other: Self) {
        self.taken += other.taken;
        self.least += other.least;
    }
}

impl Cycles {
    /// How many times as long conflicts make it: 1 where there are none.
    pub fn degree(&self) -> f64 {
        if self.least == 0 { 1.0 } else { self.taken as f64 / self.least as f64 }
    }
}

/// The cycles of one access of a warp, of so many bytes per invocation. What is no power of two of words, or more than
/// 16 bytes, is moved in several accesses.
pub fn cycles(addresses: &Addresses, bytes: u32) -> Cycles {
    let at_once = [16, 8, WORD].into_iter().find(|size| bytes.is_multiple_of(*size)).unwrap_or(WORD);
    let mut cycles = Cycles::default();
    for offset in (0..bytes).step_by(at_once as usize) {
        cycles += access(&addresses.map(|address| address.map(|address| address + offset)), at_once);
    }
    cycles
}

fn access(addresses: &Addresses, bytes: u32) -> Cycles {
    let words = (bytes / WORD) as usize;
    let shared = |distance: usize| {
        let same = |lane: usize| match (addresses[lane], addresses[lane ^ distance]) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        (0..WARP).all(same)
    };
    let paired = words > 1 && (shared(1) || shared(2));
    let lanes = (BANKS / words * if paired { 2 } else { 1 }).min(WARP);
    let mut cycles = Cycles::default();
    for part in addresses.chunks(lanes) {
        let mut wanted: Vec<u32> = part.iter().flatten().map(|address| address / bytes).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut of_bank = [0u64; BANKS];
        wanted.iter().for_each(|unit| of_bank[*unit as usize % (BANKS / words)] += 1);
        let most = of_bank.into_iter().max().unwrap_or(0);
        cycles += Cycles { taken: most, least: most.min(1) };
    }
    cycles
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: u32, address: impl Fn(u32) -> u32) -> (u64, u64) {
        let Cycles { taken, least } = cycles(&std::array::from_fn(|lane| Some(address(lane as u32))), bytes);
        (taken, least)
    }

    #[test]
    fn words_conflict_where_they_share_a_bank() {
        assert_eq!(of(4, |lane| 4 * lane), (1, 1));
        assert_eq!(of(4, |lane| 4 * (lane ^ 21)), (1, 1));
        assert_eq!(of(4, |lane| 8 * lane), (2, 1));
        assert_eq!(of(4, |lane| 4 * 33 * lane), (1, 1));
        assert_eq!(of(4, |lane| 4 * 32 * lane), (32, 1));
        assert_eq!(of(4, |_| 400), (1, 1));
        // Two words of each of 16 banks, each wanted by one invocation.
        assert_eq!(of(4, |lane| 4 * (lane / 2 + 32 * (lane % 2))), (2, 1));
    }

    /// The figures of the model, in units of 16 bytes.
    #[test]
    fn accesses_of_16_bytes_take_four_cycles_or_two_in_pairs() {
        assert_eq!(of(16, |lane| 16 * lane), (4, 4));
        assert_eq!(of(16, |lane| 16 * (lane / 2)), (2, 2));
        assert_eq!(of(16, |lane| 16 * (lane % 2 + lane / 4 * 2)), (2, 2));
        assert_eq!(of(16, |_| 0), (2, 2));
        // Eight apart, two of a quarter warp meet.
        assert_eq!(of(16, |lane| 16 * (lane % 4 + lane / 4 % 2 * 8)), (8, 4));
        assert_eq!(of(16, |lane| 16 * 8 * lane), (32, 4));
        // Pairs that are 8 apart: 8 addresses of a half warp on one bank.
        assert_eq!(of(16, |lane| 16 * 8 * (lane / 2)), (16, 2));
    }

    #[test]
    fn other_widths_are_moved_in_parts() {
        assert_eq!(of(8, |lane| 8 * lane), (2, 2));
        assert_eq!(of(8, |lane| 8 * (lane / 2)), (1, 1));
        assert_eq!(of(12, |lane| 16 * lane), (3 * 4, 3));
        assert_eq!(of(64, |lane| 64 * lane), (4 * 16, 4 * 4));
        assert_eq!(cycles(&[None; WARP], 16), Cycles::default());
        let mut one = [None; WARP];
        one[9] = Some(48);
        assert_eq!(cycles(&one, 16), Cycles { taken: 1, least: 1 });
    }
}
