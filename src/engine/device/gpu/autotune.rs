//! Which of an op's kernels is used: measured once per op and shape, then remembered.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::engine::device::DeviceError;
use crate::engine::dispatch::Kernel;
use crate::engine::plan::PlanNode;
use crate::files::{read_any, write_shared};

/// The variant chosen for each op with its parameters and operand shapes.
pub type Choices = BTreeMap<String, String>;

/// Whether kernels are timed.
#[derive(Clone, Debug, Default)]
pub enum Autotune {
    /// The last variant of each op.
    #[default]
    Off,
    /// A known choice where there is one, else the fastest; on a software adapter the last variant, which
    /// was chosen for one: compiling the others would take longer than they could save.
    On {
        /// Where choices are kept from run to run, for every adapter and driver.
        file: Option<PathBuf>,
        /// Choices of an earlier run that must be made again, so that it goes on to the bit.
        given: Choices,
    },
}

/// Timings of one kernel; the best counts. Kernels take turns: a device that was idle gets faster meanwhile.
const ROUNDS: usize = 5;

/// How long a short kernel is repeated for one timing: the time of a submission would hide its own.
const TIMED: Duration = Duration::from_millis(2);

/// How many times as long as the fastest a long kernel may take to be timed again.
const FAR_BEHIND: u32 = 3;

/// Time for measuring, compilation at the first run included.
const BUDGET: Duration = Duration::from_secs(10);

/// Chooses kernels.
pub(super) struct Tuner {
    on: bool,
    file: Option<PathBuf>,
    /// The adapter, driver and version under which choices are kept.
    device: String,
    known: Choices,
    /// The choices that were made for the plans of this device.
    pub used: Choices,
    /// Time left for measuring.
    budget: Duration,
}

impl Tuner {
    pub fn new(autotune: Autotune, device: String, software: bool) -> Self {
        let (on, file, given) = match autotune {
            Autotune::Off => (false, None, Choices::new()),
            Autotune::On { file, given } => (!software, file, given),
        };
        let mut known =
            file.as_deref().map(|path| read(path).remove(&device).unwrap_or_default()).unwrap_or_default();
        known.extend(given);
        Self { on, file, device, known, used: Choices::new(), budget: BUDGET }
    }

    /// The kernel to use for a node, if that is known without measuring.
    pub fn choose(&mut self, node: &PlanNode, kernels: &[Kernel]) -> Option<usize> {
        let last = kernels.len().checked_sub(1)?;
        if last == 0 {
            return Some(0);
        }
        let key = key(node);
        let place = |variant: &String| kernels.iter().position(|k| k.variant == variant);
        let known = self.used.get(&key).or_else(|| self.known.get(&key)).and_then(place);
        let chosen = known.or_else(|| (!self.on || self.budget.is_zero()).then_some(last))?;
        self.used.insert(key, kernels[chosen].variant.into());
        Some(chosen)
    }

    /// Takes the last kernel, as without tuning, and remembers that.
    pub fn give_up(&mut self, node: &PlanNode, kernels: &[Kernel]) -> usize {
        let last = kernels.len() - 1;
        self.used.insert(key(node), kernels[last].variant.into());
        last
    }

    /// Times each kernel with `run`, which says how long the device took to do it so many times, and remembers the
    /// fastest.
    pub fn measure(
        &mut self,
        node: &PlanNode,
        kernels: &[Kernel],
        mut run: impl FnMut(usize, usize) -> Result<Duration, DeviceError>,
    ) -> Result<usize, DeviceError> {
        let begun = Instant::now();
        let mut time = |kernel: usize, times: usize| run(kernel, times).map(|took| took / times as u32);
        let mut fastest = Vec::with_capacity(kernels.len());
        for kernel in 0..kernels.len() {
            // The first run compiles and warms up.
            time(kernel, 1)?;
            fastest.push(time(kernel, 1)?);
        }
        for _ in 0..ROUNDS {
            for kernel in 0..kernels.len() {
                let best = fastest.iter().min().copied().unwrap_or_default();
                // What a short one took the first time is mostly the submission's.
                if fastest[kernel] <= TIMED.max(best * FAR_BEHIND) {
                    let times = TIMED.as_nanos() / fastest[kernel].as_nanos().max(1);
                    fastest[kernel] = fastest[kernel].min(time(kernel, times.clamp(1, 200) as usize)?);
                }
            }
        }
        let chosen = (0..kernels.len()).min_by_key(|&kernel| fastest[kernel]).unwrap_or_default();
        self.budget = self.budget.saturating_sub(begun.elapsed());
        self.used.insert(key(node), kernels[chosen].variant.into());
        Ok(chosen)
    }

    /// Keeps what is known in the file. That it cannot be written is no error: it is only measured again.
    pub fn save(&mut self) {
        let Some(path) =
            self.file.as_deref().filter(|_| self.used.iter().any(|(k, v)| self.known.get(k) != Some(v)))
        else {
            return;
        };
        self.known.extend(self.used.clone());
        let mut all = read(path);
        all.entry(self.device.clone()).or_default().extend(self.known.clone());
        if let Ok(json) = serde_json::to_vec_pretty(&all) {
            let _ = write_shared(path, &json);
        }
    }
}

/// Op, parameters and operand shapes.
fn key(node: &PlanNode) -> String {
    let shapes: Vec<_> = node.in_specs.iter().chain(&node.out_specs).map(ToString::to_string).collect();
    format!("{} {:?} {}", node.op.info().name, node.op, shapes.join(" "))
}

/// The choices in a file; none when it is missing or damaged.
fn read(path: &Path) -> BTreeMap<String, Choices> {
    let bytes = read_any(path).ok().flatten();
    bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::engine::device::gpu::test_node;

    #[test]
    fn a_measured_choice_is_kept_in_the_file_and_made_again() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("cache/tuning.json");
        let node = test_node();
        let kernels = [Kernel::new("fast", vec![]), Kernel::new("slow", vec![])];
        let on = || Autotune::On { file: Some(file.clone()), given: Choices::new() };

        let mut tuner = Tuner::new(on(), "gpu".into(), false);
        assert_eq!(tuner.choose(&node, &kernels), None);
        let took = |kernel: usize, times: usize| Ok(Duration::from_millis(((1 + kernel) * times) as u64));
        assert_eq!(tuner.measure(&node, &kernels, took)?, 0);
        tuner.save();
        assert_eq!(Tuner::new(on(), "gpu".into(), false).choose(&node, &kernels), Some(0));
        assert_eq!(Tuner::new(on(), "another".into(), false).choose(&node, &kernels), None);

        let given = Choices::from([(key(&node), "slow".to_string())]);
        let mut resumed = Tuner::new(Autotune::On { file: Some(file.clone()), given }, "gpu".into(), false);
        assert_eq!(resumed.choose(&node, &kernels), Some(1));

        fs::write(&file, "damaged")?;
        assert_eq!(Tuner::new(on(), "gpu".into(), false).choose(&node, &kernels), None);
        assert_eq!(Tuner::new(Autotune::Off, "gpu".into(), false).choose(&node, &kernels), Some(1));
        assert_eq!(Tuner::new(on(), "software".into(), true).choose(&node, &kernels), Some(1));
        Ok(())
    }

    /// A submission takes a while by itself, now and then a long one, and a device is slow until it has woken.
    #[test]
    fn what_is_measured_first_does_not_decide() -> Result<(), Box<dyn std::error::Error>> {
        let on = Autotune::On { file: None, given: Choices::new() };
        let kernels = [Kernel::new("fast", vec![]), Kernel::new("slow", vec![])];
        let mut timings = 0;
        let took = |kernel: usize, times: usize| {
            timings += 1;
            let (submission, slowness) = match (timings, kernel) {
                (..=4, 0) => (1500, 3),
                _ => (100, 1),
            };
            Ok(Duration::from_micros(submission + slowness * [9, 20][kernel] * times as u64))
        };
        assert_eq!(Tuner::new(on, "gpu".into(), false).measure(&test_node(), &kernels, took)?, 0);
        Ok(())
    }
}
