//! Whether a setting keeps its meaning as the f32 that kernels compute with: 0.99999999999 is below 1 as an f64 and 1
//! as an f32, 1e-50 is above 0 and becomes 0.

/// Above 0, and neither 0 nor infinite as an f32. Denormals may be flushed to 0, so they count as that.
pub fn is_positive(x: f64) -> bool {
    (x as f32).is_normal() && x > 0.0
}

/// 0, or positive: what turns something off must not be met by rounding.
pub fn is_zero_or_positive(x: f64) -> bool {
    x == 0.0 || is_positive(x)
}

/// At least 0 and below 1, also as an f32.
pub fn is_share(x: f64) -> bool {
    x >= 0.0 && (x as f32) < 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rounds_out_of_its_range_is_outside() {
        assert!([1e-30, 1.0, 3.4e38].iter().all(|&x| is_positive(x) && is_zero_or_positive(x)));
        for x in [1e-39, 1e-50, 1e39, -1.0, f64::NAN, f64::INFINITY] {
            assert!(!is_positive(x) && !is_zero_or_positive(x), "{x}");
        }
        assert!(is_zero_or_positive(0.0) && !is_positive(0.0));
        // The greatest f32 below 1 is 1 - 2⁻²⁴; halfway to 1 rounds up.
        let greatest = 1.0 - f64::from(f32::EPSILON) / 2.0;
        assert!([0.0, 1e-50, 0.5, greatest].iter().all(|&x| is_share(x)));
        for x in [1.0, 0.999_999_999_99, 1.0 - f64::from(f32::EPSILON) / 4.0, -1e-9, f64::NAN] {
            assert!(!is_share(x), "{x}");
        }
    }
}
