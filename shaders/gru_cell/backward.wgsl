// gru_cell_backward: with r, z, n as in the cell and d = dh',
//   dn = d (1 - z) (1 - n²), dz = d (h - n) z (1 - z), dr = dn gh_n r (1 - r) before their functions;
//   dgx = dgx + (dr, dz, dn) in place, dgh = (dr, dz, dn r), dh = d z, or dh + d z
// gx, dgx (… , 3 width) from row `first` on, gh, dgh (batch, 3 width): r, z, n side by side; h, dh', dh (batch,
// width); one thread per element of h'
// 1 to add to dh
const ACCUMULATE: u32 = 0u;

struct Params { len: u32, first: u32, width: u32 }

@group(0) @binding(0) var<storage, read> gx: array<f32>;
@group(0) @binding(1) var<storage, read> gh: array<f32>;
@group(0) @binding(2) var<storage, read> h: array<f32>;
@group(0) @binding(3) var<storage, read> dh_next: array<f32>;
@group(0) @binding(4) var<storage, read_write> dgx: array<f32>;
@group(0) @binding(5) var<storage, read_write> dgh: array<f32>;
@group(0) @binding(6) var<storage, read_write> dh: array<f32>;
@group(0) @binding(7) var<uniform> params: Params;

fn each_element(i: u32) {
    let width = params.width;
    let a = i / width * 3u * width + i % width;
    let x = params.first * 3u * width + a;
    let r = sigmoid(gx[x] + gh[a]);
    let z = sigmoid(gx[x + width] + gh[a + width]);
    let n = stable_tanh(gx[x + 2u * width] + r * gh[a + 2u * width]);

    let d = dh_next[i];
    let dn = d * (1.0 - z) * (1.0 - n * n);
    let dz = d * (h[i] - n) * z * (1.0 - z);
    let dr = dn * gh[a + 2u * width] * r * (1.0 - r);
    dgx[x] = dgx[x] + dr;
    dgx[x + width] = dgx[x + width] + dz;
    dgx[x + 2u * width] = dgx[x + 2u * width] + dn;
    dgh[a] = dr;
    dgh[a + width] = dz;
    dgh[a + 2u * width] = dn * r;
    var share = d * z;
    if ACCUMULATE == 1u {
        share += dh[i];
    }
    dh[i] = share;
}
