//! Bytes flipped, cut, doubled and put in, whatever they mean.

use crate::dice::Dice;

/// What readers of bytes stumble over: NUL, invalid and cut UTF-8, surrogates, a byte order mark, other line ends,
/// controls, a combining character, an emoji of several characters.
const STUMBLES: [&[u8]; 14] = [
    b"\0",
    b"\xff",
    b"\xc3",
    b"\xe2\x82",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\r",
    b"\r\n",
    b"\n",
    b"\x1b[2J",
    "\u{301}".as_bytes(),
    "👩‍👩‍👧".as_bytes(),
    "\u{10ffff}".as_bytes(),
    b"<|endoftext|><|user|><|end|>",
];

/// What files are made of, and some readers count in.
const UNITS: [&[u8]; 7] = [b"[", b"{\"a\":", b"a", b" ", b"\n", b"\"", b"1"];

pub fn damage(dice: &mut Dice, file: &mut Vec<u8>) {
    for _ in 0..=dice.below(3) {
        once(dice, file);
    }
}

fn once(dice: &mut Dice, file: &mut Vec<u8>) {
    let (at, other) = (dice.below(file.len()), dice.below(file.len()));
    let (from, to) = (at.min(other), at.max(other));
    match dice.below(8) {
        0 => file.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << dice.below(8)),
        1 => file.iter_mut().skip(at).take(1).for_each(|byte| *byte = dice.byte()),
        2 => file.truncate(at),
        3 => drop(file.drain(from..to)),
        4 => file.extend_from_within(from..to),
        5 => {
            let part = file[from..to].to_vec();
            drop(file.splice(at..at, part));
        }
        6 => drop(file.splice(at..at, dice.pick(&STUMBLES).to_vec())),
        _ => {
            let many = [1, 100, 100_000][dice.below(3)];
            let unit = if dice.one_in(2) { dice.pick(&UNITS) } else { dice.pick(&STUMBLES) };
            drop(file.splice(at..at, unit.repeat(many)));
        }
    }
}

/// A text that is empty, of one character, of one endless word, all spaces, of every character there is: or just
/// damaged.
pub fn text(dice: &mut Dice, file: &mut Vec<u8>) {
    let letters = |dice: &mut Dice, of: &[u8], count: usize| -> Vec<u8> {
        (0..count).map(|_| of[dice.below(of.len())]).collect()
    };
    match dice.below(40) {
        0 => file.clear(),
        1 => file.truncate(1),
        2 => *file = dice.pick(&STUMBLES).repeat(1 + dice.below(400)),
        3 => *file = letters(dice, b"ACGT", 400_000),
        4 => *file = dice.pick(&UNITS).repeat(1_200_000),
        5 => *file = (1..0x3000).filter_map(char::from_u32).collect::<String>().into_bytes(),
        6 => *file = letters(dice, b" \n\t\r\x0b\x0c", 3000),
        7 => *file = b"\r\n".repeat(1000),
        _ => damage(dice, file),
    }
}
