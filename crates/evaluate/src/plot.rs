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
    for (at, point) in points.iter().enumerate() {
        let color = Palette99::pick(at).to_rgba();
        let element = EmptyElement::at((point.l0, point.ce_score))
            + Circle::new((0, 0), 5, color.filled())
            + Text::new(point.name.clone(), (9, -9), ("sans-serif", 20).into_font());
        chart.draw_series([element]).map_err(|e| message(&e))?;
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
}
