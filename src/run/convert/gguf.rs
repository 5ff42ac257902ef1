//! GGUF files for llama.cpp.

use std::fs;
use std::path::Path;

use super::{ConvertError, Converted, Source, own};
use crate::files::AtomicFile;
use crate::interop::container::Tensor;
use crate::interop::dtype::Dtype;
use crate::interop::families::gguf::{GPT2, Gguf, ROPE_FREQS, Written, read, write};
use crate::interop::families::{Family, Heads, are_equal};
use crate::interop::gguf::metadata::Metadata;
use crate::interop::gguf_tokenizer;
use crate::interop::writer::{self, NewTensor, gguf_dtype};
use crate::models::config::ModelConfig;
use crate::run::model_file::{FileTensor, Layout, config_of, config_value};
use crate::run::tensor_file::{Entry, Give};
use crate::text::tokenizer::gguf::GgufTokenizer;

const TO: &str = "GGUF";
const FILE_TYPE: &str = "general.file_type";
const QUANTIZATION: &str = "general.quantization_version";

/// Writes a model as a file at `out`, where none is yet.
///
/// # Errors
/// When something is there already, the model or its tokenizer is none that llama.cpp has, or a file cannot be read or
/// written: then nothing is left at `out`.
pub fn gguf(source: &mut Source, out: &Path, dtype: Option<Dtype>) -> Result<Converted, ConvertError> {
    source.check(TO)?;
    if fs::symlink_metadata(out).is_ok() {
        return Err(ConvertError::Taken(out.to_owned()));
    }
    let (file, converted) = match source.model.layout() {
        Layout::Gguf(..) => again(source, out, dtype)?,
        layout => new(source, layout, out, dtype)?,
    };
    file.commit()?;
    Ok(converted)
}

/// From a GGUF file: all that it says stays, and so do the tensors' numbers.
fn again(source: &Source, out: &Path, dtype: Option<Dtype>) -> Result<(AtomicFile, Converted), ConvertError> {
    let (container, parameters) = (source.model.container(), source.parameters()?);
    // An adapter changes numbers, which are written in a format that can be.
    let changed =
        if source.adapter.is_some() { source.model.layout().tensors(&parameters) } else { Vec::new() };
    let dtype = if changed.is_empty() { dtype } else { Some(source.dtype(dtype)) };
    let mut metadata = container.metadata().clone();
    if let Some(dtype) = dtype {
        put_type(&mut metadata, dtype);
    }
    let format = |tensor: &Tensor| -> Result<Dtype, ConvertError> {
        let own = container.check_type(tensor)?;
        Ok(dtype.map_or(own, |dtype| gguf_dtype(&tensor.shape, dtype)))
    };
    let tensors = container.tensors();
    let mut new = Vec::new();
    for tensor in tensors {
        new.push(NewTensor {
            name: tensor.name.clone(),
            shape: tensor.shape.clone(),
            dtype: format(tensor)?,
        });
    }
    let file = writer::gguf(out, &metadata, &new, |place, sink| -> Result<(), ConvertError> {
        let tensor = &tensors[place];
        if let Some(changed) = changed.iter().find(|changed| changed.entry.name == tensor.name) {
            let read = |parameter: &Entry, give: Give| {
                give(&source.read(parameter)?);
                Ok::<_, ConvertError>(())
            };
            return changed.give(read, &mut |part| sink.elements(part));
        }
        if tensor.dtype == Some(new[place].dtype) {
            return Ok(container.read_bytes(tensor, |part| sink.bytes(part))?);
        }
        Ok(container.read(tensor, 0..tensor.rows(), |part| sink.elements(part))?)
    })?;
    Ok((file, Converted { tensors: new.len(), bytes: bytes(&new), remarks: Vec::new() }))
}

/// From a folder.
fn new(
    source: &mut Source,
    layout: Layout,
    out: &Path,
    dtype: Option<Dtype>,
) -> Result<(AtomicFile, Converted), ConvertError> {
    let config = source.model.config().clone();
    let gguf: &'static Gguf = match layout {
        Layout::Family(Family { gguf: Some(gguf), .. }, _) => gguf,
        Layout::Gpt2 => &GPT2,
        _ => return Err(source.refused(TO, own(&config))),
    };
    let dtype = source.dtype(dtype);
    let json = config_value(layout, &config, &source.tokenizer);
    let Written { keys, rope_freqs, remarks } =
        write(gguf, &json).map_err(|what| source.refused(TO, what))?;
    let mut metadata = Metadata::of(out);
    metadata.insert("general.architecture", gguf.architecture);
    metadata.insert("general.type", "model");
    let name = source.place.canonicalize().ok();
    let name = name.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    metadata.insert("general.name", name.unwrap_or_default());
    for (key, value) in keys {
        metadata.insert(&format!("{}.{key}", gguf.architecture), value);
    }
    put_type(&mut metadata, dtype);
    let tokenizer = GgufTokenizer::of(&source.tokenizer, config.vocab_size);
    gguf_tokenizer::write(tokenizer.map_err(|what| source.refused(TO, what))?, &mut metadata);

    let parameters = source.parameters()?;
    let tensors = Layout::Gguf(gguf, Heads::of(&config)).tensors(&parameters);
    let new = |tensor: &FileTensor| {
        let shape = tensor.entry.shape.dims().to_vec();
        NewTensor { name: tensor.entry.name.clone(), dtype: gguf_dtype(&shape, dtype), shape }
    };
    let mut new: Vec<_> = tensors.iter().map(new).collect();
    if let Some(factors) = &rope_freqs {
        new.push(NewTensor { name: ROPE_FREQS.into(), shape: vec![factors.len()], dtype: Dtype::F32 });
    }
    agrees(source, layout, &metadata, &new, rope_freqs.as_deref())
        .map_err(|what| source.refused(TO, what))?;
    let file = writer::gguf(out, &metadata, &new, |place, sink| -> Result<(), ConvertError> {
        let Some(tensor) = tensors.get(place) else {
            sink.elements(rope_freqs.as_deref().unwrap_or_default());
            return Ok(());
        };
        tensor.give(
            |parameter, give| {
                give(&source.read(parameter)?);
                Ok(())
            },
            &mut |part| sink.elements(part),
        )
    })?;
    Ok((file, Converted { tensors: new.len(), bytes: bytes(&new), remarks }))
}

/// Refuses what would be read as another model.
fn agrees(
    source: &Source,
    layout: Layout,
    metadata: &Metadata,
    tensors: &[NewTensor],
    rope_freqs: Option<&[f32]>,
) -> Result<(), String> {
    let shapes =
        |name: &str| tensors.iter().find(|tensor| tensor.name == name).map(|tensor| tensor.shape.clone());
    let described = read(metadata, &shapes, rope_freqs).map_err(|error| error.to_string())?;
    let config = source.model.config();
    // A head and biases of zeros may have been added, which change nothing.
    let found = config_of(&described)?;
    let found = ModelConfig { tied: config.tied, bias: config.bias, dropout: config.dropout, ..found };
    if are_equal(config, &found) {
        return Ok(());
    }
    let [own, read] = [config, &found].map(|config| config_value(layout, config, &source.tokenizer));
    let keys = own.as_object().into_iter().flatten();
    let others: Vec<_> = keys
        .filter(|(key, value)| read[key.as_str()] != **value)
        .map(|(key, value)| format!("{key} is {value}, and there it is {}", read[key.as_str()]))
        .collect();
    Err(format!("{}: train with that, or choose --to hf", others.join("; ")))
}

fn put_type(metadata: &mut Metadata, dtype: Dtype) {
    let number: u32 = match dtype {
        Dtype::F16 => 1,
        Dtype::Q8_0 => 7,
        Dtype::BF16 => 32,
        _ => 0,
    };
    metadata.insert(FILE_TYPE, number);
    if dtype == Dtype::Q8_0 {
        metadata.insert(QUANTIZATION, 2_u32);
    }
}

fn bytes(tensors: &[NewTensor]) -> u64 {
    tensors.iter().map(|tensor| tensor.dtype.bytes(tensor.elements())).sum()
}
