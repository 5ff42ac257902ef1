// One workgroup for each of `rows` rows: what its threads do is the shader's `fn each_row(row: u32, local: u32)`.
const WORKGROUP: u32 = 64u;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    // A grid longer than one axis goes on in y.
    let row = group.x + group.y * groups.x;
    if row < params.rows {
        each_row(row, local);
    }
}
