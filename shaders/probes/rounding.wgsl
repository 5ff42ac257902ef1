// rounding: y = a b + c, element by element: whether it is rounded once or twice
// a, b, c, y (len); one thread per element
const WORKGROUP: u32 = 64u;
// fma(a, b, c), else a * b + c
const FMA: bool = false;

struct Params { len: u32 }

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read> c: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = (group.x + group.y * groups.x) * WORKGROUP + local;
    if i >= params.len {
        return;
    }
    if FMA {
        y[i] = fma(a[i], b[i], c[i]);
    } else {
        y[i] = a[i] * b[i] + c[i];
    }
}
