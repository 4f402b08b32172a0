//! Transcendental functions that the compiler can vectorise: straight-line arithmetic without tables or calls, exact to a few
//! units in the last place.

use std::f32::consts::{LN_2, LOG2_E};

/// Adding and subtracting it rounds an f32 below 2^22 to the nearest integer, which then stands in the low bits.
const ROUND: f32 = 12_582_912.0;

/// `ln 2` in two parts, the first with few enough bits for exact products with small integers.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// `2^n` for `n` in -126..=127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// `e^x`, with infinity, 0 and NaN where they belong.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -104.0 { -104.0 } else { x };
    let shifted = x * LOG2_E + ROUND;
    let n = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let whole = shifted - ROUND;
    let r = x - whole * LN_2_HIGH - whole * LN_2_LOW;
    // Taylor to degree 7: the rest is below 5e-9 for |r| <= ln(2) / 2.
    let tail = 1.0 / 120.0 + r * (1.0 / 720.0 + r * (1.0 / 5040.0));
    let p = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * tail))));
    // In two factors, since 2^n itself may be beyond the range of normal numbers.
    let half = n >> 1;
    p * power_of_two(half) * power_of_two(n - half)
}

/// `ln x`.
#[inline(always)]
pub(crate) fn ln(x: f32) -> f32 {
    let small = x < f32::MIN_POSITIVE;
    let scaled = if small { x * 8_388_608.0 } else { x };
    let bits = scaled.to_bits() as i32;
    // Mantissa in [sqrt(1/2), sqrt(2)).
    let exponent = (bits.wrapping_sub(0x3F35_04F3)) >> 23;
    let f = f32::from_bits(bits.wrapping_sub(exponent << 23) as u32) - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    // 2 atanh(s); the rest is below 1e-9 of it.
    let series = z * (2.0 / 3.0 + z * (2.0 / 5.0 + z * (2.0 / 7.0 + z * (2.0 / 9.0 + z * (2.0 / 11.0)))));
    let e = exponent as f32 - if small { 23.0 } else { 0.0 };
    let y = e * LN_2_HIGH + (2.0 * s + (s * series + e * LN_2_LOW));
    let y = if x == 0.0 { f32::NEG_INFINITY } else { y };
    let y = if x == f32::INFINITY { x } else { y };
    if x >= 0.0 { y } else { f32::NAN }
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Hyperbolic tangent.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    let e = exp(-2.0 * x.abs());
    let far = (1.0 - e) / (1.0 + e);
    let z = x * x;
    // Taylor, for |x| < 1/4, where the quotient loses digits.
    let tail = -17.0 / 315.0 + z * (62.0 / 2835.0 + z * (-1382.0 / 155_925.0));
    let near = x + x * z * (-1.0 / 3.0 + z * (2.0 / 15.0 + z * tail));
    let far = far.copysign(x);
    if x.abs() < 0.25 { near } else { far }
}

/// `e^x - 1`.
#[inline(always)]
pub(crate) fn exp_m1(x: f32) -> f32 {
    // e^x - 1 = tanh(x/2) * (e^x + 1), which keeps its digits near 0; at the far ends the difference itself is exact.
    let far = exp(x) - 1.0;
    if x.abs() < LN_2 { tanh(0.5 * x) * (far + 2.0) } else { far }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest relative error over `[lo, hi]`.
    fn worst(f: fn(f32) -> f32, exact: fn(f64) -> f64, lo: f32, hi: f32) -> f64 {
        let n = 200_000;
        let points = (0..=n).map(|i| lo + (hi - lo) * i as f32 / n as f32);
        points
            .map(|x| {
                let y = exact(f64::from(x));
                if y == 0.0 { f64::from(f(x)).abs() } else { (f64::from(f(x)) - y).abs() / y.abs() }
            })
            .fold(0.0, f64::max)
    }

    #[test]
    fn functions_are_exact_to_a_few_units_in_the_last_place() {
        assert!(worst(exp, f64::exp, -87.0, 88.7) < 2.5e-7);
        assert!(worst(ln, f64::ln, 1e-30, 2.0) < 2.5e-7);
        assert!(worst(ln, f64::ln, 1.0, 1e30) < 2.5e-7);
        assert!(worst(tanh, f64::tanh, -12.0, 12.0) < 4e-7);
        assert!(worst(sigmoid, |x| 1.0 / (1.0 + (-x).exp()), -80.0, 80.0) < 4e-7);
        assert!(worst(exp_m1, f64::exp_m1, -20.0, 20.0) < 5e-7);
    }

    #[test]
    fn limits_are_those_of_the_standard_library() {
        for x in [f32::INFINITY, f32::NEG_INFINITY, 0.0, 200.0, -200.0, -100.0] {
            assert!((exp(x) - x.exp()).abs() <= 1e-50 || exp(x) == x.exp(), "exp({x}) is {}", exp(x));
            assert!((tanh(x) - x.tanh()).abs() < 1e-7 && (sigmoid(x) - 1.0 / (1.0 + (-x).exp())).abs() < 1e-7);
        }
        assert_eq!((ln(0.0), ln(f32::INFINITY)), (f32::NEG_INFINITY, f32::INFINITY));
        assert!((ln(1e-42) - 1e-42_f32.ln()).abs() < 1e-4);
        for f in [exp, ln, tanh, sigmoid, exp_m1] {
            assert!(f(f32::NAN).is_nan());
        }
        assert!(ln(-1.0).is_nan());
    }
}
