//! Chat templates: blocks, expressions and the text between them.

use super::bytes;
use crate::dice::Dice;

/// What a template may have in place of what it has.
const PARTS: [&str; 16] = [
    "{% for message in messages %}",
    "{% for a in range(1000000) %}{% for b in range(1000000) %}{% endfor %}{% endfor %}",
    "{% endfor %}",
    "{% if loop.first and messages[0].role != 'system' %}",
    "{% endif %}",
    "{% set x = x ~ x %}",
    "{% macro a(x) %}{{ a(x) }}{% endmacro %}{{ a(1) }}",
    "{{ message['content'] | trim }}",
    "{{ messages[-1]['content'].split('x')[99] }}",
    "{{ raise_exception('no') }}",
    "{{ strftime_now('%Q%d %b %Y') }}",
    "{{ 'x' * 1000000000 }}",
    "{{ (1, 2, 3)[::0] }}",
    "{{ ((((((((((((((((1)))))))))))))))) }}",
    "{{ messages | tojson(indent=4) }}",
    "{%- generation %}",
];

/// Bytes of a template.
const MOST: usize = 1 << 13;

pub fn damage(dice: &mut Dice, file: &mut Vec<u8>) {
    if dice.one_in(4) {
        bytes::damage(dice, file);
        // As much text in each of many messages would be hours of work, and right.
        return file.truncate(MOST);
    }
    let text = String::from_utf8_lossy(file).into_owned();
    let mut parts: Vec<&str> = text.split_inclusive('}').collect();
    for _ in 0..=dice.below(2) {
        let at = dice.below(parts.len().max(1));
        match dice.below(4) {
            0 if at < parts.len() => drop(parts.remove(at)),
            1 if at < parts.len() => parts.insert(at, parts[at]),
            2 if at < parts.len() => parts[at] = PARTS[dice.below(PARTS.len())],
            _ => parts.insert(at.min(parts.len()), PARTS[dice.below(PARTS.len())]),
        }
    }
    *file = parts.concat().into_bytes();
}
