// gru_cell: h' = (1 - z) n + z h, with gates from gx + gh:
//   r = σ(gx_r + gh_r), z = σ(gx_z + gh_z), n = tanh(gx_n + r gh_n)
// gx (… , 3 width) from row `first` on, gh (batch, 3 width): r, z, n side by side; h, h' (batch, width)
// One thread per element of h'.

struct Params { len: u32, first: u32, width: u32 }

@group(0) @binding(0) var<storage, read> gx: array<f32>;
@group(0) @binding(1) var<storage, read> gh: array<f32>;
@group(0) @binding(2) var<storage, read> h: array<f32>;
@group(0) @binding(3) var<storage, read_write> h_next: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

fn each_element(i: u32) {
    let width = params.width;
    let a = i / width * 3u * width + i % width;
    let x = params.first * 3u * width + a;
    let r = sigmoid(gx[x] + gh[a]);
    let z = sigmoid(gx[x + width] + gh[a + width]);
    let n = stable_tanh(gx[x + 2u * width] + r * gh[a + 2u * width]);
    h_next[i] = (1.0 - z) * n + z * h[i];
}
