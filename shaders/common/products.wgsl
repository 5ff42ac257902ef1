// Products of 64 rows by 64 columns, 16 terms at a time, both operands in workgroup memory.
// 128 threads: a warp of 32 has all rows and 16 columns, a thread two quads of rows, 32 rows apart, and one of columns.
const THREADS: u32 = 128u;
const SIDE: u32 = 64u;
const DEPTH: u32 = 16u;
const QUADS: u32 = 16u;

// left[place(turn, i, r)] holds term i of rows 4r.., right[place(turn, i, c)] that of columns 4c... Of the two copies, one
// is filled while the other is read: between a put of one turn and the reads of it stands one barrier.
var<workgroup> left: array<vec4<f32>, 2u * DEPTH * QUADS>;
var<workgroup> right: array<vec4<f32>, 2u * DEPTH * QUADS>;

// Shuffled so that neighbours, along the terms or across, meet different memory banks.
fn place(turn: u32, term: u32, quad: u32) -> u32 {
    return (turn % 2u * DEPTH + term) * QUADS + (quad ^ ((term & 4u) | (term / 8u * 2u)));
}

// The first quad of rows of a thread, and its quad of columns: pairs of lanes read the same vector at once.
fn row_quad(local: u32) -> u32 {
    return local / 2u % 2u + local / 8u % 4u * 2u;
}

fn col_quad(local: u32) -> u32 {
    return local / 32u * 4u + local % 2u + local / 4u % 2u * 2u;
}

// Rows of a thread's block: column i of `near` is row i, that of `far` row 32 + i.
struct Block { near: mat4x4<f32>, far: mat4x4<f32> }

// sum + x yᵀ
fn add_outer(sum: mat4x4<f32>, x: vec4<f32>, y: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(
        fma(vec4(x.x), y, sum[0]),
        fma(vec4(x.y), y, sum[1]),
        fma(vec4(x.z), y, sum[2]),
        fma(vec4(x.w), y, sum[3]),
    );
}

// The block plus this thread's part of left · right of a turn; f32, terms in order.
fn multiply_add(turn: u32, row: u32, col: u32, block: Block) -> Block {
    var near = block.near;
    var far = block.far;
    for (var i = 0u; i < DEPTH; i += 4u) {
        // Four terms written out: drivers leave the loop a loop.
        let at_left = place(turn, i, row);
        let at_right = place(turn, i, col);
        let r0 = right[at_right];
        near = add_outer(near, left[at_left], r0);
        far = add_outer(far, left[at_left + 8u], r0);
        let r1 = right[at_right + QUADS];
        near = add_outer(near, left[at_left + QUADS], r1);
        far = add_outer(far, left[at_left + QUADS + 8u], r1);
        let r2 = right[at_right + 2u * QUADS];
        near = add_outer(near, left[at_left + 2u * QUADS], r2);
        far = add_outer(far, left[at_left + 2u * QUADS + 8u], r2);
        let r3 = right[at_right + 3u * QUADS];
        near = add_outer(near, left[at_left + 3u * QUADS], r3);
        far = add_outer(far, left[at_left + 3u * QUADS + 8u], r3);
    }
    return Block(near, far);
}

// Four terms from `term` on of a quad of rows, or of columns.
fn put_left(turn: u32, term: u32, quad: u32, terms: mat4x4<f32>) {
    let at = place(turn, term, quad);
    left[at] = terms[0];
    left[at + QUADS] = terms[1];
    left[at + 2u * QUADS] = terms[2];
    left[at + 3u * QUADS] = terms[3];
}

fn put_right(turn: u32, term: u32, quad: u32, terms: mat4x4<f32>) {
    let at = place(turn, term, quad);
    right[at] = terms[0];
    right[at + QUADS] = terms[1];
    right[at + 2u * QUADS] = terms[2];
    right[at + 3u * QUADS] = terms[3];
}
