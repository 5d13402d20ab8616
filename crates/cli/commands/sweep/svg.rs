//! Sweeps as SVG.

use nanoscope::Microscope;
use nanoscope_runtime::{Fluency, Scale};

use super::chart::{Chart, Curve, Level, Panel, draw as draw_chart};
use super::lines::quoted;
use super::measure::{FeatureSweep, Point, Question, Sweep};
use super::strength::{strength, unit, value};
use crate::commands::metric::described;
use crate::terminal::feature_name::Naming;

/// Draws the metric and the fluency ratio against the strength, with a curve for each feature.
pub(super) fn draw(scope: &Microscope, question: &Question<'_>, swept: &Sweep) -> String {
    draw_chart(&chart(scope, question, swept))
}

fn chart(scope: &Microscope, question: &Question<'_>, swept: &Sweep) -> Chart {
    let metric = described(question.model, swept.metric);
    let op = swept.features.iter().flat_map(|feature| &feature.points).map(|point| point.op).next();
    let x_name = op.map(|op| format!("strength of {}: {}", op.name(), unit(op)));
    let ratio = |point: &Point| swept.fluency(point).as_ref().and_then(Fluency::ratio);
    Chart {
        title: format!("after \"{}\"", quoted(question)),
        x_name: x_name.unwrap_or_default(),
        is_share: op.and_then(nanoscope_runtime::Op::scale) == Some(Scale::Norm),
        names: swept.features.iter().map(|feature| name(scope, feature)).collect(),
        panels: vec![
            Panel {
                name: metric,
                levels: vec![Level::quiet(swept.unsteered.metric.into(), "unsteered")],
                curves: curves(swept, |point| Some(point.measured.metric.into())),
            },
            Panel {
                name: "fluency: nats per token, times unsteered".to_owned(),
                levels: vec![
                    Level::quiet(1.0, "unsteered"),
                    Level::marked(Fluency::BROKEN, "texts break"),
                ],
                curves: curves(swept, ratio),
            },
        ],
    }
}

/// The curve of each feature. A point without a value is left out.
fn curves(swept: &Sweep, of: impl Fn(&Point) -> Option<f64>) -> Vec<Curve> {
    let place = |point: &Point| Some((f64::from(value(point.op)), of(point)?, strength(point.op)));
    let curve = |feature: &FeatureSweep| Curve(feature.points.iter().filter_map(place).collect());
    swept.features.iter().map(curve).collect()
}

fn name(scope: &Microscope, feature: &FeatureSweep) -> String {
    scope.prepare(feature.hook, &[(feature.feature, 0.0)]);
    let name = Naming::name(scope, feature.hook, feature.feature);
    let name = name.map(|name| format!("  {}", name.shown(usize::MAX))).unwrap_or_default();
    format!("{}:{}{name}", feature.hook, feature.feature)
}
