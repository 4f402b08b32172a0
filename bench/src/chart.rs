//! Score curves as pictures: one video, a line for each variant, anomalous frames shaded.

use std::sync::OnceLock;

use image::RgbImage;
use mimus_core::{Error, ErrorKind, Result};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::prelude::*;
use plotters::style::{FontDesc, register_font};

/// What is drawn of one video.
pub(crate) struct Chart {
    pub(crate) title: String,
    /// Numbers of its first and last frame.
    pub(crate) frames: [u64; 2],
    /// Numbers of the first and last frame of each anomalous stretch.
    pub(crate) anomalous: Vec<[u64; 2]>,
    pub(crate) lines: Vec<Line>,
}

/// One variant.
pub(crate) struct Line {
    /// What the legend says.
    pub(crate) name: String,
    /// Frame numbers, and scores from 0 to 1.
    pub(crate) points: Vec<(u64, f64)>,
}

/// Colours that people with any kind of colour blindness tell apart (Okabe and Ito 2008), without the yellow that white swallows.
const COLORS: [RGBColor; 7] = [
    RGBColor(0, 0, 0),
    RGBColor(230, 159, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(86, 180, 233),
    RGBColor(204, 121, 167),
];
/// Behind anomalous frames.
const SHADE: RGBColor = RGBColor(232, 232, 232);
const GRID: RGBColor = RGBColor(215, 215, 215);

/// Pixels: of the part with axes, of a line of the legend, and of its samples of colour.
const PLOT: [u32; 2] = [900, 340];
const ROW: u32 = 22;
const SAMPLE: i32 = 28;
const MARGIN: u32 = 12;
const TITLE: f64 = 19.0;
const TEXT: f64 = 15.0;

type Area<'a, B> = DrawingArea<B, Shift>;
type Drawn<B> = std::result::Result<(), DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;

impl Chart {
    /// As a file of SVG.
    pub(crate) fn svg(&self) -> Result<String> {
        let mut text = String::new();
        let area = SVGBackend::with_string(&mut text, self.size()?).into_drawing_area();
        self.draw(&area).map_err(failed)?;
        drop(area);
        Ok(text)
    }

    /// As pixels.
    pub(crate) fn pixels(&self) -> Result<RgbImage> {
        let (width, height) = self.size()?;
        let mut image = RgbImage::new(width, height);
        let area = BitMapBackend::with_buffer(&mut image, (width, height)).into_drawing_area();
        self.draw(&area).map_err(failed)?;
        drop(area);
        Ok(image)
    }

    /// Everything that is written fits.
    fn size(&self) -> Result<(u32, u32)> {
        let legend = self.legend_width()?;
        let width = (PLOT[0] + legend).max(width(&self.title, TITLE)? + 4 * MARGIN);
        Ok((width, PLOT[1].max(ROW * (self.lines.len() as u32 + 3))))
    }

    fn legend_width(&self) -> Result<u32> {
        let names = self.lines.iter().map(|line| line.name.as_str()).chain([SHADED]);
        let widest = names.map(|name| width(name, TEXT)).try_fold(0, |widest, width| width.map(|w| widest.max(w)))?;
        Ok(widest + SAMPLE as u32 + 3 * MARGIN)
    }

    fn draw<B: DrawingBackend>(&self, area: &Area<'_, B>) -> Drawn<B> {
        area.fill(&WHITE)?;
        let area = area.titled(&self.title, font(TITLE))?;
        let legend = self.legend_width().unwrap_or_default();
        let (plot, legend) = area.split_horizontally(area.dim_in_pixel().0.saturating_sub(legend));
        self.draw_plot(&plot)?;
        self.draw_legend(&legend)
    }

    fn draw_plot<B: DrawingBackend>(&self, area: &Area<'_, B>) -> Drawn<B> {
        let [first, last] = self.frames.map(|frame| frame as f64);
        let mut context = ChartBuilder::on(area)
            .margin(MARGIN)
            .x_label_area_size(42)
            .y_label_area_size(58)
            .build_cartesian_2d(Frames { first, last }, -0.02..1.02)?;
        let shade = |[from, to]: &[u64; 2]| {
            Rectangle::new([(*from as f64 - 0.5, -0.02), (*to as f64 + 0.5, 1.02)], SHADE.filled())
        };
        context.draw_series(self.anomalous.iter().map(shade))?;
        context
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(WHITE.mix(0.0))
            .bold_line_style(GRID)
            .y_labels(6)
            .y_label_formatter(&|y| format!("{y:.1}"))
            .x_label_formatter(&|x| format!("{x:.0}"))
            .x_desc("frame")
            .y_desc(SCALE)
            .label_style(font(TEXT))
            .axis_desc_style(font(TEXT))
            .draw()?;
        // The first line is what the others are compared with: it comes last, so that none hides it.
        for (i, line) in self.lines.iter().enumerate().rev() {
            let points = line.points.iter().map(|(frame, score)| (*frame as f64, *score));
            match line.points.len() {
                1 => context.draw_series(points.map(|point| Circle::new(point, 4, style(i).filled())))?,
                _ if dashed(i) => {
                    context.draw_series(DashedLineSeries::new(points.collect::<Vec<_>>(), 6, 4, style(i)))?
                }
                _ => context.draw_series(LineSeries::new(points, style(i)))?,
            };
        }
        Ok(())
    }

    fn draw_legend<B: DrawingBackend>(&self, area: &Area<'_, B>) -> Drawn<B> {
        let height = |row: usize| (MARGIN + ROW * row as u32) as i32;
        let text = |row: usize, text: &str| Text::new(text.to_owned(), (SAMPLE + 8, height(row)), font(TEXT));
        for (i, line) in self.lines.iter().enumerate() {
            let middle = height(i) + 8;
            let ends: &[(i32, i32)] = if dashed(i) { &[(0, 12), (16, SAMPLE)] } else { &[(0, SAMPLE)] };
            for (from, to) in ends {
                area.draw(&PathElement::new([(*from, middle), (*to, middle)], style(i)))?;
            }
            area.draw(&text(i, &line.name))?;
        }
        let row = self.lines.len();
        area.draw(&Rectangle::new([(0, height(row) + 2), (SAMPLE, height(row) + 14)], SHADE.filled()))?;
        area.draw(&text(row, SHADED))
    }
}

/// What the vertical axis says.
const SCALE: &str = "score, in the variant's range over all videos";
/// What the legend says of the shade.
const SHADED: &str = "anomalous frames";

/// From the left edge of the first frame to the right edge of the last; marked at whole numbers only.
#[derive(Clone)]
struct Frames {
    first: f64,
    last: f64,
}

impl Ranged for Frames {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let share = (value - self.first + 0.5) / (self.last - self.first + 1.0);
        limit.0 + (share * f64::from(limit.1 - limit.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        let most = hint.max_num_points().clamp(2, 12) as f64;
        let steps = (0..).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power)));
        let step = steps.into_iter().find(|step| (self.last - self.first) / step < most).unwrap_or(f64::INFINITY);
        let first = (self.first / step).ceil() * step;
        (0..).map(|i| first + f64::from(i) * step).take_while(|x| *x <= self.last).collect()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.first - 0.5..self.last + 0.5
    }
}

fn style(line: usize) -> ShapeStyle {
    COLORS[line % COLORS.len()].stroke_width(2)
}

/// Where the colours begin anew.
fn dashed(line: usize) -> bool {
    line / COLORS.len() % 2 == 1
}

/// Name under which the font is known to the drawing and, since files of SVG hold no font, to what shows them.
const FONT: &str = "sans-serif";

fn font(size: f64) -> FontDesc<'static> {
    static REGISTERED: OnceLock<()> = OnceLock::new();
    // A font that cannot be read is told by the first text that is measured.
    REGISTERED.get_or_init(|| {
        let _ = register_font(FONT, FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT);
    });
    FontDesc::new(FONT.into(), size, FontStyle::Normal)
}

fn width(text: &str, size: f64) -> Result<u32> {
    font(size).box_size(text).map(|(width, _)| width).map_err(failed)
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Io, format!("the score curve cannot be drawn: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(frames: [u64; 2], lines: &[&[(u64, f64)]]) -> Chart {
        let line = |(i, points): (usize, &&[(u64, f64)])| Line { name: format!("line <{i}>"), points: points.to_vec() };
        Chart {
            title: "a & b".to_owned(),
            frames,
            anomalous: vec![[frames[0], frames[0]]],
            lines: lines.iter().enumerate().map(line).collect(),
        }
    }

    fn count(image: &RgbImage, color: RGBColor) -> usize {
        image.pixels().filter(|pixel| pixel.0 == [color.0, color.1, color.2]).count()
    }

    #[test]
    fn both_forms_show_lines_shade_and_text() {
        let points: Vec<(u64, f64)> = (3..=102).map(|frame| (frame, (frame % 10) as f64 / 9.0)).collect();
        let chart = chart([3, 102], &[&points, &[(3, 0.0), (102, 0.0)]]);
        let image = chart.pixels().unwrap();
        let flat = count(&image, COLORS[1]);
        assert!(flat > 700, "a flat line across the plot, {flat}");
        let zigzag = count(&image, COLORS[0]);
        assert!(zigzag > 500, "{zigzag}");
        let shaded = count(&image, SHADE);
        let legend = SAMPLE as usize * 12;
        assert!((1500..3500).contains(&(shaded - legend)), "one frame of a hundred, {shaded}");
        let svg = chart.svg().unwrap();
        for text in ["a &amp; b", "line &lt;1&gt;", "range over all videos", "anomalous frames", "polyline"] {
            assert!(svg.contains(text), "{text}");
        }
    }

    #[test]
    fn one_frame_is_a_point_and_frames_are_marked_at_whole_numbers() {
        let image = chart([7, 7], &[&[(7, 0.0)]]).pixels().unwrap();
        assert!(count(&image, COLORS[0]) > 40);
        assert_eq!(Frames { first: 7.0, last: 7.0 }.key_points(10), [7.0]);
        assert_eq!(Frames { first: 3.0, last: 6.0 }.key_points(10), [3.0, 4.0, 5.0, 6.0]);
        assert_eq!(
            Frames { first: 1.0, last: 180.0 }.key_points(10),
            [20.0, 40.0, 60.0, 80.0, 100.0, 120.0, 140.0, 160.0, 180.0]
        );
    }

    #[test]
    fn long_names_and_many_lines_make_the_picture_larger() {
        let mut large = chart([0, 9], &[&[(0, 0.0), (9, 1.0)][..]; 20]);
        large.title = "x".repeat(300);
        let (width, height) = large.size().unwrap();
        assert!(width > 2000 && height > 20 * ROW, "{width} x {height}");
        assert!(large.pixels().is_ok() && large.svg().is_ok());
    }
}
