//! `lal bench --limits` as a person meets it: what it prints and keeps, and who uses it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use lal::engine::device::gpu::adapter;
use serde_json::Value;

/// The program with a cache of its own.
fn cached(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::cargo_bin("lal").expect("the program is built with the tests");
    command.env("XDG_CACHE_HOME", folder).env_remove("LAL_DEVICE").env_remove("LAL_DEVICE_LIMITS").args(args);
    command
}

fn printed(command: &mut Command) -> String {
    String::from_utf8(command.assert().success().get_output().stdout.clone()).unwrap()
}

#[test]
fn the_limits_of_a_processor_fit_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let text = printed(&mut cached(folder.path(), &["bench", "--limits", "--device", "cpu"]));
    for part in ["fma(a, b, c)", "a product of large matrices", "   1 MiB", "GB/s"] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    assert!(!text.contains("a dispatch"), "a processor has none:\n{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
}

/// On a software adapter, too, in less than two minutes.
#[cfg(unix)]
#[test]
fn the_limits_of_an_adapter_are_measured_kept_and_used() {
    if adapter::list().is_empty() {
        assert!(
            std::env::var_os("LAL_ALLOW_NO_GPU").is_some(),
            "Set LAL_ALLOW_NO_GPU=1 to go without a GPU."
        );
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let text = printed(&mut cached(folder.path(), &["bench", "--limits", "--device", "gpu", "--json"]));
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(begun.elapsed() < Duration::from_secs(120), "it took {:?}", begun.elapsed());
    let (done, rows) = rows.split_last().unwrap();
    assert_eq!(done["event"], "done");
    for row in rows {
        let problem = row["problem"].is_string();
        let value = &row["value"];
        assert_eq!(row["event"], "limit");
        assert!(value.is_boolean() || problem || value.as_f64().is_some_and(|x| x > 0.0), "{row}");
    }
    let names: BTreeSet<&str> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    for name in
        ["fma", "multiply_add_is_fused", "copy", "stride_32", "workgroup_reduction", "dispatch", "pipeline"]
    {
        assert!(names.contains(name), "no {name} among {names:?}");
    }
    let sizes: Vec<_> = rows.iter().filter(|row| row["name"] == "read").map(|row| &row["bytes"]).collect();
    assert!(sizes.len() >= 4 && *sizes[0] == 1 << 20, "{sizes:?}");

    assert!(folder.path().join("lal/limits.json").is_file());
    let text = printed(&mut cached(folder.path(), &["bench", "--device", "gpu", "--op", "sum"]));
    assert!(text.contains(&format!("limits measured on {}", done["date"].as_str().unwrap())), "{text}");
}
