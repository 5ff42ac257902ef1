// reduction: x ← mean(x) + 1 over a workgroup, `rounds` times, by the tree in workgroup memory that ops use
// x, y (groups, WORKGROUP); one thread per number
const WORKGROUP: u32 = 256u;

struct Params { rounds: u32, len: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let number = group.x + group.y * groups.x;
    // The last workgroups of a folded grid have nothing to do.
    if number * WORKGROUP >= params.len {
        return;
    }
    let i = number * WORKGROUP + local;
    var value = x[i];
    for (var round = 0u; round < params.rounds; round++) {
        value = reduce_sum(local, value) / f32(WORKGROUP) + 1.0;
    }
    y[i] = value;
}
