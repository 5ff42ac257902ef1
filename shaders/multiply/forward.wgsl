// multiply: y = a b
// a, b, y (len); one thread per element

struct Params { len: u32 }

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

fn each_element(i: u32) {
    y[i] = a[i] * b[i];
}
