//! The ways in which cases are run, and the devices and threads that run them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use super::check::{Prepared, is_folded};
use crate::engine::device::DeviceError;
use crate::engine::device::gpu::{Gpu, GpuOptions};
use crate::engine::dispatch::Kernel;

/// A way to run kernels: with or without shader checks, and with limits that make small tensors take the code of large
/// ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    pub name: &'static str,
    pub checked: bool,
    /// See [`GpuOptions::max_grid`].
    pub max_grid: Option<u32>,
    /// See [`GpuOptions::max_binding_bytes`].
    pub max_binding_bytes: Option<u64>,
}

/// Shader checks off; on; with long grids folded; and with bindings so small that tensors are bound in parts.
pub const WAYS: [Way; 4] = [UNCHECKED, CHECKED, FOLDED, IN_PARTS];

const UNCHECKED: Way = Way { name: "unchecked", checked: false, max_grid: None, max_binding_bytes: None };
const CHECKED: Way = Way { name: "checked", checked: true, ..UNCHECKED };
const FOLDED: Way = Way { name: "folded", max_grid: Some(3), ..CHECKED };
const IN_PARTS: Way = Way { name: "in parts", max_binding_bytes: Some(1 << 10), ..FOLDED };

/// Those with shader checks.
pub const CHECKED_WAYS: [Way; 3] = [CHECKED, FOLDED, IN_PARTS];

impl Way {
    /// Whether there is something new to run on a device that was [made ready](Crew::ready): where small bindings and
    /// grids change nothing there is not.
    pub fn applies(&self, prepared: &Prepared, gpu: &Gpu) -> bool {
        let is_confined = self.max_grid.is_some() || self.max_binding_bytes.is_some();
        !is_confined || is_folded(&prepared.case, gpu.target())
    }

    /// Whether a kernel can be run: small bindings do not hold a tensor that an op binds whole.
    pub fn wants(&self, prepared: &Prepared, kernel: &Kernel, gpu: &Gpu) -> bool {
        self.max_binding_bytes.is_none() || prepared.fits(kernel, gpu.target())
    }
}

/// Threads that run cases: each has devices of its own, which take memory.
const MOST_THREADS: usize = 4;

/// What a thread runs cases on: a device for each setting of shader checks. Ways that differ in limits share one, and
/// what it has compiled.
#[derive(Default)]
pub struct Crew {
    ways: Vec<Way>,
    gpus: Vec<(bool, Gpu)>,
}

impl Crew {
    /// One for each core, up to four: most of the time is a driver's compiler, which takes one thread.
    pub fn all(
        ways: &[Way],
        open: impl Fn(GpuOptions) -> Result<Option<Gpu>, DeviceError>,
    ) -> Result<Vec<Self>, DeviceError> {
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(MOST_THREADS));
        (0..threads).map(|_| Self::open(ways, &open)).collect()
    }

    /// Opens the devices that the ways need. `open` may add to their options, or do without any device.
    pub fn open(
        ways: &[Way],
        open: impl Fn(GpuOptions) -> Result<Option<Gpu>, DeviceError>,
    ) -> Result<Self, DeviceError> {
        let mut crew = Self::default();
        for way in ways {
            let is_open = crew.gpus.iter().any(|(checked, _)| *checked == way.checked);
            if !is_open {
                let options = GpuOptions { checked: way.checked, poison: true, ..GpuOptions::default() };
                let Some(gpu) = open(options)? else { return Ok(Self::default()) };
                crew.gpus.push((way.checked, gpu));
            }
            crew.ways.push(*way);
        }
        Ok(crew)
    }

    /// None without a device.
    pub fn ways(&self) -> &[Way] {
        &self.ways
    }

    /// The first device, if there is any.
    pub fn first(&mut self) -> Option<&mut Gpu> {
        let way = *self.ways.first()?;
        Some(self.ready(&way))
    }

    /// The device for one of the ways, with its limits.
    ///
    /// # Panics
    /// When it was not opened for that way.
    pub fn ready(&mut self, way: &Way) -> &mut Gpu {
        let of_way = self.gpus.iter_mut().find(|(checked, _)| *checked == way.checked);
        let (_, gpu) = of_way.expect("a crew has devices for its ways");
        gpu.confine(way.max_binding_bytes, way.max_grid);
        gpu
    }

    pub fn gpus(&mut self) -> impl Iterator<Item = &mut Gpu> {
        self.gpus.iter_mut().map(|(_, gpu)| gpu)
    }
}

/// Does all tasks, on a thread for each crew. `each` is given what they result in as it comes.
///
/// # Errors
/// What `each` returns; tasks that were not begun are left.
pub(super) fn share<T: Sync, R: Send, E>(
    tasks: &[T],
    crews: &mut [Crew],
    act: impl Fn(&T, &mut Crew) -> R + Sync,
    each: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    let (act, next) = (&act, &AtomicUsize::new(0));
    let (sender, results) = mpsc::channel();
    std::thread::scope(|scope| {
        for crew in crews {
            let sender = sender.clone();
            scope.spawn(move || {
                while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // After a failure the receiver is gone.
                    if sender.send(act(task, crew)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        results.into_iter().try_for_each(each)
    })
}
