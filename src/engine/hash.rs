//! Random masks without state: a hash of (seed, op, index), bit for bit that of `shaders/common/hash.wgsl`.
//!
//! A mask is never stored: the backward pass computes it again. Equal seeds give equal masks on every device.

/// Mixes 32 bits so that every input bit changes about half of the output bits: `lowbias32` of
/// Wellons (2018), "Prospecting for Hash Functions".
#[inline(always)]
pub fn hash(mut x: u32) -> u32 {
    x ^= x >> 16;
    x = x.wrapping_mul(0x7feb_352d);
    x ^= x >> 15;
    x = x.wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

/// What the mask of one op in one step is drawn from; `salt` tells the ops of a step apart.
pub fn mask_key(seed: u32, salt: u32) -> u32 {
    hash(seed ^ hash(salt))
}

/// Whether element `index` of a mask is kept.
#[inline(always)]
pub fn keep(key: u32, index: u32, threshold: u32) -> bool {
    hash(index ^ key) >= threshold
}

/// The hashes below this are dropped: p · 2³².
pub fn threshold(p: f32) -> u32 {
    (f64::from(p) * 4_294_967_296.0) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_lowbias32() {
        // Values of the published C function, which maps 0 to 0.
        assert_eq!([1, 2, 0xdead_beef].map(hash), [0x6889_90c0, 0xd113_2181, 0xe628_c683]);
    }

    #[test]
    fn masks_keep_the_asked_share_and_differ_by_salt() {
        let share = |key| (0..100_000).filter(|&i| keep(key, i, threshold(0.2))).count() as f64 / 1e5;
        // Five standard deviations of 100,000 draws.
        let (a, b) = (mask_key(7, 1), mask_key(7, 2));
        assert!((share(a) - 0.8).abs() < 0.0064 && (share(b) - 0.8).abs() < 0.0064);
        let both = (0..100_000).filter(|&i| keep(a, i, 1 << 31) == keep(b, i, 1 << 31)).count();
        assert!((both as f64 / 1e5 - 0.5).abs() < 0.008);
        assert!((0..1000).all(|i| keep(a, i, threshold(0.0))));
    }
}
