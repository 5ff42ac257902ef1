// count: y ← y + 1: a dispatch that does next to nothing
// y (1); one thread
@group(0) @binding(0) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(1)
fn main() {
    y[0] += 1.0;
}
