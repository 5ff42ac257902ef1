// relu_squared: y = max(x, 0)², dx = 2 max(x, 0) dy
fn value(x: f32) -> f32 {
    let positive = max(x, 0.0);
    return positive * positive;
}

fn slope(x: f32) -> f32 {
    return 2.0 * max(x, 0.0);
}
