//! Draws `curves.svg`, a run's metrics over its steps.

use std::ops::Range;
use std::path::Path;

use nanoscope_hooks::HookPoint;
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;

use super::folder::write_atomically;
use super::metrics::{CURVES, Point};
use super::run_error::RunError;

const WIDTH: u32 = 1100;
const PANEL: u32 = 300;
const LEGEND_LINE: u32 = 20;
const LEGEND_COLUMNS: usize = 3;
/// Maximum points of a curve: a screen does not show more.
const MAX_POINTS: usize = 1000;
/// Okabe and Ito's colours, which people with colour blindness can tell apart. The blue is a little
/// lighter; black, white and yellow are left out, because they are not visible on every background.
const COLOURS: [RGBColor; 6] = [
    RGBColor(40, 138, 204),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
];
/// Placeholder for the text colour, replaced by `currentColor` when the file is written.
const INK: RGBColor = RGBColor(1, 2, 3);
const INK_TEXT: &str = "#010203";
/// Text and background colours that follow the viewer's colour scheme, both in standalone files and
/// in images.
const STYLE: &str = "<style>svg{color:#22242a;background:#fff}\
    @media(prefers-color-scheme:dark){svg{color:#d8dae0;background:#17181c}}</style>";

/// Draws the metrics of each hook point to the SVG file at `path`: lines for training batches, dots
/// for held-out data.
pub(crate) fn draw(
    path: &Path,
    hooks: &[HookPoint],
    points: &[Vec<Point>],
) -> Result<(), RunError> {
    let mut text = String::new();
    render(&mut text, hooks, points)
        .map_err(|reason| RunError::Curves { path: path.to_owned(), reason })?;
    let text = text.replace(INK_TEXT, "currentColor");
    let text = match text.find("<svg").and_then(|at| Some(at + text[at..].find('>')? + 1)) {
        Some(at) => format!("{}\n{STYLE}{}", &text[..at], &text[at..]),
        None => text,
    };
    write_atomically(path, text.as_bytes())
}

fn render(text: &mut String, hooks: &[HookPoint], points: &[Vec<Point>]) -> Result<(), String> {
    let legend = LEGEND_LINE * (hooks.len().div_ceil(LEGEND_COLUMNS) as u32 + 2);
    let root = SVGBackend::with_string(text, (WIDTH, legend + 2 * PANEL)).into_drawing_area();
    let (top, panels) = root.split_vertically(legend);
    let font = |size: u32| ("sans-serif", size).into_font().color(&INK);
    let failed = |error: DrawingAreaErrorKind<_>| error.to_string();
    for (at, hook) in hooks.iter().enumerate() {
        let x = 60 + (at % LEGEND_COLUMNS) as i32 * ((WIDTH as i32 - 80) / LEGEND_COLUMNS as i32);
        let y = LEGEND_LINE as i32 * (at / LEGEND_COLUMNS + 1) as i32;
        let style = ShapeStyle::from(colour(at)).filled().stroke_width(3);
        top.draw(&PathElement::new([(x, y), (x + 24, y)], style)).map_err(failed)?;
        top.draw(&Text::new(hook.to_string(), (x + 32, y - 6), font(14))).map_err(failed)?;
    }
    let note = "lines: training batches; dots: held-out data";
    let at = (60, legend as i32 - LEGEND_LINE as i32 - 4);
    top.draw(&Text::new(note, at, font(12))).map_err(failed)?;

    let last = points.iter().flatten().map(|point| point.step).max().unwrap_or(1).max(1);
    let steps = 0.0..last as f64;
    let titles =
        ["loss (log scale)", "explained variance", "L0: features per activation", "dead features"];
    for ((at, panel), title) in panels.split_evenly((2, 2)).iter().enumerate().zip(titles) {
        let series = Series { at, title, points };
        let values = series.range();
        match CURVES[at] {
            "loss" => {
                let least = values.start.max(values.end * 1e-6).max(f64::MIN_POSITIVE);
                let values = least..values.end.max(least * 1.1);
                series.draw(panel, steps.clone(), values.log_scale())?;
            }
            "explained_variance" => {
                series.draw(panel, steps.clone(), values.start.max(-1.0)..1.0)?;
            }
            _ => series.draw(panel, steps.clone(), 0.0..(values.end * 1.05).max(1.0))?,
        }
    }
    root.present().map_err(failed)
}

/// One of the four metrics, at all hook points.
struct Series<'a> {
    at: usize,
    title: &'a str,
    points: &'a [Vec<Point>],
}

impl Series<'_> {
    fn range(&self) -> Range<f64> {
        let all = self.points.iter().flatten();
        let values = all
            .flat_map(|point| [point.train[self.at], point.validation[self.at]])
            .flatten()
            .filter(|value| value.is_finite());
        let (least, most) = values
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), value| (a.min(value), b.max(value)));
        if least <= most { least..most } else { 0.0..1.0 }
    }

    fn draw<Y>(
        &self,
        panel: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
        steps: Range<f64>,
        values: Y,
    ) -> Result<(), String>
    where
        Y: AsRangedCoord<Value = f64>,
        Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let failed = |error: DrawingAreaErrorKind<_>| error.to_string();
        let font = |size: u32| ("sans-serif", size).into_font().color(&INK);
        let mut chart = ChartBuilder::on(panel)
            .caption(self.title, font(16))
            .margin(12)
            .x_label_area_size(28)
            .y_label_area_size(56)
            .build_cartesian_2d(steps, values)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(INK.mix(0.15))
            .axis_style(INK.mix(0.5))
            .label_style(font(12))
            .x_labels(8)
            .y_labels(6)
            .x_label_formatter(&|step| short(*step))
            .y_label_formatter(&|value| short(*value))
            .draw()
            .map_err(failed)?;
        for (hook, points) in self.points.iter().enumerate() {
            let curve = thinned(points, |point| point.train[self.at]);
            let style = colour(hook).mix(0.85).stroke_width(2);
            chart.draw_series(LineSeries::new(curve, style)).map_err(failed)?;
            let dots = thinned(points, |point| point.validation[self.at]);
            let dot = |at| Circle::new(at, 3, colour(hook).filled());
            chart.draw_series(dots.into_iter().map(dot)).map_err(failed)?;
        }
        Ok(())
    }
}

fn colour(at: usize) -> RGBColor {
    COLOURS[at % COLOURS.len()]
}

/// Returns the values that are present, at evenly spaced steps if there are too many.
fn thinned(points: &[Point], value: impl Fn(&Point) -> Option<f64>) -> Vec<(f64, f64)> {
    let there: Vec<(f64, f64)> = points
        .iter()
        .filter_map(|point| Some((point.step as f64, value(point).filter(|v| v.is_finite())?)))
        .collect();
    let every = there.len().div_ceil(MAX_POINTS).max(1);
    there.into_iter().step_by(every).collect()
}

/// Formats a number for an axis.
fn short(value: f64) -> String {
    let size = value.abs();
    if size >= 1e6 {
        format!("{}M", trimmed(value / 1e6))
    } else if size >= 1e4 {
        format!("{}k", trimmed(value / 1e3))
    } else {
        trimmed(value)
    }
}

fn trimmed(value: f64) -> String {
    let text = if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.3}") };
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_on_axes_are_short() {
        let all = [0.0, 0.25, 3.0, 32.0, 1500.0, 20_000.0, 2_500_000.0, -0.5].map(short);

        assert_eq!(all, ["0", "0.25", "3", "32", "1500", "20k", "2.5M", "-0.5"]);
    }

    #[test]
    fn the_curves_have_each_hook_point_and_no_colour_that_a_dark_ground_hides() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("curves.svg");
        let point = |step: u64| Point {
            step,
            train: [Some(1.0 / step as f64), Some(0.5), Some(32.0), None],
            validation: [Some(f64::NAN), None, Some(31.0), Some(7.0)],
        };
        let points = vec![(1..2500).map(point).collect(), Vec::new()];

        draw(&path, &[HookPoint::ResidPost(0), HookPoint::Z(1)], &points).unwrap();

        let text = std::fs::read_to_string(&path).unwrap();
        for part in ["blocks.0.hook_resid_post", "blocks.1.attn.hook_z", "dead features"] {
            assert!(text.contains(part), "{part}");
        }
        assert!(text.contains("fill=\"currentColor\"") && text.contains("prefers-color-scheme"));
        for colour in ["#000000", "#FFFFFF", INK_TEXT] {
            assert!(!text.contains(colour), "{colour}");
        }
    }
}
