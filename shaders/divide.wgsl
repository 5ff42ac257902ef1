// divide: y = x / (norm + eps)
// x, y (len); norm (1); one thread per element

struct Params { len: u32, eps: f32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> norm: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

fn each_element(i: u32) {
    y[i] = x[i] / (norm[0] + params.eps);
}
