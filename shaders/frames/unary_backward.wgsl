// dx = dy f'(x), element by element: f' is the shader's `fn slope(x: f32) -> f32`.
// x, dy, dx (len)
struct Params { len: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

fn each_element(i: u32) {
    dx[i] = dy[i] * slope(x[i]);
}
