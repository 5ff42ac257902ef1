// lstm_cell: c' = f c + i g, h' = o tanh(c'), with gates from gx + gh:
//   i, f, o = σ(…), g = tanh(…)
// gx (… , 4 width) from row `first` on, gh (batch, 4 width): i, f, g, o side by side; c, h', c' (batch, width)
// One thread per element of h'.

struct Params { len: u32, first: u32, width: u32 }

@group(0) @binding(0) var<storage, read> gx: array<f32>;
@group(0) @binding(1) var<storage, read> gh: array<f32>;
@group(0) @binding(2) var<storage, read> c: array<f32>;
@group(0) @binding(3) var<storage, read_write> h_next: array<f32>;
@group(0) @binding(4) var<storage, read_write> c_next: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

fn each_element(at: u32) {
    let width = params.width;
    let a = at / width * 4u * width + at % width;
    let x = params.first * 4u * width + a;
    let i = sigmoid(gx[x] + gh[a]);
    let f = sigmoid(gx[x + width] + gh[a + width]);
    let g = stable_tanh(gx[x + 2u * width] + gh[a + 2u * width]);
    let o = sigmoid(gx[x + 3u * width] + gh[a + 3u * width]);
    let cell = f * c[at] + i * g;
    c_next[at] = cell;
    h_next[at] = o * stable_tanh(cell);
}
