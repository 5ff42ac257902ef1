// σ(x) = 1/(1 + exp(-x)), by an exponential that cannot overflow: both tails keep their precision.
fn sigmoid(x: f32) -> f32 {
    let e = exp(-abs(x));
    return select(1.0, e, x < 0.0) / (1.0 + e);
}

// σ'(x) = σ(x) σ(-x)
fn sigmoid_slope(x: f32) -> f32 {
    let e = exp(-abs(x));
    return e / ((1.0 + e) * (1.0 + e));
}

// ln(1 + exp(x)), whose exponential cannot overflow
fn softplus(x: f32) -> f32 {
    return max(x, 0.0) + log(1.0 + exp(-abs(x)));
}
