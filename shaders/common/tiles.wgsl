// Products of tiles held in workgroup memory: 64 rows by 32 columns, 32 terms at a time.
// 128 threads stand 16 by 8, each for 4 rows and 4 columns: rows 4·row.., columns 4·col...
const THREADS: u32 = 128u;
const TILE: u32 = 32u;
const ROW_QUADS: u32 = 16u;
const COL_QUADS: u32 = 8u;

// left[left_slot(i, r)] holds term i of rows 4r.., right[right_slot(i, c)] that of columns 4c..; shuffled so that
// neighbouring terms of one quad, and neighbouring quads of one term, lie in different memory banks.
var<workgroup> left: array<vec4<f32>, 512>;
var<workgroup> right: array<vec4<f32>, 256>;

fn left_slot(term: u32, row: u32) -> u32 {
    return term * ROW_QUADS + (row ^ ((term ^ (term / 4u)) & 7u));
}

fn right_slot(term: u32, col: u32) -> u32 {
    return term * COL_QUADS + (col ^ ((term ^ (term / 4u)) & 7u));
}

// The quad of rows and of columns of a thread: a warp of 32 has 4 by 8, pairs of lanes reading the same vector at once.
fn row_quad(local: u32) -> u32 {
    return local / 32u * 4u + local / 2u % 2u + (local / 8u % 2u) * 2u;
}

fn col_quad(local: u32) -> u32 {
    return local % 2u + (local / 4u % 2u) * 2u + (local / 16u % 2u) * 4u;
}

// Four rows of four columns.
struct Block { a: vec4<f32>, b: vec4<f32>, c: vec4<f32>, d: vec4<f32> }

fn scaled(block: Block, rows: vec4<f32>) -> Block {
    return Block(block.a * rows.x, block.b * rows.y, block.c * rows.z, block.d * rows.w);
}

// The block plus this thread's part of left · right; f32, terms in order.
fn multiply_add(row: u32, col: u32, block: Block) -> Block {
    var a = block.a;
    var b = block.b;
    var c = block.c;
    var d = block.d;
    for (var i = 0u; i < TILE; i++) {
        let l = left[left_slot(i, row)];
        let r = right[right_slot(i, col)];
        a = fma(vec4(l.x), r, a);
        b = fma(vec4(l.y), r, b);
        c = fma(vec4(l.z), r, c);
        d = fma(vec4(l.w), r, d);
    }
    return Block(a, b, c, d);
}

// Makes the columns of a block terms of `left`, for a product over them.
fn stage_block(row: u32, col: u32, block: Block) {
    left[left_slot(4u * col, row)] = vec4(block.a.x, block.b.x, block.c.x, block.d.x);
    left[left_slot(4u * col + 1u, row)] = vec4(block.a.y, block.b.y, block.c.y, block.d.y);
    left[left_slot(4u * col + 2u, row)] = vec4(block.a.z, block.b.z, block.c.z, block.d.z);
    left[left_slot(4u * col + 3u, row)] = vec4(block.a.w, block.b.w, block.c.w, block.d.w);
}
