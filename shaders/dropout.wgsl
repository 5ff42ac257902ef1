// dropout: y = x · keep / (1 - p), keep being a hash of (seed, salt, index)
// x, y (len); one thread per element

struct Params { first: u32, len: u32, salt: u32, threshold: u32, scale: f32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

fn each_element(i: u32) {
    let key = mask_key(step.seed, params.salt);
    y[i] = select(0.0, x[i] * params.scale, keep(key, params.first + i, params.threshold));
}
