//! `lal inspect tensors`: what is in a file of tensors.

use std::path::PathBuf;

use serde::Serialize;

use crate::cli::failure::Exit;
use crate::cli::hub::located;
use crate::cli::output::Output;
use crate::interop::container::{Container, ContainerError, Format, Tensor, shown};
use crate::interop::gguf::value::{Array, Value};
use crate::profile::columns::COLUMNS;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of a model, a .safetensors or .gguf file, or org/name of a published model
    #[arg(long, env = "LAL_MODEL", value_name = "MODEL")]
    model: PathBuf,
    /// Read all elements: least, greatest, mean and root mean square of each tensor
    #[arg(long)]
    stats: bool,
}

/// Values of an array that are shown.
const SHOWN: usize = 8;

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum Event<'a> {
    Metadata {
        key: &'a str,
        r#type: String,
        /// Of an array the first values.
        value: &'a Value,
        #[serde(skip_serializing_if = "Option::is_none")]
        length: Option<usize>,
    },
    Tensor {
        name: &'a str,
        dtype: &'a str,
        shape: &'a [usize],
        bytes: u64,
        #[serde(flatten)]
        stats: Option<Stats>,
    },
    Done {
        format: &'a str,
        tensors: usize,
        elements: usize,
        bytes: u64,
    },
}

#[derive(Clone, Copy, Serialize)]
struct Stats {
    min: f32,
    max: f32,
    mean: f64,
    rms: f64,
}

impl Stats {
    /// `None` of a tensor that has no elements, or none that Lal can read.
    fn of(container: &Container, tensor: &Tensor) -> Result<Option<Self>, ContainerError> {
        if tensor.dtype.is_none() || tensor.elements() == 0 {
            return Ok(None);
        }
        let (mut min, mut max, mut sum, mut squares) = (f32::INFINITY, f32::NEG_INFINITY, 0.0, 0.0);
        container.read(tensor, 0..tensor.rows(), |part| {
            for &x in part {
                (min, max) = (min.min(x), max.max(x));
                sum += f64::from(x);
                squares += f64::from(x) * f64::from(x);
            }
        })?;
        let count = tensor.elements() as f64;
        Ok(Some(Self { min, max, mean: sum / count, rms: (squares / count).sqrt() }))
    }
}

pub fn run(args: &Args, output: Output) -> anyhow::Result<Exit> {
    let container = Container::open(&located(&args.model, output)?)?;
    let format = match container.format() {
        Format::Gguf => "gguf",
        Format::Safetensors => "safetensors",
    };
    metadata(&container, output)?;
    let tensors = container.tensors();
    let width = |of: fn(&Tensor) -> usize| tensors.iter().map(of).max().unwrap_or(0);
    let name_width = width(|tensor| tensor.name.chars().count());
    let type_width = width(|tensor| tensor.type_name.len());
    let shape_width = if args.stats { width(|tensor| shown(&tensor.shape).len()) } else { 0 };
    for tensor in tensors {
        let stats = if args.stats { Stats::of(&container, tensor)? } else { None };
        if output.json {
            let Tensor { name, type_name: dtype, shape, bytes, .. } = tensor;
            output.event(&Event::Tensor { name, dtype, shape, bytes: *bytes, stats })?;
            continue;
        }
        let Tensor { name, type_name, shape, .. } = tensor;
        let mut line =
            format!("{name:<name_width$}  {type_name:<type_width$}  {:<shape_width$}", shown(shape));
        if let Some(Stats { min, max, mean, rms }) = stats {
            line += &format!("  min {min:>10.3e}  max {max:>10.3e}  mean {mean:>10.3e}  rms {rms:>9.3e}");
        }
        output.line(line.trim_end())?;
    }
    let elements = tensors.iter().map(Tensor::elements).fold(0, usize::saturating_add);
    let bytes = tensors.iter().map(|tensor| tensor.bytes).fold(0, u64::saturating_add);
    if output.json {
        output.event(&Event::Done { format, tensors: tensors.len(), elements, bytes })?;
    } else {
        let count = tensors.len();
        output.line(format!("\n{format}: {count} tensors, {elements} elements, {bytes} bytes"))?;
    }
    Ok(Exit::Done)
}

fn metadata(container: &Container, output: Output) -> anyhow::Result<()> {
    let entries = container.metadata().entries();
    let key_width = entries.iter().map(|(key, _)| key.chars().count()).max().unwrap_or(0);
    let kind_width = entries.iter().map(|(_, value)| value.kind().len()).max().unwrap_or(0);
    for (key, value) in entries {
        let length = if let Value::Array(array) = value { Some(array.len()) } else { None };
        let short = match value {
            Value::Array(array) => &Value::Array(array.first(SHOWN)),
            other => other,
        };
        if output.json {
            output.event(&Event::Metadata { key, r#type: value.kind(), value: short, length })?;
        } else {
            let line = format!("{key:<key_width$}  {:<kind_width$}  {}", value.kind(), text(short, length)?);
            output.line(cut(&line, COLUMNS.max(key_width + kind_width + 34)).trim_end())?;
        }
    }
    if !output.json && !entries.is_empty() {
        output.line("")?;
    }
    Ok(())
}

/// A value in one line.
fn text(value: &Value, length: Option<usize>) -> serde_json::Result<String> {
    let json = serde_json::to_string(value)?;
    let rest = |array: &Array| length.is_some_and(|length| length > array.len());
    Ok(match value {
        Value::Array(array) if rest(array) => format!("{}, …]", json.trim_end_matches(']')),
        _ => json,
    })
}

/// The beginning of a line that is longer.
fn cut(line: &str, most: usize) -> String {
    if line.chars().count() <= most {
        return line.to_owned();
    }
    line.chars().take(most - 1).chain(['…']).collect()
}
