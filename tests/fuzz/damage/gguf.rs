//! GGUF: lengths, counts and types are little-endian numbers of four and eight bytes, strings have their length before
//! them.

use super::bytes;
use crate::dice::Dice;

/// Numbers that count too much, or almost right.
const NUMBERS: [u64; 14] =
    [0, 1, 2, 7, 9, 13, 31, 255, 1 << 31, 1 << 32, (1 << 53) + 1, 1 << 61, 1 << 63, u64::MAX];

pub fn damage(dice: &mut Dice, file: &mut Vec<u8>) {
    for _ in 0..=dice.below(2) {
        let small = small_numbers(file);
        match dice.below(6) {
            0 => bytes::damage(dice, file),
            // The counts of tensors and keys.
            1 if file.len() > 24 => put(file, 8 + 8 * dice.below(2), number(dice), 8),
            // What is small is likely to be a length, a type or an offset.
            2..5 if !small.is_empty() => {
                let at = small[dice.below(small.len())];
                let width = if dice.one_in(3) { 4 } else { 8 };
                put(file, at, number(dice), width);
            }
            _ => {
                let at = dice.below(file.len());
                put(file, at, number(dice), 8);
            }
        }
    }
}

fn number(dice: &mut Dice) -> u64 {
    NUMBERS[dice.below(NUMBERS.len())]
}

/// The places of numbers below 4096 in eight bytes.
fn small_numbers(file: &[u8]) -> Vec<usize> {
    let small = |bytes: &[u8]| bytes[..2] != [0, 0] && bytes[1] < 16 && bytes[2..] == [0; 6];
    file.windows(8).enumerate().filter(|(_, bytes)| small(bytes)).map(|(at, _)| at).collect()
}

fn put(file: &mut [u8], at: usize, number: u64, width: usize) {
    let number = number.to_le_bytes();
    file.iter_mut().skip(at).take(width).zip(number).for_each(|(byte, new)| *byte = new);
}
