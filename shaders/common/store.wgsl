// C of matmul, element by element.
@group(0) @binding(5) var<storage, read_write> c: array<f32>;

// Stores what lies within C of a block whose column r is row i + r of C; after the first run it is added to what the
// same thread has stored.
fn store(z: u32, i: u32, j: u32, is_first: bool, block: mat4x4<f32>) {
    var sums = block;
    // Loops that end at the edges stay loops: unrolled, they would be most of the code a driver compiles.
    let rows = min(4u, max(params.m, i) - i);
    let cols = min(4u, max(params.n, j) - j);
    for (var r = 0u; r < rows; r++) {
        for (var s = 0u; s < cols; s++) {
            var sum = sums[r][s] * params.scale;
            if params.add_bias == 1u && is_first {
                sum += bias[params.c_col + j + s];
            }
            let at = z * params.m * params.n + (i + r) * params.c_width + params.c_col + j + s;
            if params.accumulate == 1u || !is_first {
                sum += c[at];
            }
            c[at] = sum;
        }
    }
}
