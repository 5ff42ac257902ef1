// Reductions over one workgroup, by halving: every invocation must call them, in the same order.
// The result is the same in all invocations, and the order of additions is fixed.
var<workgroup> partial: array<f32, WORKGROUP>;

fn reduce_sum(local: u32, x: f32) -> f32 {
    partial[local] = x;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half > 0u; half = half / 2u) {
        if local < half {
            partial[local] = partial[local] + partial[local + half];
        }
        workgroupBarrier();
    }
    let total = partial[0];
    workgroupBarrier();
    return total;
}

fn reduce_max(local: u32, x: f32) -> f32 {
    partial[local] = x;
    workgroupBarrier();
    for (var half = WORKGROUP / 2u; half > 0u; half = half / 2u) {
        if local < half {
            partial[local] = max(partial[local], partial[local + half]);
        }
        workgroupBarrier();
    }
    let largest = partial[0];
    workgroupBarrier();
    return largest;
}
