//! GGUF, version 3.

use std::collections::HashSet;
use std::path::Path;

use super::{NewTensor, Sink, fill};
use crate::files::AtomicFile;
use crate::interop::container::ContainerError;
use crate::interop::dtype::Dtype;
use crate::interop::gguf::metadata::Metadata;
use crate::interop::gguf::value::write_text;
use crate::interop::gguf::{MAGIC, MAX_DIMS, MAX_NAME, VERSION, alignment, id};

/// How llama.cpp's converters store a tensor of this shape where `wanted` is asked for: vectors stay F32, and rows that
/// are no whole blocks become F16.
pub fn gguf_dtype(shape: &[usize], wanted: Dtype) -> Dtype {
    match shape {
        [] | [_] => Dtype::F32,
        [.., width] if width % wanted.block() != 0 => Dtype::F16,
        _ => wanted,
    }
}

/// Writes what is known of a model and its tensors, in their order, asking `give` for the elements of one after the
/// other, by its place among `tensors`.
///
/// The file is [finished](AtomicFile::finish); the caller commits it.
///
/// # Errors
/// When `give` fails or gives another number of elements or one that is not finite, a tensor has a name or a shape that
/// ggml does not take, or the disk fails.
pub fn gguf<E: From<ContainerError>>(
    path: &Path,
    metadata: &Metadata,
    tensors: &[NewTensor],
    mut give: impl FnMut(usize, &mut Sink) -> Result<(), E>,
) -> Result<AtomicFile, E> {
    let alignment = alignment(metadata)?;
    let header = header(path, metadata, tensors, alignment)?;
    let mut file = AtomicFile::new(path).map_err(ContainerError::from)?;
    file.write(&header).map_err(ContainerError::from)?;
    for (place, tensor) in tensors.iter().enumerate() {
        fill(tensor, &mut file, |sink| give(place, sink))?;
        let bytes = tensor.bytes();
        let padding = vec![0; (bytes.next_multiple_of(alignment) - bytes) as usize];
        file.write(&padding).map_err(ContainerError::from)?;
    }
    file.finish().map_err(ContainerError::from)?;
    Ok(file)
}

/// All before the first element.
fn header(
    path: &Path,
    metadata: &Metadata,
    tensors: &[NewTensor],
    alignment: u64,
) -> Result<Vec<u8>, ContainerError> {
    let mut to = MAGIC.to_vec();
    to.extend(VERSION.to_le_bytes());
    to.extend((tensors.len() as u64).to_le_bytes());
    to.extend((metadata.entries().len() as u64).to_le_bytes());
    for (key, value) in metadata.entries() {
        write_text(key, &mut to);
        value.write(&mut to);
    }
    let (mut start, mut names) = (0, HashSet::new());
    for tensor in tensors {
        let fits = match () {
            () if tensor.name.len() > MAX_NAME => Err(format!("its name has more than {MAX_NAME} bytes")),
            () if tensor.shape.len() > MAX_DIMS => Err(format!("it has more than {MAX_DIMS} dimensions")),
            () if !names.insert(&tensor.name) => Err("it is there twice".to_owned()),
            () => Ok(()),
        };
        tensor.check(path, fits)?;
        write_text(&tensor.name, &mut to);
        to.extend((tensor.shape.len() as u32).to_le_bytes());
        to.extend(tensor.shape.iter().rev().flat_map(|&dim| (dim as u64).to_le_bytes()));
        to.extend(id(tensor.dtype).to_le_bytes());
        to.extend(u64::to_le_bytes(start));
        start += tensor.bytes().next_multiple_of(alignment);
    }
    to.resize(to.len().next_multiple_of(alignment as usize), 0);
    Ok(to)
}
