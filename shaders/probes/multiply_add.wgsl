// multiply_add: x ← x·a + b, ROUNDS times: all that arithmetic can do in f32
// x, y (len); a thread has 16 chains that do not wait for each other, from x, x + 1, … on; y is the sum of their ends
// a and b are 1, which the compiler does not know: every chain ends at its beginning plus ROUNDS, exactly.
const WORKGROUP: u32 = 256u;
const ROUNDS: u32 = 1024u;
// fma(x, a, b), else x * a + b
const FMA: bool = true;

struct Params { len: u32, a: f32, b: f32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

fn once(x: vec4<f32>, a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    if FMA {
        return fma(x, a, b);
    }
    return x * a + b;
}

// Written out: a loop's own instructions would be a tenth of all.
fn four(x: vec4<f32>, a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    return once(once(once(once(x, a, b), a, b), a, b), a, b);
}

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
    let a = vec4(params.a);
    let b = vec4(params.b);
    var c0 = x[i] + vec4(0.0, 1.0, 2.0, 3.0);
    var c1 = c0 + 4.0;
    var c2 = c0 + 8.0;
    var c3 = c0 + 12.0;
    for (var n = 0u; n < ROUNDS; n += 8u) {
        c0 = four(four(c0, a, b), a, b);
        c1 = four(four(c1, a, b), a, b);
        c2 = four(four(c2, a, b), a, b);
        c3 = four(four(c3, a, b), a, b);
    }
    let sum = c0 + c1 + c2 + c3;
    y[i] = sum.x + sum.y + sum.z + sum.w;
}
