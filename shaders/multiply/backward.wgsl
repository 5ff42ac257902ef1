// multiply_backward: da = dy b, db = dy a
// a, b, dy, da, db (len); one thread per element

struct Params { len: u32 }

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> da: array<f32>;
@group(0) @binding(4) var<storage, read_write> db: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

fn each_element(i: u32) {
    da[i] = dy[i] * b[i];
    db[i] = dy[i] * a[i];
}
