// rnn_cell_backward: dgh = dh' (1 - h'²), dgx = dgx + dgh in place, dgx from row `first` on
// h', dh', dgh (batch, width), dgx (… , width); one thread per element of h'

struct Params { len: u32, first: u32, width: u32 }

@group(0) @binding(0) var<storage, read> h_next: array<f32>;
@group(0) @binding(1) var<storage, read> dh_next: array<f32>;
@group(0) @binding(2) var<storage, read_write> dgx: array<f32>;
@group(0) @binding(3) var<storage, read_write> dgh: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

fn each_element(i: u32) {
    let d = dh_next[i] * (1.0 - h_next[i] * h_next[i]);
    let x = params.first * params.width + i;
    dgx[x] = dgx[x] + d;
    dgh[i] = d;
}
