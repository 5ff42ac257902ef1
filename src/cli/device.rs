//! `--device`: which processor computes.

use std::path::PathBuf;
use std::time::Duration;

use super::output::Output;
use super::values::whole;
use crate::engine::device::cpu::Cpu;
use crate::engine::device::gpu::adapter::{self, DeviceLimits};
use crate::engine::device::gpu::autotune::{Autotune, Choices};
use crate::engine::device::gpu::{Gpu, GpuOptions};
use crate::engine::device::{Device, DeviceError};
use crate::profile::MeasureError;
use crate::profile::limits::Limits;
use crate::profile::roofline::Roofline;
use crate::profile::subject::Subject;

/// Flags about the device.
#[derive(Clone, Debug, clap::Args)]
pub struct DeviceArgs {
    /// Where to compute: auto (a GPU, or the CPU where there is none but a software one), gpu, cpu, or an adapter's
    /// number or part of its name (see `lal devices`)
    #[arg(long, env = "LAL_DEVICE", default_value = "auto", value_name = "auto|gpu|cpu|NAME")]
    pub device: String,
    /// Limits of the adapter to use: all that it has, or the defaults of WebGPU
    #[arg(long, env = "LAL_DEVICE_LIMITS", default_value = "adapter", value_name = "NAME")]
    pub device_limits: LimitsName,
    /// Longest submission to the GPU, in milliseconds, as estimated: longer steps are split. Windows resets a GPU after
    /// 2000
    #[arg(long, env = "LAL_MAX_SUBMIT_MS", default_value_t = 500, value_name = "N",
          value_parser = whole::<u64>(1..=60_000))]
    pub max_submit_ms: u64,
    /// Use fixed kernels instead of timing which are fastest on this adapter
    #[arg(long)]
    pub no_autotune: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LimitsName {
    Adapter,
    Webgpu,
}

/// A device and what the run folder should know of it.
pub enum Opened {
    Cpu(Box<Cpu<f32>>),
    Gpu(Box<Gpu>),
}

impl Opened {
    pub fn device(&mut self) -> &mut dyn Device {
        match self {
            Self::Cpu(cpu) => cpu.as_mut(),
            Self::Gpu(gpu) => gpu.as_mut(),
        }
    }

    /// The device, to be measured.
    pub fn subject(&mut self) -> &mut dyn Subject {
        match self {
            Self::Cpu(cpu) => cpu.as_mut(),
            Self::Gpu(gpu) => gpu.as_mut(),
        }
    }

    /// `cpu` or `gpu`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Cpu(_) => "cpu",
            Self::Gpu(_) => "gpu",
        }
    }
}

impl DeviceArgs {
    /// A GPU for checking; `None` for `--device cpu`. A software one will do.
    pub fn gpu(&self, options: GpuOptions) -> Result<Option<Gpu>, DeviceError> {
        let adapter = match self.device.as_str() {
            "cpu" => return Ok(None),
            "auto" | "gpu" => None,
            name => Some(name.to_owned()),
        };
        let (limits, max_submit) = (self.limits(), Some(self.max_submit()));
        Gpu::open(GpuOptions { adapter, limits, max_submit, ..options }).map(Some)
    }

    fn max_submit(&self) -> Duration {
        Duration::from_millis(self.max_submit_ms)
    }

    fn limits(&self) -> DeviceLimits {
        match self.device_limits {
            LimitsName::Adapter => DeviceLimits::Adapter,
            LimitsName::Webgpu => DeviceLimits::WebGpu,
        }
    }

    /// Opens the device that was asked for, with kernels as chosen before on this machine.
    pub fn open(&self, output: Output) -> Result<Opened, DeviceError> {
        self.open_with(Autotune::On { file: tuning_file(), given: Choices::default() }, output)
    }

    /// The same, with kernels chosen by `autotune` unless the flags say otherwise.
    pub fn open_with(&self, autotune: Autotune, output: Output) -> Result<Opened, DeviceError> {
        self.open_as(GpuOptions { autotune, ..GpuOptions::default() }, output)
    }

    /// Opens the device with all that the adapter has, for finding out what that is.
    pub fn open_extended(&self, output: Output) -> Result<Opened, DeviceError> {
        self.open_as(GpuOptions { extensions: true, ..GpuOptions::default() }, output)
    }

    fn open_as(&self, options: GpuOptions, output: Output) -> Result<Opened, DeviceError> {
        let adapter = match self.device.as_str() {
            "cpu" => return Ok(cpu()),
            "auto" => {
                let adapters = adapter::list();
                if !adapters.iter().any(|adapter| !adapter.software) {
                    output.detail("there is no GPU but a software one: the CPU is faster");
                    return Ok(cpu());
                }
                None
            }
            "gpu" => None,
            name => Some(name.to_owned()),
        };
        let autotune = if self.no_autotune { Autotune::Off } else { options.autotune };
        let (limits, max_submit) = (self.limits(), Some(self.max_submit()));
        let options = GpuOptions { adapter, limits, max_submit, autotune, ..options };
        Ok(Opened::Gpu(Box::new(Gpu::open(options)?)))
    }
}

fn cpu() -> Opened {
    Opened::Cpu(Box::default())
}

/// Where kernel choices are kept between runs, if the machine has such a place.
pub fn tuning_file() -> Option<PathBuf> {
    Some(crate::text::corpus::cache_dir()?.join("tuning.json"))
}

/// Where limits of devices are kept, if the machine has such a place.
pub fn limits_file() -> Option<PathBuf> {
    Some(crate::text::corpus::cache_dir()?.join("limits.json"))
}

/// What `lal bench --limits` measured of a device, if that is kept.
pub fn limits(device: &dyn Subject) -> Option<Limits> {
    limits_file().and_then(|file| Limits::kept(&file, device))
}

/// The roofline of a device, and the day it was measured on if that is kept by `lal bench --limits`; else it is
/// measured now.
pub fn roofline(device: &mut dyn Subject) -> Result<(Roofline, Option<String>), MeasureError> {
    match limits(device) {
        Some(limits) => Ok((limits.roofline(), Some(limits.date))),
        None => Ok((Roofline::measure(device)?, None)),
    }
}
