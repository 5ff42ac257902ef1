//! Number formats of tensors in files, decoded to f32 and encoded from it.
//!
//! Those whose name begins with `Q` are ggml's: a block of elements shares one or two scales
//! (<https://github.com/ggml-org/ggml>, `ggml-quants.c`). Each decodes to the same bits as there.

mod blocks;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// A number format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    F32,
    F16,
    BF16,
    Q8_0,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q4K,
    Q5K,
    Q6K,
}

impl Dtype {
    /// All formats that can be read.
    pub const ALL: [Self; 11] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q8_0,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q4K,
        Self::Q5K,
        Self::Q6K,
    ];

    /// Its name in GGUF, and the elements and bytes of a block.
    const fn layout(self) -> (&'static str, usize, usize) {
        match self {
            Self::F32 => ("F32", 1, 4),
            Self::F16 => ("F16", 1, 2),
            Self::BF16 => ("BF16", 1, 2),
            Self::Q8_0 => ("Q8_0", 32, 34),
            Self::Q4_0 => ("Q4_0", 32, 18),
            Self::Q4_1 => ("Q4_1", 32, 20),
            Self::Q5_0 => ("Q5_0", 32, 22),
            Self::Q5_1 => ("Q5_1", 32, 24),
            Self::Q4K => ("Q4_K", 256, 144),
            Self::Q5K => ("Q5_K", 256, 176),
            Self::Q6K => ("Q6_K", 256, 210),
        }
    }

    /// `F32`, `BF16`, `Q4_K`.
    pub fn name(self) -> &'static str {
        self.layout().0
    }

    /// The format of this name, in small or capital letters.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.name().eq_ignore_ascii_case(name))
    }

    /// The names of some formats, as a person reads them: `F32, F16`.
    pub fn names(of: &[Self]) -> String {
        of.iter().map(|dtype| dtype.name()).collect::<Vec<_>>().join(", ")
    }

    /// Elements of a block. A row of a tensor is whole blocks.
    pub fn block(self) -> usize {
        self.layout().1
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        self.layout().2
    }

    /// Bytes of so many elements, which are whole blocks.
    pub fn bytes(self, elements: usize) -> u64 {
        (elements / self.block()) as u64 * self.block_bytes() as u64
    }

    /// Whether numbers can be [encoded](Self::encode) in it.
    pub fn can_encode(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::BF16 | Self::Q8_0)
    }

    /// Decodes whole blocks.
    ///
    /// # Panics
    /// When `bytes` are not as many as `into` has elements for.
    pub fn decode(self, bytes: &[u8], into: &mut [f32]) {
        assert_eq!(bytes.len() as u64, self.bytes(into.len()), "as many bytes as {} elements", into.len());
        match self {
            // Little-endian, as are all processors that Lal runs on.
            Self::F32 => bytemuck::cast_slice_mut(into).copy_from_slice(bytes),
            Self::F16 => each(bytes, into, |bytes, [to]| *to = f16::from_le_bytes(*bytes).to_f32()),
            Self::BF16 => each(bytes, into, |bytes, [to]| *to = bf16::from_le_bytes(*bytes).to_f32()),
            Self::Q8_0 => each(bytes, into, blocks::q8_0),
            Self::Q4_0 => each(bytes, into, blocks::q4_0),
            Self::Q4_1 => each(bytes, into, blocks::q4_1),
            Self::Q5_0 => each(bytes, into, blocks::q5_0),
            Self::Q5_1 => each(bytes, into, blocks::q5_1),
            Self::Q4K => each(bytes, into, blocks::q4_k),
            Self::Q5K => each(bytes, into, blocks::q5_k),
            Self::Q6K => each(bytes, into, blocks::q6_k),
        }
    }

    /// Appends whole blocks to `to`. F16 and BF16 round to the nearest, and of two to the even one, as in PyTorch; Q8_0
    /// is as ggml has it. What is too large for F16 or BF16 becomes infinite.
    ///
    /// # Panics
    /// When it [cannot be encoded](Self::can_encode).
    pub fn encode(self, elements: &[f32], to: &mut Vec<u8>) {
        match self {
            Self::F32 => to.extend_from_slice(bytemuck::cast_slice(elements)),
            Self::F16 => {
                let mut halves = vec![f16::ZERO; elements.len()];
                halves.convert_from_f32_slice(elements);
                to.extend(halves.iter().flat_map(|half| half.to_le_bytes()));
            }
            Self::BF16 => to.extend(elements.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes())),
            Self::Q8_0 => {
                elements.as_chunks().0.iter().for_each(|block| to.extend(blocks::to_q8_0(block)));
            }
            _ => panic!("numbers are not encoded as {}", self.name()),
        }
    }
}

/// Decodes block after block, each of `BYTES` bytes and `N` elements.
fn each<const BYTES: usize, const N: usize>(
    bytes: &[u8],
    into: &mut [f32],
    decode: impl Fn(&[u8; BYTES], &mut [f32; N]),
) {
    bytes.as_chunks().0.iter().zip(into.as_chunks_mut().0).for_each(|(bytes, to)| decode(bytes, to));
}

#[cfg(test)]
mod tests;
