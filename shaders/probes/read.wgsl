// read: y = Σ x of each thread's part, perhaps several times over: all that memory can do when it is read
// x (4 (mask + 1)) as vectors of four, a power of two of them; y (threads)
// In each of `steps` steps a thread reads 4 vectors, `advance` apart, and goes round at the end.
const WORKGROUP: u32 = 256u;

struct Params { mask: u32, advance: u32, threads: u32, steps: u32 }

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let thread = (group.x + group.y * groups.x) * WORKGROUP + local;
    if thread >= params.threads {
        return;
    }
    var at = thread;
    var a = vec4(0.0);
    var b = vec4(0.0);
    var c = vec4(0.0);
    var d = vec4(0.0);
    for (var step = 0u; step < params.steps; step++) {
        a += x[at & params.mask];
        b += x[(at + params.advance) & params.mask];
        c += x[(at + 2u * params.advance) & params.mask];
        d += x[(at + 3u * params.advance) & params.mask];
        at += 4u * params.advance;
    }
    let sum = a + b + c + d;
    y[thread] = sum.x + sum.y + sum.z + sum.w;
}
