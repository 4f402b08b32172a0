//! Points, colours, soft edges and distances, in coordinates that do not depend on the resolution.

/// A place: x to the right and y down, in units that do not depend on the resolution.
pub type Point = [f64; 2];

/// Red, green, blue, from 0 to 1.
pub type Rgb = [f64; 3];

/// `a + b`.
pub fn add(a: Point, b: Point) -> Point {
    [a[0] + b[0], a[1] + b[1]]
}

/// `a - b`.
pub fn sub(a: Point, b: Point) -> Point {
    [a[0] - b[0], a[1] - b[1]]
}

/// `a * factor`.
pub fn scale(a: Point, factor: f64) -> Point {
    [a[0] * factor, a[1] * factor]
}

/// Euclidean length.
pub fn length(a: Point) -> f64 {
    a[0].hypot(a[1])
}

/// The point at `radius` from the origin in direction `angle`.
pub fn polar(radius: f64, angle: f64) -> Point {
    [radius * angle.cos(), radius * angle.sin()]
}

/// `a` turned about the origin.
pub fn turn(a: Point, angle: f64) -> Point {
    let (sin, cos) = angle.sin_cos();
    [a[0] * cos - a[1] * sin, a[0] * sin + a[1] * cos]
}

/// From `a` at `t = 0` to `b` at `t = 1`.
pub fn mix(a: Rgb, b: Rgb, t: f64) -> Rgb {
    [0, 1, 2].map(|i| a[i] + (b[i] - a[i]) * t)
}

/// `color * factor`.
pub fn shade(color: Rgb, factor: f64) -> Rgb {
    color.map(|channel| channel * factor)
}

/// How much of a spot of diameter `width` lies inside a shape whose border is at signed `distance` (negative inside).
pub fn coverage(distance: f64, width: f64) -> f64 {
    let t = (0.5 - distance / width).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// Distance to the segment from `a` to `b`, and the position along it of the nearest point, from 0 to 1.
pub fn to_segment(p: Point, a: Point, b: Point) -> (f64, f64) {
    let (along, from) = (sub(b, a), sub(p, a));
    let square = along[0] * along[0] + along[1] * along[1];
    let t = if square > 0.0 { ((from[0] * along[0] + from[1] * along[1]) / square).clamp(0.0, 1.0) } else { 0.0 };
    (length(sub(from, scale(along, t))), t)
}

/// Signed distance to a box of the given half extents around the origin.
pub fn to_box(p: Point, half: Point) -> f64 {
    let [x, y] = [p[0].abs() - half[0], p[1].abs() - half[1]];
    length([x.max(0.0), y.max(0.0)]) + x.max(y).min(0.0)
}
