//! Folders for `transformers`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{ConvertError, Converted, Source, own};
use crate::files::{AtomicFile, FileError, write_whole};
use crate::interop::container::{INDEX, MODEL};
use crate::interop::dtype::Dtype;
use crate::interop::families::Family;
use crate::interop::writer::{NewTensor, safetensors};
use crate::run::model_file::{CONFIG, FileTensor, Layout, config_value};

const TO: &str = "transformers";
const GENERATION: &str = "generation_config.json";

/// The most bytes of one file of several.
const SHARD: u64 = 5_000_000_000;

/// Writes a model as a folder, which is new or empty.
///
/// # Errors
/// When something is there already, the model is none that `transformers` has, or a file cannot be read or written:
/// then nothing is left at `out`.
pub fn hf(source: &mut Source, out: &Path, dtype: Option<Dtype>) -> Result<Converted, ConvertError> {
    source.check(TO)?;
    let layout = match source.model.layout() {
        Layout::Gguf(gguf, heads) => Family::of_gguf(gguf, source.model.config())
            .map_or_else(|| Layout::of(source.model.config()), |family| Layout::Family(family, heads)),
        layout => layout,
    };
    if layout == Layout::Plain {
        return Err(source.refused(TO, own(source.model.config())));
    }
    let dtype = source.dtype(dtype);
    if dtype == Dtype::Q8_0 {
        return Err(source.refused(TO, "safetensors has no q8_0: choose --dtype f32, f16 or bf16"));
    }
    let is_free = match fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_none(),
        Err(_) => fs::symlink_metadata(out).is_err(),
    };
    if !is_free {
        return Err(ConvertError::Taken(out.to_owned()));
    }
    let mut partial = out.as_os_str().to_owned();
    partial.push(".partial");
    let folder = Partial::create(PathBuf::from(partial))?;
    let converted = write(source, layout, dtype, &folder.0, SHARD)?;
    folder.commit(out)?;
    Ok(converted)
}

/// The extensions of what is written.
const OURS: [&str; 4] = ["json", "jinja", "safetensors", "partial"];

/// A folder in the making; dropped before it is committed, it is removed.
struct Partial(PathBuf);

impl Partial {
    fn create(path: PathBuf) -> Result<Self, ConvertError> {
        // What a killed process left is overwritten; what else is there may be anything.
        let is_ours = |path: &Path| {
            let extension = path.extension().unwrap_or_default();
            path.is_file() && OURS.iter().any(|ours| extension == *ours)
        };
        if let Ok(entries) = fs::read_dir(&path) {
            if !entries.flatten().all(|entry| is_ours(&entry.path())) {
                return Err(ConvertError::Taken(path));
            }
            fs::remove_dir_all(&path).map_err(FileError::at("remove", &path))?;
        }
        fs::create_dir_all(&path).map_err(FileError::at("create", &path))?;
        Ok(Self(path))
    }

    fn commit(self, out: &Path) -> Result<(), FileError> {
        // An empty folder is replaced, which not every system does by renaming.
        let _ = fs::remove_dir(out);
        fs::rename(&self.0, out).map_err(FileError::at("write", out))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn write(
    source: &mut Source,
    layout: Layout,
    dtype: Dtype,
    folder: &Path,
    shard: u64,
) -> Result<Converted, ConvertError> {
    source.tokenizer.save(folder)?;
    let mut config = config_value(layout, source.model.config(), &source.tokenizer);
    config["torch_dtype"] = torch_name(dtype).into();
    put(&folder.join(CONFIG), &config)?;
    let generation = folder.join(GENERATION);
    if !generation.exists() {
        let (begin, end) = (source.tokenizer.begin(), source.tokenizer.end());
        put(&generation, &json!({ "bos_token_id": begin, "eos_token_id": end }))?;
    }
    let parameters = source.parameters()?;
    let tensors = layout.tensors(&parameters);
    let mut shards: Vec<(Vec<&FileTensor>, u64)> = Vec::new();
    for tensor in &tensors {
        let bytes = dtype.bytes(tensor.entry.shape.len());
        match shards.last_mut().filter(|(_, held)| held + bytes <= shard) {
            Some((held, total)) => {
                held.push(tensor);
                *total += bytes;
            }
            None => shards.push((vec![tensor], bytes)),
        }
    }
    let (count, total) = (shards.len(), shards.iter().map(|(_, bytes)| bytes).sum());
    let mut map = Map::new();
    for (number, (tensors, _)) in shards.iter().enumerate() {
        let name = match count {
            1 => MODEL.to_owned(),
            _ => format!("model-{:05}-of-{count:05}.safetensors", number + 1),
        };
        map.extend(tensors.iter().map(|tensor| (tensor.entry.name.clone(), name.as_str().into())));
        weights(source, layout, dtype, &folder.join(name), tensors)?.commit()?;
    }
    if count > 1 {
        put(&folder.join(INDEX), &json!({ "metadata": { "total_size": total }, "weight_map": map }))?;
    }
    Ok(Converted { tensors: tensors.len(), bytes: total, remarks: Vec::new() })
}

fn weights(
    source: &mut Source,
    layout: Layout,
    dtype: Dtype,
    path: &Path,
    tensors: &[&FileTensor],
) -> Result<AtomicFile, ConvertError> {
    let new = |tensor: &&FileTensor| {
        let entry = &tensor.entry;
        NewTensor { name: entry.name.clone(), shape: entry.shape.dims().to_vec(), dtype }
    };
    let new: Vec<_> = tensors.iter().map(new).collect();
    // To the bit, also where 1 is added on the tape.
    let is_same = source.model.layout() == layout && source.adapter.is_none();
    safetensors(path, &new, ("format", "pt"), |place, sink| {
        let tensor = tensors[place];
        if is_same && source.model.has(&tensor.entry.name) {
            sink.elements(&source.model.copied(&tensor.entry)?);
            return Ok(());
        }
        tensor.give(
            |parameter, give| -> Result<(), ConvertError> {
                give(&source.read(parameter)?);
                Ok(())
            },
            &mut |part| sink.elements(part),
        )
    })
}

fn torch_name(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F16 => "float16",
        Dtype::BF16 => "bfloat16",
        _ => "float32",
    }
}

fn put(path: &Path, json: &Value) -> Result<(), FileError> {
    write_whole(path, format!("{json:#}\n").as_bytes())
}
