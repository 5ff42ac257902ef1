use super::*;
use crate::interop::container::Container;

/// Tensors made by `gguf` and torch.
fn golden(name: &str) -> Container {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/containers");
    Container::open(&folder.join(name)).unwrap()
}

fn elements(container: &Container, name: &str) -> Vec<f32> {
    container.elements(container.tensor(name).unwrap()).unwrap()
}

fn bytes(container: &Container, name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    container.read_bytes(container.tensor(name).unwrap(), |part| bytes.extend_from_slice(part)).unwrap();
    bytes
}

fn bits(of: &[f32]) -> Vec<u32> {
    of.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn every_format_decodes_to_the_bits_of_gguf() {
    let (files, expected) = (golden("types.gguf"), golden("types.safetensors"));
    assert_eq!(files.tensors().len(), Dtype::ALL.len() + 1);
    for dtype in Dtype::ALL {
        let name = format!("{}.weight", dtype.name());
        assert_eq!(files.tensor(&name).unwrap().dtype, Some(dtype));
        assert_eq!(bits(&elements(&files, &name)), bits(&elements(&expected, &name)), "{name}");
    }
}

#[test]
fn numbers_are_rounded_as_torch_and_gguf_round_them() {
    let expected = golden("types.safetensors");
    for (dtype, numbers, wanted) in [
        (Dtype::F32, "numbers", bytes(&expected, "numbers")),
        (Dtype::F16, "numbers", bytes(&golden("f16.safetensors"), "numbers")),
        (Dtype::BF16, "numbers", bytes(&golden("bf16.safetensors"), "numbers")),
        (Dtype::Q8_0, "small", bytes(&expected, "small.Q8_0")),
    ] {
        let mut encoded = Vec::new();
        dtype.encode(&elements(&expected, numbers), &mut encoded);
        assert_eq!(encoded, wanted, "{}", dtype.name());
    }
}

/// What is below the least scale of an f16 is none, and no block divides by zero.
#[test]
fn blocks_of_nearly_nothing_are_zero() {
    for tiny in [0.0, -0.0, 1e-45, -1e-40, 1e-12] {
        let (mut encoded, mut decoded) = (Vec::new(), [1.0; 32]);
        Dtype::Q8_0.encode(&[tiny; 32], &mut encoded);
        Dtype::Q8_0.decode(&encoded, &mut decoded);
        assert!(decoded.iter().all(|&x| x == 0.0), "{tiny}: {decoded:?}");
    }
}

#[test]
fn formats_are_found_by_their_names() {
    assert_eq!(Dtype::from_name("q4_k"), Some(Dtype::Q4K));
    assert_eq!(Dtype::from_name("bf16"), Some(Dtype::BF16));
    assert_eq!(Dtype::from_name("IQ4_XS"), None);
    assert_eq!(Dtype::Q6K.bytes(512), 420);
}
