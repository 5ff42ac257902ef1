// copy: y = x, perhaps several times over: all that memory can do when it is read and written
// x, y (4 (mask + 1)) as vectors of four, a power of two of them
// In each of `steps` steps a thread copies 4 vectors, `advance` apart, and goes round at the end.
const WORKGROUP: u32 = 256u;

struct Params { mask: u32, advance: u32, threads: u32, steps: u32 }

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    var at = (group.x + group.y * groups.x) * WORKGROUP + local;
    if at >= params.threads {
        return;
    }
    for (var step = 0u; step < params.steps; step++) {
        let i = at & params.mask;
        let j = (at + params.advance) & params.mask;
        let k = (at + 2u * params.advance) & params.mask;
        let l = (at + 3u * params.advance) & params.mask;
        // All four are on their way before the first is written.
        let a = x[i];
        let b = x[j];
        let c = x[k];
        let d = x[l];
        y[i] = a;
        y[j] = b;
        y[k] = c;
        y[l] = d;
        at += 4u * params.advance;
    }
}
