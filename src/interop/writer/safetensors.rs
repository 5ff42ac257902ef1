//! Safetensors.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype as Stored, Metadata, TensorInfo};

use super::{NewTensor, Sink, fill};
use crate::files::AtomicFile;
use crate::interop::container::ContainerError;
use crate::interop::dtype::Dtype;

/// Writes F32, F16 and BF16, asking `give` for the elements of one tensor after the other, by its place among
/// `tensors`. `note` is a key and value for the file's metadata; just one, so that equal tensors make equal files (the
/// library keeps several in no fixed order).
///
/// The file is [finished](AtomicFile::finish); the caller commits it.
///
/// # Errors
/// When `give` fails or gives another number of elements or one that is not finite, or the disk fails.
pub fn safetensors<E: From<ContainerError>>(
    path: &Path,
    tensors: &[NewTensor],
    note: (&str, &str),
    mut give: impl FnMut(usize, &mut Sink) -> Result<(), E>,
) -> Result<AtomicFile, E> {
    // Wide elements first, so that all are aligned.
    let mut order: Vec<_> = (0..tensors.len()).collect();
    order.sort_by_key(|&place| Reverse(tensors[place].dtype.block_bytes()));
    let header = header(path, order.iter().map(|&place| &tensors[place]), note)?;
    let mut file = AtomicFile::new(path).map_err(ContainerError::from)?;
    let length = (header.len() as u64).to_le_bytes();
    file.write(&length).and_then(|()| file.write(&header)).map_err(ContainerError::from)?;
    for place in order {
        fill(&tensors[place], &mut file, |sink| give(place, sink))?;
    }
    file.finish().map_err(ContainerError::from)?;
    Ok(file)
}

fn header<'a>(
    path: &Path,
    tensors: impl Iterator<Item = &'a NewTensor>,
    (key, value): (&str, &str),
) -> Result<Vec<u8>, ContainerError> {
    let (mut start, mut infos) = (0, Vec::new());
    for tensor in tensors {
        let (dtype, fits) = match tensor.dtype {
            Dtype::F16 => (Stored::F16, Ok(())),
            Dtype::BF16 => (Stored::BF16, Ok(())),
            Dtype::F32 => (Stored::F32, Ok(())),
            other => {
                (Stored::U8, Err(format!("safetensors has no {}: choose F32, F16 or BF16", other.name())))
            }
        };
        tensor.check(path, fits)?;
        let end = start + tensor.bytes() as usize;
        let shape = tensor.shape.clone();
        infos.push((tensor.name.clone(), TensorInfo { dtype, shape, data_offsets: (start, end) }));
        start = end;
    }
    let note = HashMap::from([(key.to_owned(), value.to_owned())]);
    let not_one = |what: String| ContainerError::NotSafetensors { path: path.to_owned(), what };
    let metadata = Metadata::new(Some(note), infos).map_err(|error| not_one(error.to_string()))?;
    let mut json = serde_json::to_vec(&metadata).map_err(|error| not_one(error.to_string()))?;
    // The elements begin at a multiple of eight.
    json.resize(json.len().next_multiple_of(8), b' ');
    Ok(json)
}
