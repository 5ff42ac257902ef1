use std::fs;
use std::path::{Path, PathBuf};

use super::value::{Array, Value, write_text};
use super::*;
use crate::interop::container::Container;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/containers").join(name)
}

/// The header of a version, with counts of tensors and of keys, and what follows.
fn file(version: u32, counts: [u64; 2], rest: &[u8]) -> Vec<u8> {
    let counts = counts.map(u64::to_le_bytes).concat();
    [&MAGIC[..], &version.to_le_bytes(), &counts, rest].concat()
}

fn key(key: &str, value: impl Into<Value>) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_text(key, &mut bytes);
    value.into().write(&mut bytes);
    bytes
}

/// A tensor's entry: dimensions innermost first, as in the file.
fn tensor(name: &str, dims: &[u64], id: u32, start: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_text(name, &mut bytes);
    bytes.extend((dims.len() as u32).to_le_bytes());
    dims.iter().for_each(|dim| bytes.extend(dim.to_le_bytes()));
    bytes.extend(id.to_le_bytes());
    bytes.extend(start.to_le_bytes());
    bytes
}

/// Entries, and so many bytes of elements.
fn tensors(entries: &[Vec<u8>], elements: usize) -> Vec<u8> {
    let mut bytes = file(3, [entries.len() as u64, 0], &entries.concat());
    bytes.resize(bytes.len().next_multiple_of(32) + elements, 0);
    bytes
}

fn opened(bytes: &[u8]) -> Result<Container, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.gguf");
    fs::write(&path, bytes).unwrap();
    Container::open(&path).map_err(|error| {
        let error = error.to_string();
        assert!(error.contains("t.gguf"), "{error}");
        error
    })
}

#[track_caller]
fn refused(bytes: &[u8], what: &str) {
    let error = opened(bytes).unwrap_err();
    assert!(error.contains(what), "{error}");
}

#[test]
fn values_of_every_type_are_those_that_gguf_wrote() {
    let container = Container::open(&golden("values.gguf")).unwrap();
    let metadata = container.metadata();
    let expected: serde_json::Value =
        serde_json::from_slice(&fs::read(golden("values.json")).unwrap()).unwrap();
    let expected = expected.as_object().unwrap();
    assert_eq!(metadata.entries().len(), expected.len() + 2);
    for (key, value) in expected {
        assert_eq!(&serde_json::to_value(metadata.value(key).unwrap()).unwrap(), value, "{key}");
    }
    let kinds = ["u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64", "f32", "f64"];
    assert!(kinds.iter().all(|kind| metadata.value(kind).unwrap().kind() == *kind));
    assert_eq!(metadata.value("texts").unwrap().kind(), "[str; 3]");
    assert_eq!(container.tensor("a").unwrap().shape, [2, 3]);
    assert_eq!(container.elements(container.tensor("b").unwrap()).unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0]);
}

#[test]
fn a_value_is_asked_for_by_what_it_should_be() {
    let container = Container::open(&golden("values.gguf")).unwrap();
    let metadata = container.metadata();
    assert_eq!(metadata.get::<&str>("general.architecture").unwrap(), "llama");
    assert_eq!(metadata.get::<usize>("u8").unwrap(), 200);
    assert_eq!(metadata.get::<i64>("i32").unwrap(), -2_000_000_000);
    assert_eq!(metadata.get::<f64>("f32").unwrap(), 0.5);
    assert!(metadata.get::<bool>("true").unwrap());
    assert_eq!(metadata.get::<Vec<i64>>("integers").unwrap(), [1, -2, 3]);
    assert_eq!(metadata.get::<&[f32]>("numbers").unwrap(), [0.5, -0.25]);
    assert_eq!(metadata.get::<&[bool]>("truths").unwrap(), [true, false]);
    assert_eq!(metadata.get::<&[String]>("texts").unwrap(), ["a", "", "ü"]);
    assert_eq!(metadata.find::<usize>("none").unwrap(), None);
    for (error, told) in [
        (metadata.get::<usize>("none").unwrap_err(), "the key none is missing"),
        (
            metadata.get::<usize>("i8").unwrap_err(),
            "the key i8 has a value of type i8, not a whole number (usize)",
        ),
        (metadata.get::<u32>("u64").unwrap_err(), "the key u64 has"),
        (
            metadata.get::<Vec<usize>>("integers").unwrap_err(),
            "the key integers has a value of type [i32; 3]",
        ),
        (metadata.get::<&str>("f32").unwrap_err(), "not a string"),
    ] {
        let error = error.to_string();
        assert!(error.contains(told) && error.contains("values.gguf"), "{error}");
    }
}

#[test]
fn what_is_not_gguf_or_another_version_is_said() {
    refused(b"", "magic would have 4 bytes where 0 are left");
    refused(b"GGML1234", "does not begin with GGUF");
    refused(&file(1, [0, 0], &[]), "version 1");
    refused(&file(4, [0, 0], &[]), "version 4");
    refused(&file(3_u32.swap_bytes(), [0, 0], &[]), "big-endian");
    for version in [2, 3] {
        assert_eq!(opened(&file(version, [0, 0], &[])).unwrap().tensors(), []);
    }
}

/// Lengths that a terabyte would not hold, where the file has a few bytes.
#[test]
fn lengths_are_checked_before_anything_is_allocated() {
    for many in [1, 1 << 40, u64::MAX] {
        refused(&file(3, [many, 0], &[]), "tensors: there would be");
        refused(&file(3, [0, many], &[]), "keys: there would be");
        let long = [&many.to_le_bytes()[..], &[0; 13]].concat();
        if many > 1 {
            refused(&file(3, [0, 1], &long), "a key: there would be");
            refused(
                &file(3, [1, 0], &[&long[..], &[0; 30]].concat()),
                "the name of a tensor: there would be",
            );
        }
        for element in [0_u32, 5, 7, 8, 9, 12] {
            let mut array = Vec::new();
            write_text("some.list", &mut array);
            array.extend(9_u32.to_le_bytes());
            array.extend(element.to_le_bytes());
            array.extend(many.to_le_bytes());
            refused(&file(3, [0, 1], &array), "some.list: there would be");
        }
    }
}

#[test]
fn keys_and_values_that_cannot_be_are_named() {
    let keys = |keys: &[Vec<u8>]| file(3, [0, keys.len() as u64], &keys.concat());
    refused(&keys(&[key("a", 1_u32), key("a", 2_u32)]), "key a twice");
    let mut bad = key("some.text", "abc");
    *bad.last_mut().unwrap() = 0xff;
    refused(&keys(&[bad]), "some.text is no UTF-8");
    let mut bad = key("abc", 1_u8);
    bad[8] = 0xff;
    refused(&keys(&[bad]), "a key is no UTF-8");
    let mut bad = key("truth", true);
    *bad.last_mut().unwrap() = 2;
    refused(&keys(&[bad]), "truth is 2, neither");
    let mut bad = key("odd", 1_u8);
    bad[8 + 3] = 13;
    refused(&keys(&[bad]), "odd has the unknown type 13");
    let cut = key("some.number", 1_u64);
    refused(&keys(&[cut[..cut.len() - 1].to_vec()]), "some.number would have 8 bytes where 7");
    let nested = |depth: usize| (1..depth).fold(Array::U8(vec![1]), |array, _| Array::Array(vec![array]));
    opened(&keys(&[key("deep", Value::Array(nested(8)))])).unwrap();
    refused(&keys(&[key("deep", Value::Array(nested(9)))]), "deep has more than 8 arrays");
    refused(&keys(&[key("deep", Value::Array(nested(500)))]), "deep has more than 8 arrays");
    for odd in [0_u32, 3, 48, 1 << 17] {
        refused(&keys(&[key(ALIGNMENT, odd)]), "should be a power of two");
    }
    refused(&keys(&[key(ALIGNMENT, "32")]), "general.alignment has a value of type str");
}

#[test]
fn tensors_that_cannot_be_are_named() {
    let f32s = |name: &str, start| tensor(name, &[8], 0, start);
    opened(&tensors(&[f32s("a", 0), f32s("b", 32)], 64)).unwrap();
    refused(&tensors(&[f32s("a", 0), f32s("a", 32)], 64), "tensor a twice");
    refused(&tensors(&[f32s("a", 32), f32s("b", 32)], 64), "a and b share bytes");
    refused(&tensors(&[tensor("a", &[9], 0, 0), f32s("b", 32)], 64), "a and b share bytes");
    refused(&tensors(&[f32s("a", 8)], 64), "a begins at 8, no multiple of 32");
    refused(&tensors(&[f32s("a", 64)], 64), "cut short");
    refused(&tensors(&[f32s("a", 0)], 31), "cut short");
    refused(&tensors(&[f32s("a", u64::MAX - 31)], 64), "cut short");
    refused(&tensors(&[tensor("a", &[1 << 40], 0, 0)], 64), "cut short");
    refused(&tensors(&[tensor("a", &[1 << 32, 1 << 32], 0, 0)], 64), "more elements than can be counted");
    refused(&tensors(&[tensor("a", &[1, 1, 1, 1, 1], 0, 0)], 64), "5 dimensions");
    refused(&tensors(&[tensor("a", &[8, 4], 8, 0)], 64), "rows of 8, and Q8_0 has blocks of 32");
    for unknown in [4, 5, 31, 99, u32::MAX] {
        refused(
            &tensors(&[tensor("a", &[32], unknown, 0)], 64),
            &format!("a has elements of the unknown type {unknown}"),
        );
    }
    // What ggml has and Lal does not is listed, and refused where it is read.
    let model = opened(&tensors(&[tensor("a", &[256], 10, 0)], 84)).unwrap();
    let error = model.check_type(model.tensor("a").unwrap()).unwrap_err().to_string();
    assert!(error.contains("a has elements of type Q2_K, and only F32, F16"), "{error}");
    // No elements are no bytes to share.
    opened(&tensors(&[tensor("a", &[8, 0], 0, 0), f32s("b", 0)], 32)).unwrap();
}

#[test]
fn cut_at_any_byte_a_file_is_refused() {
    for name in ["values.gguf", "types.gguf"] {
        let bytes = fs::read(golden(name)).unwrap();
        // Up to the padding after the last tensor.
        for length in (0..bytes.len() - 64).step_by(5) {
            opened(&bytes[..length]).unwrap_err();
        }
    }
}

#[test]
fn every_format_has_a_number() {
    use crate::interop::dtype::Dtype;
    for dtype in Dtype::ALL {
        let layout = types::layout(id(dtype)).unwrap();
        assert_eq!(layout, (dtype.name(), dtype.block(), dtype.block_bytes()));
    }
}
