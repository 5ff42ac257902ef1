// combine: y = a x + b z, or a x alone, or y = a y + b z in place
// x, z, y (len); one thread per element
// 1 when there is a z
const SECOND: u32 = 1u;
// 1 when y itself is x; z is bound in its place and not read
const IN_PLACE: u32 = 0u;

struct Params { len: u32, a: f32, b: f32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> z: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

fn each_element(i: u32) {
    var v: f32;
    if IN_PLACE == 1u {
        v = params.a * y[i];
    } else {
        v = params.a * x[i];
    }
    if SECOND == 1u {
        v += params.b * z[i];
    }
    y[i] = v;
}
