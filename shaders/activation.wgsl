// activation: y = f(x), dx = dy f'(x), f one of
//   0: σ(x)   1: tanh(x)   2: max(x, 0)   3: max(x, 0)²   4: x σ(x)
const KIND: u32 = 0u;

fn value(x: f32) -> f32 {
    // NaN is not below zero, and stays.
    let positive = select(x, 0.0, x < 0.0);
    switch KIND {
        case 0u { return sigmoid(x); }
        case 1u { return stable_tanh(x); }
        case 2u { return positive; }
        case 3u { return positive * positive; }
        default { return x * sigmoid(x); }
    }
}

// 1 - tanh²(x) would cancel where x is large; 4 σ'(2x) is the same and does not.
fn slope(x: f32) -> f32 {
    switch KIND {
        case 0u { return sigmoid_slope(x); }
        case 1u { return 4.0 * sigmoid_slope(2.0 * x); }
        case 2u { return select(0.0, 1.0, x > 0.0); }
        case 3u { return 2.0 * select(x, 0.0, x < 0.0); }
        default { return sigmoid(x) + x * sigmoid_slope(x); }
    }
}
