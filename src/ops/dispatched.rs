//! Every shader with every set of constants that ops dispatch on their cases.

use std::collections::BTreeMap;

use crate::engine::dispatch::{Dispatch, Extensions, Operands, Target};
use crate::engine::op::{OpError, OpInfo};

/// Adapters that get different kernels: one with WebGPU's limits, a rasteriser on the CPU, a large GPU with all
/// extensions.
const TARGETS: [Target; 3] = [
    Target::WEBGPU,
    Target { software: true, ..Target::WEBGPU },
    Target {
        max_binding_bytes: 1 << 31,
        workgroup_memory: 48 << 10,
        workgroup_size: 1024,
        extensions: Extensions::ALL,
        ..Target::WEBGPU
    },
];

/// One dispatch for each shader and set of constants that some case uses on some adapter, by a name such as
/// `matmul/naive,TRANSPOSE_B=1`: that of the shader, and its constants in alphabetical order.
pub fn dispatched(
    ops: impl IntoIterator<Item = &'static OpInfo>,
) -> Result<BTreeMap<String, Dispatch>, OpError> {
    let mut all = BTreeMap::new();
    for case in ops.into_iter().flat_map(|op| (op.cases)()) {
        let inputs: Vec<_> = case.inputs.iter().map(|i| i.spec).collect();
        let outputs = case.op.infer(&inputs).map_err(|error| error.at(&case.name()))?;
        for target in &TARGETS {
            let kernels = case.op.kernels(&Operands { inputs: &inputs, outputs: &outputs }, target);
            all.extend(kernels.into_iter().flat_map(|kernel| kernel.dispatches).map(|d| (name(&d), d)));
        }
    }
    Ok(all)
}

fn name(dispatch: &Dispatch) -> String {
    let constants: BTreeMap<_, _> = dispatch.constants.iter().copied().collect();
    let constants = constants.into_iter().map(|(name, value)| format!(",{name}={value}"));
    std::iter::once(dispatch.shader.name.to_owned()).chain(constants).collect()
}
