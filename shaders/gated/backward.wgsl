// gated_backward: dg = dy u (σ(g) + g σ'(g)), du = dy g σ(g)
// g, u, dy, dg, du (len); one thread per element

struct Params { len: u32 }

@group(0) @binding(0) var<storage, read> g: array<f32>;
@group(0) @binding(1) var<storage, read> u: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dg: array<f32>;
@group(0) @binding(4) var<storage, read_write> du: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

fn each_element(i: u32) {
    let v = g[i];
    let s = sigmoid(v);
    dg[i] = dy[i] * u[i] * (s + v * sigmoid_slope(v));
    du[i] = dy[i] * v * s;
}
