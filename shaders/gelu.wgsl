// gelu: y = x Φ(x), dx = dy (Φ(x) + x φ(x))
// 0: exact Φ; 1: its tanh form, ½ (1 + tanh(√(2/π) (x + 0.044715 x³)))
const TANH: u32 = 0u;

fn value(x: f32) -> f32 {
    if TANH == 1u {
        return 0.5 * x * (1.0 + stable_tanh(0.7978845608 * (x + 0.044715 * x * x * x)));
    }
    return x * normal_cdf(x);
}

fn slope(x: f32) -> f32 {
    // Beyond ±30 the density is zero and Φ is 0 or 1; clamping keeps x³ finite.
    let c = clamp(x, -30.0, 30.0);
    if TANH == 1u {
        let t = stable_tanh(0.7978845608 * (c + 0.044715 * c * c * c));
        let du = 0.7978845608 * (1.0 + 0.134145 * c * c);
        return 0.5 * (1.0 + t) + 0.5 * c * (1.0 - t * t) * du;
    }
    return normal_cdf(c) + c * 0.3989422804 * exp(-0.5 * c * c);
}
