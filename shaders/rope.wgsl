// rope: heads below n_rotated are turned: y_i = x_i cos θ_i - x_j sin θ_i, y_j = x_j cos θ_i + x_i sin θ_i for
// i < turned/2, j = i + turned/2, with -θ_i when INVERSE; all other channels are copied
// x, y (rows, row), row = heads · width; their row 0 is row `first` of the whole tensor; table (T_max, turned), a row
// for each position: turned/2 cosines, then as many sines; len = rows · row; one thread per element
const INVERSE: u32 = 0u;

struct Params { first: u32, len: u32, time: u32, row: u32, width: u32, turned: u32, n_rotated: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> table: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

fn each_element(i: u32) {
    let half = params.turned / 2u;
    let d = i % params.width;
    if i % params.row >= params.n_rotated * params.width || d >= params.turned {
        y[i] = x[i];
        return;
    }
    let position = step.position + (params.first + i / params.row) % params.time;
    let angle = position * params.turned + d % half;
    let cosine = table[angle];
    var sine = table[angle + half];
    if INVERSE == 1u {
        sine = -sine;
    }
    if d < half {
        y[i] = x[i] * cosine - x[i + half] * sine;
    } else {
        y[i] = x[i] * cosine + x[i - half] * sine;
    }
}
