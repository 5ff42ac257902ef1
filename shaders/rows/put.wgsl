// put_rows: y[first .. first + len] = x, counted in elements
// x (rows, width), y (…, width), in place; one thread per element copied

struct Params { first: u32, len: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

fn each_element(i: u32) {
    y[params.first + i] = x[i];
}
