//! Limits on disk, by device and driver: what was measured once need not be measured again.

use std::collections::BTreeMap;
use std::path::Path;

use super::Limits;
use crate::files::{FileError, read_any, write_shared};
use crate::profile::subject::Subject;

impl Limits {
    /// What was kept in `file` for this device under its present driver.
    pub fn kept(file: &Path, device: &dyn Subject) -> Option<Self> {
        read(file).remove(&key(&device.describe(), &device.driver()))
    }

    /// All that was kept in `file`, of other machines too if it was brought from them.
    pub fn all_kept(file: &Path) -> Vec<Self> {
        read(file).into_values().collect()
    }

    /// Keeps them in `file`, in place of what was kept for the same device and driver.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn keep(&self, file: &Path) -> Result<(), FileError> {
        let mut all = read(file);
        all.insert(key(&self.device, &self.driver), self.clone());
        // A map of numbers and strings is always JSON.
        let json = serde_json::to_vec_pretty(&all).unwrap_or_default();
        write_shared(file, &json)
    }
}

fn key(device: &str, driver: &str) -> String {
    format!("{device}, {driver}")
}

/// The limits in a file; none when it is missing, damaged or of another version's making.
fn read(file: &Path) -> BTreeMap<String, Limits> {
    let bytes = read_any(file).ok().flatten();
    bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::engine::device::Device;
    use crate::engine::device::cpu::Cpu;
    use crate::profile::limits::{Arithmetic, Bandwidth};

    #[test]
    fn limits_are_kept_by_device_and_driver() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("cache/limits.json");
        let cpu = Cpu::<f32>::default();
        let limits = |driver: String, fma_per_s: f64| Limits {
            device: cpu.describe(),
            driver,
            arithmetic: Arithmetic { fma_per_s, multiply_add_per_s: 3e9, ..Arithmetic::default() },
            memory: vec![Bandwidth { bytes: 1 << 20, read_bytes_per_s: 0.1, copy_bytes_per_s: 1.0 / 3.0 }],
            ..Limits::default()
        };
        assert_eq!(Limits::kept(&file, &cpu), None);
        limits("another".into(), 5e9).keep(&file)?;
        assert_eq!(Limits::kept(&file, &cpu), None, "the limits of another driver");
        let own = limits(cpu.driver(), 2e9);
        own.keep(&file)?;
        assert_eq!(Limits::kept(&file, &cpu), Some(own.clone()));
        assert_eq!(Limits::all_kept(&file).len(), 2);
        // Of the two forms of a multiply-add the faster counts, as two operations.
        assert_eq!(own.roofline().gflops, 6.0);

        fs::write(&file, "damaged")?;
        assert_eq!(Limits::kept(&file, &cpu), None);
        Ok(())
    }
}
