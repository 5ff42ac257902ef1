// Reductions over one workgroup, by halving: every invocation must call them, in the same order.
// The result is the same in all invocations, and the order of additions is fixed.
var<workgroup> scratch: array<f32, WORKGROUP>;

fn reduce_sum(local: u32, x: f32) -> f32 {
    scratch[local] = x;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half > 0u; half = half / 2u) {
        if local < half {
            scratch[local] = scratch[local] + scratch[local + half];
        }
        workgroupBarrier();
    }
    let total = scratch[0];
    workgroupBarrier();
    return total;
}

fn reduce_max(local: u32, x: f32) -> f32 {
    scratch[local] = x;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half > 0u; half = half / 2u) {
        if local < half {
            scratch[local] = max(scratch[local], scratch[local + half]);
        }
        workgroupBarrier();
    }
    let largest = scratch[0];
    workgroupBarrier();
    return largest;
}
