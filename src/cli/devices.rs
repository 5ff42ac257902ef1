//! `lal devices`: the adapters of this machine.

use serde::Serialize;
use serde_json::json;

use super::failure::Exit;
use super::output::Output;
use crate::engine::device::DeviceError;
use crate::engine::device::gpu::adapter::{self, AdapterEntry};
use crate::profile::columns::wrapped;

#[derive(Serialize)]
struct Row<'a> {
    index: usize,
    name: &'a str,
    backend: &'a str,
    driver: &'a str,
    software: bool,
    memory_bytes: Option<u64>,
    max_binding_bytes: u64,
    workgroup_memory_bytes: u32,
    workgroup_invocations: u32,
}

impl<'a> Row<'a> {
    fn new(index: usize, adapter: &'a AdapterEntry) -> Self {
        let target = &adapter.target;
        Self {
            index,
            name: &adapter.name,
            backend: &adapter.backend,
            driver: &adapter.driver,
            software: adapter.software,
            memory_bytes: adapter.memory,
            max_binding_bytes: target.max_binding_bytes,
            workgroup_memory_bytes: target.workgroup_memory,
            workgroup_invocations: target.workgroup_size,
        }
    }
}

pub fn run(output: Output) -> anyhow::Result<Exit> {
    let adapters = adapter::list();
    for (index, adapter) in adapters.iter().enumerate() {
        let row = Row::new(index, adapter);
        if output.json {
            output.named("device", &row)?;
            continue;
        }
        let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
        output.line(wrapped(&format!("{index}: {} ({}, {})", row.name, row.backend, row.driver), 3))?;
        let limits = format!(
            "   memory {}, binding {}, workgroup {} invocations and {} KiB{}",
            row.memory_bytes.map_or("unknown".into(), mib),
            mib(row.max_binding_bytes),
            row.workgroup_invocations,
            row.workgroup_memory_bytes >> 10,
            if row.software { "; a rasteriser on the CPU: `--device cpu` is faster" } else { "" }
        );
        output.line(wrapped(&limits, 3))?;
    }
    if adapters.is_empty() {
        return Err(DeviceError::NoAdapter.into());
    }
    if output.json {
        output.named("done", &json!({"adapters": adapters.len()}))?;
    }
    Ok(Exit::Done)
}
