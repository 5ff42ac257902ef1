//! Safetensors: the length of the header (8 bytes), the header (JSON), the elements.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value};

use super::{bytes, values};
use crate::dice::Dice;

/// What elements may be and should not.
const ELEMENTS: [f32; 8] =
    [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, 1e-45, -0.0, f32::MIN_POSITIVE];

pub fn damage(dice: &mut Dice, file: &mut Vec<u8>) {
    let Some((mut header, mut elements)) = parts(file) else { return bytes::damage(dice, file) };
    match dice.below(6) {
        0 => {
            let lengths =
                [0, 1, header.len() as u64 - 1, header.len() as u64 + 1, 1 << 26, 1 << 53, u64::MAX];
            file[..8].copy_from_slice(&lengths[dice.below(lengths.len())].to_le_bytes());
            return;
        }
        1 => elements.truncate(dice.below(elements.len())),
        2 => {
            for _ in 0..=dice.below(3) {
                let at = dice.below(elements.len() / 4) * 4;
                elements[at..at + 4].copy_from_slice(&ELEMENTS[dice.below(ELEMENTS.len())].to_le_bytes());
            }
        }
        _ => values::damage(dice, &mut header),
    }
    *file = joined(&header, &elements);
}

/// Changes a size in the config.json at `path`, whose text is `config`, and its model.safetensors so that it fits.
pub fn resize(dice: &mut Dice, path: &Path, config: &mut Vec<u8>) {
    let model = path.with_file_name("model.safetensors");
    let mut json: Value = serde_json::from_slice(config).expect("the config of a seed is JSON");
    let sizes = if json["model"].is_object() { &mut json["model"] } else { &mut json };
    let names: Vec<String> = sizes
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, v)| v.as_u64() > Some(0))
        .map(|(k, _)| k.clone())
        .collect();
    let name = &names[dice.below(names.len())];
    let old = sizes[name].as_u64().unwrap_or_default();
    let new = [1, 2, old / 2, old - 1, old + 1, 2 * old][dice.below(6)];
    sizes[name] = new.into();
    *config = json.to_string().into_bytes();

    let file = fs::read(&model).expect("a seed has a model");
    let (header, _) = parts(&file).expect("the model of a seed is whole");
    let mut header: Map<String, Value> = serde_json::from_slice(&header).expect("its header is JSON");
    let mut end = 0;
    for info in header.values_mut().filter(|info| info["shape"].is_array()) {
        let mut count = 4;
        for size in info["shape"].as_array_mut().into_iter().flatten() {
            let is = size.as_u64().unwrap_or_default();
            // Four times a width is what is inside a feed-forward half, three times queries, keys and values.
            let factor = (1..=4).find(|factor| is == factor * old);
            *size = factor.map_or(is, |factor| factor * new).into();
            count *= size.as_u64().unwrap_or_default();
        }
        info["data_offsets"] = vec![end, end + count].into();
        end += count;
    }
    let elements: Vec<u8> = (0..end / 4).flat_map(|i| ((i % 13) as f32 / 13.0 - 0.5).to_le_bytes()).collect();
    let header = serde_json::to_vec(&header).expect("JSON can be written");
    fs::write(model, joined(&header, &elements)).expect("the scratch folder can be written to");
}

fn parts(file: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (length, rest) = file.split_first_chunk::<8>()?;
    let (header, elements) = rest.split_at_checked(u64::from_le_bytes(*length) as usize)?;
    (elements.len() >= 4).then(|| (header.to_vec(), elements.to_vec()))
}

fn joined(header: &[u8], elements: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header, elements].concat()
}
