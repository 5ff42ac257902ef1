// C of matmul, four elements at a time: its rows are whole vectors.
@group(0) @binding(5) var<storage, read_write> c: array<vec4<f32>>;

fn store_row(z: u32, i: u32, j: u32, is_first: bool, row: vec4<f32>) {
    if i >= params.m || j >= params.n {
        return;
    }
    let col = params.c_col + j;
    let at = (z * params.m * params.n + i * params.c_width + col) / 4u;
    var sum = row * params.scale;
    if params.add_bias == 1u && is_first {
        sum += vec4(bias[col], bias[col + 1u], bias[col + 2u], bias[col + 3u]);
    }
    if params.accumulate == 1u || !is_first {
        sum += c[at];
    }
    c[at] = sum;
}

// Stores what lies within C of a block whose column r is row i + r of C; after the first run it is added to what the
// same thread has stored.
fn store(z: u32, i: u32, j: u32, is_first: bool, block: mat4x4<f32>) {
    store_row(z, i, j, is_first, block[0]);
    store_row(z, i + 1u, j, is_first, block[1]);
    store_row(z, i + 2u, j, is_first, block[2]);
    store_row(z, i + 3u, j, is_first, block[3]);
}
