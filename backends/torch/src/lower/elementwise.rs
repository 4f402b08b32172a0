//! Element by element, into the memory of an operand that is not needed any more where there is one.

use mimus_core::{Dtype, Op};
use tch::{Kind, TchError, Tensor};

use super::{Kernel, Site, one};
use crate::device::kind;

type Result = std::result::Result<Tensor, TchError>;

/// A function of one operand, and the same in its memory.
fn in_place_if_free(site: Site<'_>, fresh: fn(&Tensor) -> Result, reuse: fn(&mut Tensor) -> Result) -> Kernel {
    if site.is_free(0) { one(move |mut x| reuse(&mut x[0])) } else { one(move |x| fresh(&x[0])) }
}

/// The engine's function with a slope is that for gradients: here the operand is its own gradient.
fn leaky_relu(slope: f64, site: Site<'_>) -> Kernel {
    if site.is_free(0) {
        one(move |x| x[0].f_leaky_relu_backward_grad_input(&x[0], &x[0], slope, false))
    } else {
        one(move |x| x[0].f_leaky_relu_backward(&x[0], slope, false))
    }
}

/// `dy` where the second operand is above 0, else `slope * dy`.
pub(super) fn rectifier_gradient(slope: f64, site: Site<'_>) -> Kernel {
    if site.is_free(0) {
        one(move |x| x[1].f_leaky_relu_backward_grad_input(&x[0], &x[0], slope, false))
    } else {
        one(move |x| x[1].f_leaky_relu_backward(&x[0], slope, false))
    }
}

pub(super) fn unary(op: &Op, site: Site<'_>) -> Kernel {
    match *op {
        Op::Neg {} => in_place_if_free(site, Tensor::f_neg, Tensor::f_neg_),
        Op::Abs {} => in_place_if_free(site, Tensor::f_abs, Tensor::f_abs_),
        Op::Sign {} => in_place_if_free(site, Tensor::f_sign, Tensor::f_sign_),
        Op::Exp {} => in_place_if_free(site, Tensor::f_exp, Tensor::f_exp_),
        Op::Log {} => in_place_if_free(site, Tensor::f_log, Tensor::f_log_),
        Op::Sqrt {} => in_place_if_free(site, Tensor::f_sqrt, Tensor::f_sqrt_),
        Op::Sigmoid {} => in_place_if_free(site, Tensor::f_sigmoid, Tensor::f_sigmoid_),
        Op::Tanh {} => in_place_if_free(site, Tensor::f_tanh, Tensor::f_tanh_),
        Op::Relu {} => in_place_if_free(site, Tensor::f_relu, Tensor::f_relu_),
        Op::LeakyRelu { slope } => leaky_relu(slope, site),
        Op::Elu { alpha } => one(move |x| x[0].f_where_self(&x[0].f_gt(0.0)?, &x[0].f_expm1()?.f_mul_scalar_(alpha)?)),
        Op::Clamp { min, max } => {
            let (min, max) = (f64::from(min as f32), f64::from(max as f32));
            if site.is_free(0) {
                one(move |mut x| x[0].f_clamp_(min, max))
            } else {
                one(move |x| x[0].f_clamp(min, max))
            }
        }
        Op::Pow { exponent } if site.is_free(0) => one(move |mut x| x[0].f_pow_(exponent)),
        Op::Pow { exponent } => one(move |x| x[0].f_pow_tensor_scalar(exponent)),
        Op::Cast { dtype } => one(move |x| x[0].f_to_kind(kind(dtype))),
        // Only `StopGradient` is left: the value itself.
        _ => one(|x| Ok(x[0].shallow_clone())),
    }
}

/// A function of two operands, and the same in the memory of the first, or, if it commutes, of either.
fn binary(
    site: Site<'_>,
    fresh: fn(&Tensor, &Tensor) -> Result,
    reuse: fn(&mut Tensor, &Tensor) -> Result,
    commutes: bool,
) -> Kernel {
    if site.is_free(0) {
        return one(move |mut x| {
            let second = x[1].shallow_clone();
            reuse(&mut x[0], &second)
        });
    }
    if commutes && site.is_free(1) {
        return one(move |mut x| {
            let first = x[0].shallow_clone();
            reuse(&mut x[1], &first)
        });
    }
    one(move |x| fresh(&x[0], &x[1]))
}

/// 1 where the comparison holds, else 0.
fn comparison(
    site: Site<'_>,
    compare: fn(&Tensor, &Tensor, &Tensor) -> Result,
    plain: fn(&Tensor, &Tensor) -> Result,
) -> Kernel {
    if site.inputs[0].dtype == Dtype::I64 {
        return one(move |x| plain(&x[0], &x[1])?.f_to_kind(Kind::Float));
    }
    let device = site.settings.device;
    one(move |x| {
        // The engine gives the result its extents.
        let result = Tensor::f_empty([0], (Kind::Float, device))?;
        compare(&x[0], &result, &x[1])
    })
}

pub(super) fn broadcasting(op: &Op, site: Site<'_>) -> Kernel {
    match op {
        Op::Add {} => binary(site, Tensor::f_add, Tensor::f_add_, true),
        Op::Sub {} => binary(site, Tensor::f_sub, Tensor::f_sub_, false),
        Op::Mul {} => binary(site, Tensor::f_mul, Tensor::f_mul_, true),
        Op::Div {} => binary(site, Tensor::f_div, Tensor::f_div_, false),
        Op::Maximum {} => one(|x| x[0].f_maximum(&x[1])),
        Op::Minimum {} => one(|x| x[0].f_minimum(&x[1])),
        Op::Equal {} => comparison(site, Tensor::f_eq_tensor_out, Tensor::f_eq_tensor),
        Op::Less {} => comparison(site, Tensor::f_lt_tensor_out, Tensor::f_lt_tensor),
        Op::LessEqual {} => comparison(site, Tensor::f_le_tensor_out, Tensor::f_le_tensor),
        // Only `Select` is left.
        _ => one(|x| x[1].f_where_self(&x[0].f_ne(0.0)?, &x[2])),
    }
}
