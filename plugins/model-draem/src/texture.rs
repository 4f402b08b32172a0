//! Procedural textures, for those who have no folder of pictures to paint defects with. Every texture is drawn anew: its kind, its
//! colours, its scale and its direction.

use mimus_core::random::Stream;
use mimus_core::synthesis::perlin;

use super::picture::Picture;

type Color = [f32; 3];

/// Size, and what all textures need.
struct Canvas<'a> {
    height: usize,
    width: usize,
    stream: &'a mut Stream,
}

/// Draws a texture.
type Painter = fn(&mut Canvas<'_>) -> Picture;

const PAINTERS: [Painter; 9] = [clouds, marble, fibres, patches, stripes, checks, weave, cells, dots];

/// A random texture of `height * width` pixels.
pub(super) fn texture(stream: &mut Stream, height: usize, width: usize) -> Picture {
    let painter = PAINTERS[stream.below(PAINTERS.len() as u64) as usize];
    let mut canvas = Canvas { height, width, stream };
    let mut picture = painter(&mut canvas);
    // Half of the surfaces are rough.
    if canvas.stream.uniform() < 0.5 {
        canvas.roughen(&mut picture);
    }
    picture
}

impl Canvas<'_> {
    /// From gray to vivid: most surfaces are not as colourful as three independent channels.
    fn color(&mut self) -> Color {
        let (gray, vivid) = (self.range(0.0, 1.0), self.range(0.0, 1.0));
        [(); 3].map(|()| gray + (self.range(0.0, 1.0) - gray) * vivid)
    }

    fn range(&mut self, lo: f64, hi: f64) -> f32 {
        self.stream.range(lo, hi) as f32
    }

    /// Noise of several octaves, about within [-1, 1]: each has twice the cells of the one before, and half its weight.
    fn noise(&mut self, cells: [usize; 2], octaves: usize) -> Vec<f32> {
        let mut sum = vec![0.0; self.height * self.width];
        for octave in 0..octaves {
            let weight = 0.5_f32.powi(octave as i32);
            let layer = perlin(self.stream, [self.height, self.width], cells.map(|n| n << octave));
            sum.iter_mut().zip(layer).for_each(|(sum, x)| *sum += weight * x);
        }
        sum
    }

    /// A direction and a wavelength of 1/64 to 1/4 of the picture: how many waves a pixel is from the centre.
    fn waves(&mut self) -> impl Fn(usize, usize) -> [f32; 2] + use<> {
        let angle = self.range(0.0, std::f64::consts::TAU);
        let waves = 2.0_f32.powf(self.range(2.0, 6.0)) / self.height.max(self.width) as f32;
        let (sin, cos) = angle.sin_cos();
        move |y, x| {
            let (y, x) = (y as f32 * waves, x as f32 * waves);
            [cos * y - sin * x, sin * y + cos * x]
        }
    }

    fn paint(&self, color: impl Fn(usize, usize) -> Color) -> Picture {
        Picture::of_colors(self.height, self.width, color)
    }

    /// Every value of a field in [0, 1] in its colour between two.
    fn ramp(&mut self, field: &[f32]) -> Picture {
        let (from, to, width) = (self.color(), self.color(), self.width);
        self.paint(|y, x| blend(from, to, field[y * width + x].clamp(0.0, 1.0)))
    }

    /// Brightens and darkens every pixel by itself.
    fn roughen(&mut self, picture: &mut Picture) {
        let strength = self.range(4.0, 40.0);
        let grain: Vec<f32> = (0..self.height * self.width).map(|_| self.range(-1.0, 1.0) * strength).collect();
        for plane in &mut picture.planes {
            plane.iter_mut().zip(&grain).for_each(|(x, grain)| *x = super::picture::byte(f32::from(*x) + grain));
        }
    }
}

fn blend(from: Color, to: Color, share: f32) -> Color {
    [0, 1, 2].map(|i| from[i] + (to[i] - from[i]) * share)
}

/// 0 in the middle between two waves, 1 on top of one.
fn sine(phase: f32) -> f32 {
    0.5 + 0.5 * (phase * std::f32::consts::TAU).sin()
}

/// Which whole number a position belongs to is even.
fn is_even(x: f32) -> bool {
    (x.floor() as i64).rem_euclid(2) == 0
}

fn clouds(canvas: &mut Canvas<'_>) -> Picture {
    let cells = 1 << canvas.stream.below(4);
    let mut field = canvas.noise([cells; 2], 4);
    field.iter_mut().for_each(|x| *x = 0.5 + 0.6 * *x);
    canvas.ramp(&field)
}

/// Waves that noise has bent.
fn marble(canvas: &mut Canvas<'_>) -> Picture {
    let cells = 1 << (1 + canvas.stream.below(3));
    let (mut field, waves, bend) = (canvas.noise([cells; 2], 3), canvas.waves(), canvas.range(0.5, 3.0));
    let width = canvas.width;
    field.iter_mut().enumerate().for_each(|(i, x)| *x = sine(waves(i / width, i % width)[0] + bend * *x));
    canvas.ramp(&field)
}

/// Noise that is much finer across than along.
fn fibres(canvas: &mut Canvas<'_>) -> Picture {
    let (coarse, fine) = (1 << canvas.stream.below(3), 16 << canvas.stream.below(2));
    let cells = if canvas.stream.uniform() < 0.5 { [coarse, fine] } else { [fine, coarse] };
    let mut field = canvas.noise(cells, 2);
    field.iter_mut().for_each(|x| *x = 0.5 + 0.8 * *x);
    canvas.ramp(&field)
}

/// Three flat colours.
fn patches(canvas: &mut Canvas<'_>) -> Picture {
    let cells = 1 << (1 + canvas.stream.below(4));
    let (field, edge) = (canvas.noise([cells; 2], 3), canvas.range(0.05, 0.25));
    let (colors, width) = ([canvas.color(), canvas.color(), canvas.color()], canvas.width);
    canvas.paint(|y, x| {
        let value = field[y * width + x];
        colors[usize::from(value > -edge) + usize::from(value > edge)]
    })
}

fn stripes(canvas: &mut Canvas<'_>) -> Picture {
    let (waves, share, colors) = (canvas.waves(), canvas.range(0.2, 0.8), [canvas.color(), canvas.color()]);
    canvas.paint(|y, x| {
        let phase = waves(y, x)[0];
        colors[usize::from(phase - phase.floor() < share)]
    })
}

fn checks(canvas: &mut Canvas<'_>) -> Picture {
    let (waves, colors) = (canvas.waves(), [canvas.color(), canvas.color()]);
    canvas.paint(|y, x| {
        let [down, across] = waves(y, x);
        colors[usize::from(is_even(down) == is_even(across))]
    })
}

/// Threads in two directions, each above and below the other by turns.
fn weave(canvas: &mut Canvas<'_>) -> Picture {
    let (waves, colors, ground) = (canvas.waves(), [canvas.color(), canvas.color()], canvas.color());
    canvas.paint(|y, x| {
        let place = waves(y, x);
        let above = usize::from(is_even(place[0]) == is_even(place[1]));
        let part = place[above] - place[above].floor();
        blend(ground, colors[above], 1.0 - (2.0 * part - 1.0).powi(2))
    })
}

/// A random point in every square of a grid, with its colour.
struct Points {
    columns: usize,
    /// Place within the square and colour, with a border of one square around the picture.
    points: Vec<([f32; 2], Color)>,
    /// Squares to a pixel.
    scale: f32,
}

impl Points {
    fn new(canvas: &mut Canvas<'_>, palette: &[Color]) -> Self {
        let extent = canvas.height.max(canvas.width);
        let across = 4 << canvas.stream.below(4);
        let scale = across as f32 / extent as f32;
        let squares = |pixels: usize| (pixels as f32 * scale).ceil() as usize + 2;
        let (rows, columns) = (squares(canvas.height), squares(canvas.width));
        let mut point = || {
            let place = [canvas.stream.uniform() as f32, canvas.stream.uniform() as f32];
            (place, palette[canvas.stream.below(palette.len() as u64) as usize])
        };
        Self { columns, points: (0..rows * columns).map(|_| point()).collect(), scale }
    }

    /// Squared distances to the nearest and the second nearest point, in squares, and the nearest one's colour.
    fn nearest(&self, y: usize, x: usize) -> (f32, f32, Color) {
        let (down, across) = (y as f32 * self.scale, x as f32 * self.scale);
        let (row, column) = (down as usize, across as usize);
        let (mut first, mut second, mut color) = (f32::MAX, f32::MAX, [0.0; 3]);
        for i in 0..3 {
            for j in 0..3 {
                let Some((place, own)) = self.points.get((row + i) * self.columns + column + j) else { continue };
                let away = [(row + i) as f32 - 1.0 + place[0] - down, (column + j) as f32 - 1.0 + place[1] - across];
                let distance = away[0] * away[0] + away[1] * away[1];
                if distance < first {
                    (second, first, color) = (first, distance, *own);
                } else if distance < second {
                    second = distance;
                }
            }
        }
        (first, second, color)
    }
}

/// Every pixel has the colour of the nearest point; half of the pictures have joints between the cells.
fn cells(canvas: &mut Canvas<'_>) -> Picture {
    let palette: Vec<Color> = (0..4).map(|_| canvas.color()).collect();
    let (points, joint, dark) = (Points::new(canvas, &palette), canvas.range(-0.15, 0.15), canvas.color());
    canvas.paint(|y, x| {
        let (first, second, color) = points.nearest(y, x);
        if second.sqrt() - first.sqrt() < joint { dark } else { color }
    })
}

/// Round dots on a ground.
fn dots(canvas: &mut Canvas<'_>) -> Picture {
    let palette: Vec<Color> = (0..3).map(|_| canvas.color()).collect();
    let (points, radius, ground) = (Points::new(canvas, &palette), canvas.range(0.2, 0.5), canvas.color());
    canvas.paint(|y, x| {
        let (distance, _, color) = points.nearest(y, x);
        if distance < radius * radius { color } else { ground }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_the_size_asked_for_and_more_than_one_colour() {
        for (i, painter) in PAINTERS.iter().enumerate() {
            let mut stream = Stream::new(i as u64, "texture");
            let picture = painter(&mut Canvas { height: 40, width: 56, stream: &mut stream });
            for plane in &picture.planes {
                assert_eq!(plane.len(), 40 * 56);
            }
            let varied = picture.planes.iter().any(|plane| plane.iter().any(|x| *x != plane[0]));
            assert!(varied, "painter {i}");
        }
    }
}
