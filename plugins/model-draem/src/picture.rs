//! A picture of 8-bit pixels, as the augmenters know it.

use mimus_core::synthesis;

/// Three planes of `height * width` pixels.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Picture {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) planes: [Vec<u8>; 3],
}

impl Picture {
    /// Of values in [0, 1], plane after plane.
    pub(super) fn of_values(values: &[f32], height: usize, width: usize) -> Self {
        let plane = |i: usize| {
            let plane = values.iter().skip(i * height * width).take(height * width);
            plane.map(|x| byte(x * 255.0)).collect()
        };
        Self { height, width, planes: [plane(0), plane(1), plane(2)] }
    }

    /// From the colour of every pixel, each channel in [0, 1].
    pub(super) fn of_colors(height: usize, width: usize, color: impl Fn(usize, usize) -> [f32; 3]) -> Self {
        let mut planes = [(); 3].map(|()| Vec::with_capacity(height * width));
        for y in 0..height {
            for x in 0..width {
                let color = color(y, x);
                planes.iter_mut().zip(color).for_each(|(plane, x)| plane.push(byte(x * 255.0)));
            }
        }
        Self { height, width, planes }
    }

    /// Changes every pixel of every channel by itself.
    pub(super) fn map(&mut self, change: impl Fn(u8) -> u8) {
        let table: Vec<u8> = (0..=255).map(change).collect();
        self.planes.iter_mut().for_each(|plane| apply(plane, &table));
    }

    /// Changes every pixel by its three channels.
    pub(super) fn map_colors(&mut self, change: impl Fn([f32; 3]) -> [f32; 3]) {
        let [first, second, third] = &mut self.planes;
        for ((a, b), c) in first.iter_mut().zip(second).zip(third) {
            let changed = change([f32::from(*a), f32::from(*b), f32::from(*c)]);
            [*a, *b, *c] = changed.map(byte);
        }
    }

    /// Rotated about its centre; black comes in from outside.
    pub(super) fn rotate(&mut self, degrees: f64) {
        let size = [self.height, self.width];
        for plane in &mut self.planes {
            let values: Vec<f32> = plane.iter().map(|x| f32::from(*x)).collect();
            *plane = synthesis::rotate(&values, size, degrees).into_iter().map(byte).collect();
        }
    }
}

/// Every pixel looked up in a table of 256.
pub(super) fn apply(plane: &mut [u8], table: &[u8]) {
    plane.iter_mut().for_each(|x| *x = table.get(usize::from(*x)).copied().unwrap_or(*x));
}

/// The nearest 8-bit value.
pub(super) fn byte(x: f32) -> u8 {
    x.round().clamp(0.0, 255.0) as u8
}
