// One thread for each of `len` elements: what it does is the shader's `fn each_element(i: u32)`.
const WORKGROUP: u32 = 256u;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    // A grid longer than one axis goes on in y.
    let i = (group.x + group.y * groups.x) * WORKGROUP + local;
    if i < params.len {
        each_element(i);
    }
}
