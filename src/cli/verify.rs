//! `lal verify`: every kernel against its twin, on this adapter.

mod lockstep;
mod registry;
mod report;
mod self_test;

use std::path::PathBuf;

use super::device::{DeviceArgs, LimitsName};
use super::failure::{Exit, Usage};
use super::hub::located_if;
use super::output::Output;
use super::places::DataPlaces;
use super::values::{MOST, op, whole};
use crate::engine::device::DeviceError;
use crate::engine::device::gpu::{Gpu, GpuOptions};
use crate::verify::crew::{Crew, Way};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Check only this op (see `lal ops`)
    #[arg(long, value_name = "NAME", value_parser = op)]
    op: Option<String>,
    /// Check only cases whose name contains this
    #[arg(long, value_name = "TEXT")]
    case: Option<String>,
    /// Also check every op at the shapes that training and decoding this preset use
    #[arg(long, value_name = "NAME", conflicts_with = "model")]
    preset: Option<String>,
    /// Also check every op at the shapes that training and decoding this model use: a folder, a .gguf file, or
    /// org/name of a published model
    #[arg(long, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// Train this many steps on the GPU and on the CPU side by side, and name the first node that differs
    #[arg(long, value_name = "STEPS", conflicts_with_all = ["op", "case"])]
    #[arg(value_parser = whole::<u64>(1..=MOST))]
    lockstep: Option<u64>,
    /// Mutation test: break each shader on purpose; every break must be caught
    #[arg(long, conflicts_with_all = ["preset", "model", "lockstep"])]
    self_test: bool,
    /// With --self-test: break each shader a few times instead of many
    #[arg(long, requires = "self_test")]
    quick: bool,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    places: DataPlaces,
}

pub fn run(mut args: Args, output: Output) -> anyhow::Result<Exit> {
    args.model = located_if(args.model, output)?;
    // Whether all is right is also how the program ends.
    let output = output.outlasting();
    if args.self_test {
        return self_test::run(&args, output);
    }
    if args.lockstep.is_some() {
        return lockstep::run(&args, output);
    }
    registry::run(&args, output)
}

impl Args {
    /// A device that shows stray reads and writes; `None` for `--device cpu`.
    fn gpu(&self, options: GpuOptions) -> Result<Option<Gpu>, DeviceError> {
        self.device.gpu(GpuOptions { poison: true, ..options })
    }

    /// Devices for these ways, for each thread; none of them for `--device cpu`.
    fn crews(&self, ways: &[Way]) -> Result<Vec<Crew>, DeviceError> {
        Crew::all(ways, |options| self.gpu(options))
    }

    /// The flags that select the device, for a command to repeat.
    fn device_flags(&self) -> String {
        let limits =
            if self.device.device_limits == LimitsName::Webgpu { " --device-limits webgpu" } else { "" };
        match self.device.device.as_str() {
            "auto" => limits.into(),
            name => format!(" --device '{name}'{limits}"),
        }
    }

    /// The registry's cases that are wanted.
    fn cases(&self) -> Result<Vec<crate::engine::case::Case>, Usage> {
        let of_op = crate::ops::OPS.iter().filter(|op| self.op.as_deref().is_none_or(|name| op.name == name));
        let named = |case: &crate::engine::case::Case| {
            self.case.as_ref().is_none_or(|part| case.name().contains(part.as_str()))
        };
        let cases: Vec<_> = of_op.flat_map(|op| (op.cases)()).filter(named).collect();
        if cases.is_empty() {
            let part = self.case.as_deref().unwrap_or_default();
            return Err(Usage(format!("no case's name holds {part:?}: `lal verify -v` prints the names")));
        }
        Ok(cases)
    }
}
