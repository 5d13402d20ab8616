use plotters::prelude::*;

use crate::EvaluateError;

/// Width and height in pixels.
const SIZE: (u32, u32) = (900, 600);

/// A point of the plot: an SAE's sparsity and its cross-entropy score.
#[derive(Debug, Clone, PartialEq)]
pub struct PlotPoint {
    /// The SAE's name.
    pub name: String,
    /// Active features per token.
    pub l0: f64,
    /// The cross-entropy score: 1 for the unmodified model, 0 for zero ablation.
    pub ce_score: f64,
}

/// Size of a label in pixels, and of a point.
const FONT: i32 = 20;
const RADIUS: i32 = 5;

/// Draws the cross-entropy score against L0 as SVG, with a labelled point for each SAE.
///
/// # Errors
/// [`EvaluateError::Plot`] if no point has finite coordinates.
pub fn plot(points: &[PlotPoint]) -> Result<String, EvaluateError> {
    let mut svg = String::new();
    let drawn = draw(points, SVGBackend::with_string(&mut svg, SIZE));
    drawn.map_err(|reason| EvaluateError::Plot { reason })?;
    Ok(svg)
}

fn draw(points: &[PlotPoint], backend: SVGBackend<'_>) -> Result<(), String> {
    let points: Vec<&PlotPoint> =
        points.iter().filter(|p| p.l0.is_finite() && p.ce_score.is_finite()).collect();
    if points.is_empty() {
        return Err("no SAE has a finite L0 and score".to_owned());
    }
    let message = |error: &dyn std::fmt::Display| error.to_string();
    let area = backend.into_drawing_area();
    area.fill(&WHITE).map_err(|e| message(&e))?;
    let mut chart = ChartBuilder::on(&area)
        .caption("Cross-entropy score against active features per token", ("sans-serif", 28))
        .margin(20)
        .x_label_area_size(55)
        .y_label_area_size(90)
        .build_cartesian_2d(
            // Labels are to the right of their points.
            range(points.iter().map(|point| point.l0), 0.25, 0.2),
            range(points.iter().map(|point| point.ce_score), 0.1, 0.02),
        )
        .map_err(|e| message(&e))?;
    chart
        .configure_mesh()
        .x_desc("L0: active features per token")
        .y_desc("CE score: 1 as unmodified, 0 as with zero ablation")
        .axis_desc_style(("sans-serif", 22))
        .label_style(("sans-serif", 19))
        .x_labels(8)
        .light_line_style(TRANSPARENT)
        .draw()
        .map_err(|e| message(&e))?;
    let (x, y) = chart.plotting_area().get_pixel_range();
    let mut labels = Labels::within([x.start, y.start, x.end, y.end]);
    let places: Vec<(i32, i32)> =
        points.iter().map(|point| chart.backend_coord(&(point.l0, point.ce_score))).collect();
    for &place in &places {
        labels.avoid(place);
    }
    let mut unlabelled = 0;
    for (at, (point, &place)) in points.iter().zip(&places).enumerate() {
        let color = Palette99::pick(at).to_rgba();
        area.draw(&Circle::new(place, RADIUS, color.filled())).map_err(|e| message(&e))?;
        let name = shortened(&point.name);
        let Some((label, distant)) = labels.place(place, &name) else {
            unlabelled += 1;
            continue;
        };
        if distant {
            let line = vec![place, (label.0, label.1 + FONT / 2)];
            area.draw(&PathElement::new(line, color.mix(0.5))).map_err(|e| message(&e))?;
        }
        let font = ("sans-serif", FONT).into_font();
        area.draw(&Text::new(name, label, font)).map_err(|e| message(&e))?;
    }
    if unlabelled > 0 {
        let text = format!("{unlabelled} names have no room");
        let place = (SIZE.0 as i32 - 10 - width(&text), SIZE.1 as i32 - FONT - 5);
        let font = ("sans-serif", FONT).into_font();
        area.draw(&Text::new(text, place, font)).map_err(|e| message(&e))?;
    }
    area.present().map_err(|e| message(&e))
}

/// Returns the range of the values with a margin: a tenth of their spread below, and `above` times
/// the spread above. The spread is at least `least_room` times the largest absolute value.
fn range(values: impl Iterator<Item = f64>, above: f64, least_room: f64) -> std::ops::Range<f64> {
    let bounds = (f64::INFINITY, f64::NEG_INFINITY);
    let (least, largest) = values.fold(bounds, |(a, b), value| (a.min(value), b.max(value)));
    let room = (largest - least).max(largest.abs().max(1e-3) * least_room);
    least - room * 0.1..largest + room * above
}

/// Shortens a long name in its middle, because the names of related SAEs differ at either end.
fn shortened(name: &str) -> String {
    const MAX_CHARS: usize = 36;

    let chars: Vec<char> = name.chars().collect();
    if chars.len() <= MAX_CHARS {
        return name.to_owned();
    }
    let (start, end) = (MAX_CHARS / 2, chars.len() + 1 + MAX_CHARS / 2 - MAX_CHARS);
    chars[..start].iter().chain([&'…']).chain(&chars[end..]).collect()
}

/// Places labels beside their points, so that none covers another, a point or an axis.
#[derive(Debug)]
struct Labels {
    /// Left, top, right and bottom of the area between the axes.
    area: [i32; 4],
    /// Left, top, right and bottom of what is drawn already.
    taken: Vec<[i32; 4]>,
}

impl Labels {
    fn within(area: [i32; 4]) -> Self {
        Self { area, taken: Vec::new() }
    }

    /// Keeps labels off a point.
    fn avoid(&mut self, (x, y): (i32, i32)) {
        self.taken.push([x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS]);
    }

    /// Returns the left and top of a label for a point, and whether it is some lines away from it; `None` if
    /// there is no room for it.
    fn place(&mut self, (x, y): (i32, i32), name: &str) -> Option<((i32, i32), bool)> {
        /// Distance of a label from its point in pixels.
        const GAP: i32 = 9;
        /// Lines above and below the point that are tried.
        const MAX_LINES: i32 = 24;

        let width = width(name);
        let sides = [x + GAP, x - GAP - width];
        // Beside the point: above, then below, then ever further away.
        let lines = (0..MAX_LINES).flat_map(|line| [-GAP - FONT * (line + 1) / 2, FONT * line / 2]);
        let mut places = lines.flat_map(|line| sides.map(|left| (left, y + line)));
        let fits = |&(left, top): &(i32, i32)| {
            let label = [left, top, left + width, top + FONT];
            let [from_x, from_y, to_x, to_y] = self.area;
            let inside = left >= from_x && top >= from_y && label[2] <= to_x && label[3] <= to_y;
            inside && self.taken.iter().all(|other| !overlap(&label, other))
        };
        let (left, top) = places.find(fits)?;
        self.taken.push([left, top, left + width, top + FONT]);
        let distant = (top + FONT / 2 - y).abs() > GAP + FONT;
        Some(((left, top), distant))
    }
}

/// The width of a label in pixels. The font is not known here, so each character counts as a wide one.
fn width(name: &str) -> i32 {
    name.chars().count() as i32 * FONT * 3 / 5
}

fn overlap(a: &[i32; 4], b: &[i32; 4]) -> bool {
    a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(name: &str, l0: f64, ce_score: f64) -> PlotPoint {
        PlotPoint { name: name.to_owned(), l0, ce_score }
    }

    #[test]
    fn every_sae_has_a_point_with_its_name() {
        let svg = plot(&[point("k 32", 32.0, 0.97), point("a <script>", 64.0, 0.99)]).unwrap();

        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert_eq!(svg.matches("<circle").count(), 2, "{svg}");
        assert!(svg.contains("k 32") && svg.contains("a &lt;script&gt;"), "{svg}");
        assert!(!svg.contains("<script>"));
    }

    #[test]
    fn more_features_are_further_right_and_a_better_score_further_up() {
        let svg = plot(&[point("a", 8.0, 0.5), point("b", 64.0, 0.9)]).unwrap();

        let of = |name: &str| -> Vec<f64> {
            let circles = svg.split("<circle").skip(1);
            let numbers = circles.map(|circle| {
                let rest = circle.split(&format!("{name}=\"")).nth(1).unwrap();
                rest.split('"').next().unwrap().parse().unwrap()
            });
            numbers.collect()
        };
        let (x, y) = (of("cx"), of("cy"));
        assert!(x[0] < x[1] && y[0] > y[1], "{x:?} {y:?}");
    }

    #[test]
    fn one_sae_is_a_plot_and_none_is_an_error() {
        assert!(plot(&[point("a", 32.0, 0.97)]).is_ok());
        let error = plot(&[point("a", f64::NAN, 1.0)]).unwrap_err();
        assert_eq!(error.to_string(), "could not draw the plot: no SAE has a finite L0 and score");
    }

    #[test]
    fn labels_of_saes_that_are_alike_do_not_cover_each_other() {
        let points: Vec<PlotPoint> =
            (0..8).map(|n| point(&format!("a name of some length {n}"), 32.0, 0.97)).collect();

        assert_eq!(labels_apart(&plot(&points).unwrap(), "a name of some length 0"), 8);
    }

    #[test]
    fn names_without_room_are_counted_and_long_ones_are_shortened() {
        let name =
            |n: usize| format!("runs/2026-01-05/layer_12/a-long-path-to-an-sae/step-{n:06}.pt");
        let points: Vec<PlotPoint> = (0..90).map(|n| point(&name(n), 32.0, 0.97)).collect();

        let svg = plot(&points).unwrap();

        let short = shortened(&name(7));
        assert_eq!(short, "runs/2026-01-05/la…ae/step-000007.pt");
        let labelled = labels_apart(&svg, &short);
        assert!((10..90).contains(&labelled), "{labelled}");
        assert!(svg.contains(&format!("{} names have no room", 90 - labelled)), "{svg}");
        assert!(!plot(&points[..2]).unwrap().contains("no room"));
        assert_eq!(shortened("ünïcödé"), "ünïcödé");
    }

    /// Checks that labels that begin like `example` are beside each other, between the axes. Returns their
    /// number.
    #[track_caller]
    fn labels_apart(svg: &str, example: &str) -> usize {
        let mut boxes = Vec::new();
        for text in svg.split("<text").skip(1).filter(|text| text.contains(&example[..14])) {
            let number = |name: &str| -> i32 {
                let rest = text.split(&format!(" {name}=\"")).nth(1).unwrap();
                rest.split('"').next().unwrap().parse().unwrap()
            };
            let (x, y) = (number("x"), number("y"));
            boxes.push([x, y, x + width(example), y + FONT]);
        }
        for (at, a) in boxes.iter().enumerate() {
            assert!(a[0] >= 90 && a[1] >= 20 && a[2] <= 880 && a[3] <= 530, "{a:?}");
            for b in &boxes[..at] {
                assert!(!overlap(a, b), "{a:?} and {b:?}");
            }
        }
        boxes.len()
    }
}
