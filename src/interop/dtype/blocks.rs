//! The blocks of ggml: how their bytes become numbers. The order of operations is ggml's, since it decides the last
//! bit.

use half::f16;

/// The f16 at a byte of a block.
fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// The low half of a byte, and the high one.
fn nibbles(byte: u8) -> [u8; 2] {
    [byte & 15, byte >> 4]
}

/// Scale, 32 i8.
pub fn q8_0(block: &[u8; 34], to: &mut [f32; 32]) {
    let d = half(block, 0);
    for (to, q) in to.iter_mut().zip(&block[2..]) {
        *to = f32::from(q.cast_signed()) * d;
    }
}

/// The inverse of [`q8_0`]: the largest element becomes 127 or −127.
pub fn to_q8_0(elements: &[f32; 32]) -> [u8; 34] {
    let d = elements.iter().fold(0.0_f32, |most, x| most.max(x.abs())) / 127.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    let mut block = [0; 34];
    block[..2].copy_from_slice(&f16::from_f32(d).to_le_bytes());
    for (q, x) in block[2..].iter_mut().zip(elements) {
        // Half rounds away from zero.
        *q = ((x * inverse).round() as i8).cast_unsigned();
    }
    block
}

/// Scale, 16 pairs: element i in the low half of byte i, element i + 16 in the high one.
pub fn q4_0(block: &[u8; 18], to: &mut [f32; 32]) {
    let d = half(block, 0);
    for (i, byte) in block[2..].iter().enumerate() {
        let [low, high] = nibbles(*byte).map(|q| f32::from(q.cast_signed() - 8));
        [to[i], to[i + 16]] = [d * low, d * high];
    }
}

/// Scale, least element, 16 pairs as in [`q4_0`].
pub fn q4_1(block: &[u8; 20], to: &mut [f32; 32]) {
    let (d, m) = (half(block, 0), half(block, 2));
    for (i, byte) in block[4..].iter().enumerate() {
        let [low, high] = nibbles(*byte).map(f32::from);
        [to[i], to[i + 16]] = [d * low + m, d * high + m];
    }
}

/// The fifth bits of 32 elements (4 bytes), and 16 pairs as in [`q4_0`].
fn five_bits(block: &[u8], mut give: impl FnMut(usize, u8)) {
    let fifth = u32::from_le_bytes([block[0], block[1], block[2], block[3]]);
    for (i, byte) in block[4..].iter().enumerate() {
        let [low, high] = nibbles(*byte);
        give(i, low | ((fifth >> i) as u8 & 1) << 4);
        give(i + 16, high | ((fifth >> (i + 16)) as u8 & 1) << 4);
    }
}

/// Scale, fifth bits, pairs.
pub fn q5_0(block: &[u8; 22], to: &mut [f32; 32]) {
    let d = half(block, 0);
    five_bits(&block[2..], |i, q| to[i] = d * f32::from(q.cast_signed() - 16));
}

/// Scale, least element, fifth bits, pairs.
pub fn q5_1(block: &[u8; 24], to: &mut [f32; 32]) {
    let (d, m) = (half(block, 0), half(block, 2));
    five_bits(&block[4..], |i, q| to[i] = d * f32::from(q) + m);
}

/// The scale and the offset of each of eight parts of a block, six bits each in 12 bytes.
fn scales(block: &[u8], d: f32, least: f32) -> [[f32; 2]; 8] {
    std::array::from_fn(|part| {
        let [scale, offset] = match part {
            0..4 => [block[part] & 63, block[part + 4] & 63],
            _ => {
                let [low, high] = nibbles(block[part + 4]);
                [low | (block[part - 4] >> 6) << 4, high | (block[part] >> 6) << 4]
            }
        };
        [d * f32::from(scale), least * f32::from(offset)]
    })
}

/// Scales of the scales and of the offsets, scales and offsets, 4 × 32 pairs: the low halves of 32 bytes are one part
/// of 32 elements, the high ones the next.
pub fn q4_k(block: &[u8; 144], to: &mut [f32; 256]) {
    let scales = scales(&block[4..16], half(block, 0), half(block, 2));
    for (part, (to, [d, m])) in to.as_chunks_mut::<32>().0.iter_mut().zip(scales).enumerate() {
        for (i, to) in to.iter_mut().enumerate() {
            let q = nibbles(block[16 + part / 2 * 32 + i])[part % 2];
            *to = d * f32::from(q) - m;
        }
    }
}

/// As [`q4_k`], with fifth bits (32 bytes) before the pairs: that of element i of a part is in byte i, at the place of
/// the part.
pub fn q5_k(block: &[u8; 176], to: &mut [f32; 256]) {
    let scales = scales(&block[4..16], half(block, 0), half(block, 2));
    for (part, (to, [d, m])) in to.as_chunks_mut::<32>().0.iter_mut().zip(scales).enumerate() {
        for (i, to) in to.iter_mut().enumerate() {
            let q = nibbles(block[48 + part / 2 * 32 + i])[part % 2];
            *to = d * f32::from(q | (block[16 + i] >> part & 1) << 4) - m;
        }
    }
}

/// Low four bits (128 bytes), high two bits (64), 16 scales (i8), scale of the scales. Each half of the block is four
/// parts of 32 elements.
pub fn q6_k(block: &[u8; 210], to: &mut [f32; 256]) {
    let (low, high, scales, d) = (&block[..128], &block[128..192], &block[192..208], half(block, 208));
    for (part, to) in to.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (side, quarter) = (part / 4, part % 4);
        for (i, to) in to.iter_mut().enumerate() {
            let four = nibbles(low[64 * side + 32 * (quarter % 2) + i])[quarter / 2];
            let two = high[32 * side + i] >> (2 * quarter) & 3;
            let scale = d * f32::from(scales[2 * part + i / 16].cast_signed());
            *to = scale * f32::from((four | two << 4).cast_signed() - 32);
        }
    }
}
