use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::interop::container::Container;
use crate::interop::gguf::metadata::Metadata;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/containers").join(name)
}

/// All tensors of a file, as they are.
fn copied(from: &Container) -> Vec<NewTensor> {
    let copy = |tensor: &crate::interop::container::Tensor| NewTensor {
        name: tensor.name.clone(),
        shape: tensor.shape.clone(),
        dtype: tensor.dtype.unwrap(),
    };
    from.tensors().iter().map(copy).collect()
}

fn new(name: &str, shape: &[usize], dtype: Dtype) -> NewTensor {
    NewTensor { name: name.into(), shape: shape.to_vec(), dtype }
}

fn by_bytes(from: &Container) -> impl FnMut(usize, &mut Sink) -> Result<(), ContainerError> {
    |place, sink| from.read_bytes(&from.tensors()[place], |part| sink.bytes(part))
}

fn bits(of: &Container, name: &str) -> Vec<u32> {
    let elements = of.elements(of.tensor(name).unwrap()).unwrap();
    elements.iter().map(|x| x.to_bits()).collect()
}

/// What `gguf` wrote, read and written again, is the same file, byte for byte.
#[test]
fn gguf_files_survive_a_round_trip() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["types.gguf", "values.gguf"] {
        let (from, path) = (Container::open(&golden(name)).unwrap(), folder.path().join(name));
        gguf(&path, from.metadata(), &copied(&from), by_bytes(&from)).unwrap().commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), fs::read(golden(name)).unwrap(), "{name}");
    }
}

/// Numbers in, in parts of an odd size, and the same numbers out, to the bit where the format is the same.
#[test]
fn numbers_survive_a_round_trip_in_every_format_that_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let from = Container::open(&golden("types.gguf")).unwrap();
    let names = ["F32", "F16", "BF16", "Q8_0", "norm"].map(|name| format!("{name}.weight"));
    let all = copied(&from);
    let kept: Vec<_> =
        names.iter().map(|name| all.iter().find(|new| new.name == *name).unwrap().clone()).collect();
    let give = |place: usize, sink: &mut Sink| -> Result<(), ContainerError> {
        let elements = from.elements(from.tensor(&kept[place].name)?)?;
        elements.chunks(7).for_each(|part| sink.elements(part));
        Ok(())
    };
    let paths = ["t.gguf", "t.safetensors"].map(|name| folder.path().join(name));
    gguf(&paths[0], &Metadata::default(), &kept, give).unwrap().commit().unwrap();
    let floats: Vec<_> = kept.iter().filter(|new| new.dtype.block() == 1).cloned().collect();
    let give = |place: usize, sink: &mut Sink| -> Result<(), ContainerError> {
        from.read(
            from.tensor(&floats[place].name)?,
            0..floats[place].elements() / floats[place].shape.last().unwrap(),
            |part| {
                sink.elements(part);
            },
        )
    };
    safetensors(&paths[1], &floats, ("format", "pt"), give).unwrap().commit().unwrap();
    for (path, tensors) in [(&paths[0], &kept), (&paths[1], &floats)] {
        let again = Container::open(path).unwrap();
        assert_eq!(again.tensors().len(), tensors.len());
        for NewTensor { name, shape, dtype } in tensors {
            let tensor = again.tensor(name).unwrap();
            assert_eq!((&tensor.shape, tensor.dtype), (shape, Some(*dtype)));
            // Decoded and encoded anew, a block's greatest element may no longer be 127.
            if *dtype != Dtype::Q8_0 {
                assert_eq!(bits(&again, name), bits(&from, name), "{name}");
            }
        }
    }
    // The library reads ours, with wide elements before narrow ones.
    let bytes = fs::read(&paths[1]).unwrap();
    let theirs = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(theirs.tensor("BF16.weight").unwrap().shape(), [4, 24]);
    let order: Vec<_> =
        Container::open(&paths[1]).unwrap().tensors().iter().map(|t| t.name.clone()).collect();
    assert_eq!(order, ["F32.weight", "norm.weight", "F16.weight", "BF16.weight"]);
}

#[test]
fn q8_0_written_is_what_gguf_quantizes() {
    let folder = tempfile::tempdir().unwrap();
    let from = Container::open(&golden("types.safetensors")).unwrap();
    let path = folder.path().join("t.gguf");
    let give = |_: usize, sink: &mut Sink| -> Result<(), ContainerError> {
        let elements = from.elements(from.tensor("small")?)?;
        elements.chunks(5).for_each(|part| sink.elements(part));
        Ok(())
    };
    gguf(&path, &Metadata::default(), &[new("small", &[3, 32], Dtype::Q8_0)], give)
        .unwrap()
        .commit()
        .unwrap();
    let (again, mut found, mut wanted) = (Container::open(&path).unwrap(), Vec::new(), Vec::new());
    again.read_bytes(again.tensor("small").unwrap(), |part| found.extend_from_slice(part)).unwrap();
    from.read_bytes(from.tensor("small.Q8_0").unwrap(), |part| wanted.extend_from_slice(part)).unwrap();
    assert_eq!(found, wanted);
}

#[test]
fn equal_tensors_make_equal_files() {
    let folder = tempfile::tempdir().unwrap();
    let from = Container::open(&golden("values.gguf")).unwrap();
    let write = |name: &str| {
        let path = folder.path().join(name);
        safetensors(&path, &copied(&from), ("format", "pt"), by_bytes(&from)).unwrap().commit().unwrap();
        fs::read(&path).unwrap()
    };
    assert_eq!(write("a"), write("b"));
}

#[test]
fn what_cannot_be_written_is_named_and_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t");
    let said = |tensors: &[NewTensor], numbers: &[f32]| {
        let give = |_: usize, sink: &mut Sink| -> Result<(), ContainerError> {
            sink.elements(numbers);
            Ok(())
        };
        let error = gguf(&path, &Metadata::default(), tensors, give).unwrap_err().to_string();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        error
    };
    let one = |shape: &[usize], dtype| vec![new("t", shape, dtype)];
    assert!(said(&one(&[2], Dtype::F32), &[1.0, f32::NAN]).contains("element 1 of t is NaN"));
    assert!(said(&one(&[2], Dtype::F16), &[1.0, 65_520.0]).contains("t has a number that F16 cannot hold"));
    assert!(said(&one(&[2], Dtype::BF16), &[1.0, f32::MAX]).contains("that BF16 cannot hold"));
    assert!(said(&one(&[32], Dtype::Q8_0), &[f32::MAX; 32]).contains("that Q8_0 cannot hold"));
    assert!(
        said(&one(&[2, 2], Dtype::F32), &[1.0; 3]).contains("t has 3 elements where its shape (2, 2) has 4")
    );
    assert!(said(&one(&[64], Dtype::Q8_0), &[1.0; 33]).contains("t has 33 elements"));
    assert!(said(&one(&[8], Dtype::Q8_0), &[1.0; 8]).contains("no whole blocks of Q8_0"));
    assert!(said(&one(&[32], Dtype::Q4_0), &[1.0; 32]).contains("Q4_0"));
    assert!(said(&one(&[1, 1, 1, 1, 1], Dtype::F32), &[1.0]).contains("4 dimensions"));
    assert!(said(&[new(&"n".repeat(64), &[1], Dtype::F32)], &[1.0]).contains("63 bytes"));
    assert!(said(&[new("t", &[1], Dtype::F32), new("t", &[1], Dtype::F32)], &[1.0]).contains("twice"));
    let give = |_: usize, _: &mut Sink| -> Result<(), ContainerError> { Ok(()) };
    let error = safetensors(&path, &one(&[32], Dtype::Q8_0), ("format", "pt"), give).unwrap_err().to_string();
    assert!(error.contains("safetensors has no Q8_0"), "{error}");
}

#[test]
fn gguf_keeps_vectors_in_f32_as_llama_cpp_does() {
    assert_eq!(gguf_dtype(&[64], Dtype::Q8_0), Dtype::F32);
    assert_eq!(gguf_dtype(&[2, 64], Dtype::Q8_0), Dtype::Q8_0);
    assert_eq!(gguf_dtype(&[2, 40], Dtype::Q8_0), Dtype::F16);
    assert_eq!(gguf_dtype(&[2, 40], Dtype::BF16), Dtype::BF16);
}
