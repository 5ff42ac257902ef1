// matrix: c ← a b + c, ROUNDS times, by matrix units
// x (2 · SIZE · SIZE): a, then b, by rows. y (workgroups · SIZE · SIZE): 4 · ROUNDS · a b, by each workgroup.
// Every subgroup of a workgroup computes the same; if COUNTED, y is multiplied by the number of subgroups.
// Four sums are independent of each other. If a and b are ones, each element ends at SIZE · ROUNDS; f16 holds that and
// the sum of four exactly, up to 2048. Left, Right and Sum are the types of the matrices a, b and c; Operand and Result
// those of their elements.
const WORKGROUP: u32 = 64u;
const ROUNDS: u32 = 128u;
const COUNTED: bool = false;

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

var<workgroup> a: array<Operand, SIZE * SIZE>;
var<workgroup> b: array<Operand, SIZE * SIZE>;
var<workgroup> c: array<Result, SIZE * SIZE>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    @builtin(num_subgroups) subgroups: u32,
) {
    for (var i = local; i < SIZE * SIZE; i += WORKGROUP) {
        a[i] = Operand(x[i]);
        b[i] = Operand(x[SIZE * SIZE + i]);
        c[i] = Result(0.0);
    }
    workgroupBarrier();

    let left = coopLoadT<Left>(&a[0], SIZE);
    let right = coopLoadT<Right>(&b[0], SIZE);
    var c0 = coopLoadT<Sum>(&c[0], SIZE);
    var c1 = c0;
    var c2 = c0;
    var c3 = c0;
    workgroupBarrier();
    for (var n = 0u; n < ROUNDS; n++) {
        c0 = coopMultiplyAdd(left, right, c0);
        c1 = coopMultiplyAdd(left, right, c1);
        c2 = coopMultiplyAdd(left, right, c2);
        c3 = coopMultiplyAdd(left, right, c3);
    }
    // Every subgroup stores the same.
    coopStoreT(c0 + c1 + c2 + c3, &c[0], SIZE);
    workgroupBarrier();

    for (var i = local; i < SIZE * SIZE; i += WORKGROUP) {
        y[group.x * SIZE * SIZE + i] = f32(c[i]) * select(1.0, f32(subgroups), COUNTED);
    }
}
