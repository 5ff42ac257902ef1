// rnn_cell: h' = tanh(gx + gh), gx from row `first` on
// gx (… , width), gh, h' (batch, width); one thread per element of h'

struct Params { len: u32, first: u32, width: u32 }

@group(0) @binding(0) var<storage, read> gx: array<f32>;
@group(0) @binding(1) var<storage, read> gh: array<f32>;
@group(0) @binding(2) var<storage, read_write> h_next: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

fn each_element(i: u32) {
    h_next[i] = stable_tanh(gx[params.first * params.width + i] + gh[i]);
}
