//! Storage: memory moves in sectors of 32 bytes, however few of them are wanted.

use std::ops::AddAssign;

use serde::Serialize;

use super::requests::Addresses;

/// Bytes of a sector.
pub const SECTOR: u32 = 32;

/// What requests move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sectors {
    pub touched: u64,
    /// The fewest that hold as many different bytes as are wanted.
    pub least: u64,
}

impl AddAssign for Sectors {
    fn add_assign(&mut self, other: Self) {
        self.touched += other.touched;
        self.least += other.least;
    }
}

impl Sectors {
    /// How many times as much as necessary is moved: 1 where neighbours access neighbours.
    pub fn excess(&self) -> f64 {
        if self.least == 0 { 1.0 } else { self.touched as f64 / self.least as f64 }
    }
}

/// The sectors of one access of a warp, of so many bytes per invocation.
pub fn sectors(addresses: &Addresses, bytes: u32) -> Sectors {
    let mut wanted: Vec<u32> = addresses.iter().flatten().copied().collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut touched = touched(&wanted, bytes);
    touched.dedup();
    let least = (wanted.len() as u64 * u64::from(bytes)).div_ceil(SECTOR.into());
    Sectors { touched: touched.len() as u64, least }
}

/// The numbers of the sectors that accesses at these addresses touch, in the same order.
pub fn touched(addresses: &[u32], bytes: u32) -> Vec<u32> {
    addresses.iter().flat_map(|&at| at / SECTOR..=(at + bytes.max(1) - 1) / SECTOR).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: u32, address: impl Fn(u32) -> u32) -> (u64, u64) {
        let Sectors { touched, least } =
            sectors(&std::array::from_fn(|lane| Some(address(lane as u32))), bytes);
        (touched, least)
    }

    #[test]
    fn sectors_are_counted_once_per_request() {
        assert_eq!(of(4, |lane| 4 * lane), (4, 4));
        assert_eq!(of(4, |lane| 4 * lane + 4), (5, 4));
        assert_eq!(of(4, |lane| 8 * lane), (8, 4));
        assert_eq!(of(4, |lane| 4096 * lane), (32, 4));
        assert_eq!(of(4, |_| 12), (1, 1));
        assert_eq!(of(16, |lane| 16 * lane), (16, 16));
        assert_eq!(of(16, |lane| 1024 * lane), (32, 16));
        assert_eq!(of(64, |lane| 64 * lane), (64, 64));
    }
}
