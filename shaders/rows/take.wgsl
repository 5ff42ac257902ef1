// take_rows: y = x[first .. first + len], counted in elements
// x (…, width), y (rows, width); one thread per element copied

struct Params { first: u32, len: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

fn each_element(i: u32) {
    y[i] = x[params.first + i];
}
