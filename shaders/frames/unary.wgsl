// y = f(x), element by element: f is the shader's `fn value(x: f32) -> f32`.
// x, y (len)
struct Params { len: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

fn each_element(i: u32) {
    y[i] = value(x[i]);
}
