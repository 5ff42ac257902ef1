// split_columns, concat_columns: some columns of one matrix become some of another
// x (rows, x_row) is read from column x_first on, y (rows, y_row) written from column y_first on; `width` columns are
// copied; len = rows · width; one thread per element copied

struct Params { len: u32, width: u32, x_row: u32, x_first: u32, y_row: u32, y_first: u32 }

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

fn each_element(i: u32) {
    let row = i / params.width;
    let column = i % params.width;
    y[row * params.y_row + params.y_first + column] = x[row * params.x_row + params.x_first + column];
}
