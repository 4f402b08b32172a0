//! Maxima and means of windows. The engine knows them in two and three dimensions; one dimension is two with an extent of 1.

use tch::{Kind, TchError, Tensor};

use super::{Kernel, Site, extents, one};

/// Attributes of a pooling, brought to two dimensions at least.
#[derive(Clone)]
pub(super) struct Windows {
    kernel: Vec<i64>,
    stride: Vec<i64>,
    padding: Vec<i64>,
    /// The values have one spatial axis.
    flat: bool,
}

impl Windows {
    pub(super) fn new(kernel: &[usize], stride: &[usize], padding: &[usize]) -> Self {
        let flat = kernel.len() == 1;
        let full = |list: &[usize], fill: i64| {
            let mut full = if flat { vec![fill] } else { Vec::new() };
            full.extend(extents(list));
            full
        };
        Self { kernel: full(kernel, 1), stride: full(stride, 1), padding: full(padding, 0), flat }
    }

    /// A value with an axis of extent 1 in front of a single spatial axis.
    fn raised(&self, x: &Tensor) -> Result<Tensor, TchError> {
        if self.flat { x.f_unsqueeze(2) } else { Ok(x.shallow_clone()) }
    }

    /// A value without that axis.
    fn lowered(&self, y: Tensor) -> Result<Tensor, TchError> {
        if self.flat { y.f_squeeze_dim(2) } else { Ok(y) }
    }

    fn is_volume(&self) -> bool {
        self.kernel.len() == 3
    }

    /// The maxima of raised values, and their positions.
    fn maxima(&self, x: &Tensor) -> Result<(Tensor, Tensor), TchError> {
        let Self { kernel, stride, padding, .. } = self;
        if self.is_volume() {
            x.f_max_pool3d_with_indices(kernel, stride, padding, [1, 1, 1], false)
        } else {
            x.f_max_pool2d_with_indices(kernel, stride, padding, [1, 1], false)
        }
    }
}

pub(super) fn max(windows: Windows) -> Kernel {
    one(move |x| windows.lowered(windows.maxima(&windows.raised(&x[0])?)?.0))
}

/// The engine's positions are those of the first maximal elements.
pub(super) fn max_gradient(windows: Windows) -> Kernel {
    one(move |operands| {
        let (x, dy) = (windows.raised(&operands[0])?, windows.raised(&operands[1])?);
        let (_, positions) = windows.maxima(&x)?;
        let Windows { kernel, stride, padding, .. } = &windows;
        windows.lowered(if windows.is_volume() {
            x.f_max_pool3d_with_indices_backward(&dy, kernel, stride, padding, [1, 1, 1], false, &positions)?
        } else {
            x.f_max_pool2d_with_indices_backward(&dy, kernel, stride, padding, [1, 1], false, &positions)?
        })
    })
}

pub(super) fn average(windows: Windows, count_include_pad: bool) -> Kernel {
    one(move |x| {
        let Windows { kernel, stride, padding, .. } = &windows;
        let x = windows.raised(&x[0])?;
        windows.lowered(if windows.is_volume() {
            x.f_avg_pool3d(kernel, stride, padding, false, count_include_pad, None::<i64>)?
        } else {
            x.f_avg_pool2d(kernel, stride, padding, false, count_include_pad, None::<i64>)?
        })
    })
}

pub(super) fn average_gradient(windows: Windows, count_include_pad: bool, site: Site<'_>) -> Kernel {
    let (shape, device) = (site.output(), site.settings.device);
    one(move |operands| {
        let Windows { kernel, stride, padding, .. } = &windows;
        let dy = windows.raised(&operands[0])?;
        // Only its extents matter.
        let x = windows.raised(&Tensor::f_empty(&shape, (Kind::Float, device))?)?;
        windows.lowered(if windows.is_volume() {
            x.f_avg_pool3d_backward(&dy, kernel, stride, padding, false, count_include_pad, None::<i64>)?
        } else {
            x.f_avg_pool2d_backward(&dy, kernel, stride, padding, false, count_include_pad, None::<i64>)?
        })
    })
}
