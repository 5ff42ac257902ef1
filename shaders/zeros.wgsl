// zeros: y = 0
// y (len); one thread per element

struct Params { len: u32 }

@group(0) @binding(0) var<storage, read_write> y: array<f32>;
@group(0) @binding(1) var<uniform> params: Params;

fn each_element(i: u32) {
    y[i] = 0.0;
}
