//! Every shader is valid WGSL and translates to the language of every backend.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use lal::engine::device::gpu::shader::parse;
use lal::engine::dispatch::{Dispatch, Operands, Target};
use lal::ops::OPS;
use lal::profile::probes::PROBES;
use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};

/// One dispatch for each shader and set of constants that some case uses on some adapter.
fn dispatches() -> BTreeMap<String, Dispatch> {
    let software = Target { software: true, ..Target::WEBGPU };
    let large = Target {
        max_binding_bytes: 1 << 31,
        workgroup_memory: 48 << 10,
        workgroup_size: 1024,
        ..Target::WEBGPU
    };
    let mut all = BTreeMap::new();
    // The roofline's two shaders belong to no op of the registry.
    for case in OPS.iter().chain(&PROBES).flat_map(|op| (op.cases)()) {
        let inputs: Vec<_> = case.inputs.iter().map(|i| i.spec).collect();
        let outputs = case.op.infer(&inputs).unwrap_or_else(|e| panic!("{}: {e}", case.name()));
        for target in [&Target::WEBGPU, &software, &large] {
            let kernels = case.op.kernels(&Operands { inputs: &inputs, outputs: &outputs }, target);
            for dispatch in kernels.into_iter().flat_map(|kernel| kernel.dispatches) {
                let name = format!("{} {:?}", dispatch.shader.name, dispatch.constants);
                all.insert(name, dispatch);
            }
        }
    }
    all
}

fn wgsl_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files = Vec::new();
    for path in entries.map(|e| e.expect("a folder that opens can be listed").path()) {
        if path.is_dir() {
            files.extend(wgsl_files(&path));
        } else {
            files.push(path);
        }
    }
    files
}

#[test]
fn every_shader_is_valid_and_translates_to_every_backend() {
    for (name, dispatch) in dispatches() {
        let parsed = parse(&dispatch.shader, &dispatch.constants).unwrap_or_else(|e| panic!("{e}"));
        parsed.interface.pack(&dispatch).unwrap_or_else(|e| panic!("{name}: {e}"));
        let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
            .validate(&parsed.module)
            .unwrap_or_else(|e| panic!("{name}: {:?}", e.into_inner()));
        translate(&name, &parsed.module, &info);
    }
}

fn translate(name: &str, module: &naga::Module, info: &ModuleInfo) {
    spv::write_vec(module, info, &spv::Options::default(), None)
        .unwrap_or_else(|e| panic!("{name} to SPIR-V: {e}"));
    msl::write_string(module, info, &msl::Options::default(), &msl::PipelineOptions::default())
        .unwrap_or_else(|e| panic!("{name} to MSL: {e}"));
    let (options, pipeline) = (hlsl::Options::default(), hlsl::PipelineOptions::default());
    hlsl::Writer::new(&mut String::new(), &options, &pipeline)
        .write(module, info, None)
        .unwrap_or_else(|e| panic!("{name} to HLSL: {e}"));
}

#[test]
fn every_shader_file_is_used_by_some_case() {
    let used: Vec<_> = dispatches().into_values().map(|dispatch| dispatch.shader).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
    for file in wgsl_files(&folder) {
        let text = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let in_use = used.iter().any(|s| s.source == text || s.common.contains(&text.as_str()));
        assert!(in_use, "no case of any op uses {}", file.display());
    }
}
