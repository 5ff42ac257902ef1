// lstm_cell_backward: with i, f, g, o, c' as in the cell, t = tanh(c') and d = dc' + dh' o (1 - t²),
//   di = d g i (1 - i), df = d c f (1 - f), dg = d i (1 - g²), do = dh' t o (1 - o) before their functions;
//   dgh = (di, df, dg, do), dgx = dgx + dgh in place, dc = d f
// gx, dgx (… , 4 width) from row `first` on, gh, dgh (batch, 4 width): i, f, g, o side by side; c, dh', dc', dc
// (batch, width); one thread per element of h'
// 1 where h' has a gradient
const DH: u32 = 1u;
// 1 where c' has a gradient
const DC: u32 = 1u;

struct Params { len: u32, first: u32, width: u32 }

@group(0) @binding(0) var<storage, read> gx: array<f32>;
@group(0) @binding(1) var<storage, read> gh: array<f32>;
@group(0) @binding(2) var<storage, read> c: array<f32>;
@group(0) @binding(3) var<storage, read> dh_next: array<f32>;
@group(0) @binding(4) var<storage, read> dc_next: array<f32>;
@group(0) @binding(5) var<storage, read_write> dgx: array<f32>;
@group(0) @binding(6) var<storage, read_write> dgh: array<f32>;
@group(0) @binding(7) var<storage, read_write> dc: array<f32>;
@group(0) @binding(8) var<uniform> params: Params;

fn each_element(at: u32) {
    let width = params.width;
    let a = at / width * 4u * width + at % width;
    let x = params.first * 4u * width + a;
    let i = sigmoid(gx[x] + gh[a]);
    let f = sigmoid(gx[x + width] + gh[a + width]);
    let g = stable_tanh(gx[x + 2u * width] + gh[a + 2u * width]);
    let o = sigmoid(gx[x + 3u * width] + gh[a + 3u * width]);
    let t = stable_tanh(f * c[at] + i * g);

    var d = 0.0;
    var d_o = 0.0;
    if DC == 1u {
        d = dc_next[at];
    }
    if DH == 1u {
        d += dh_next[at] * o * (1.0 - t * t);
        d_o = dh_next[at] * t * o * (1.0 - o);
    }
    let d_i = d * g * i * (1.0 - i);
    let d_f = d * c[at] * f * (1.0 - f);
    let d_g = d * i * (1.0 - g * g);
    dgx[x] = dgx[x] + d_i;
    dgx[x + width] = dgx[x + width] + d_f;
    dgx[x + 2u * width] = dgx[x + 2u * width] + d_g;
    dgx[x + 3u * width] = dgx[x + 3u * width] + d_o;
    dgh[a] = d_i;
    dgh[a + width] = d_f;
    dgh[a + 2u * width] = d_g;
    dgh[a + 3u * width] = d_o;
    dc[at] = d * f;
}
