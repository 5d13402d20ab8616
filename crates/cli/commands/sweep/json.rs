//! Sweeps as JSON.

use nanoscope::Microscope;
use nanoscope_attribute::Metric;
use serde_json::{Value, json};

use super::measure::{FeatureSweep, Point, Question, Sweep};
use super::strength::{strength, value};
use crate::terminal::applied::fluency_json;
use crate::terminal::feature_name::Naming;

/// The sweep as one object.
pub(super) fn json(scope: &Microscope, question: &Question<'_>, swept: &Sweep) -> Value {
    let token = |id: u32| json!({"id": id, "text": scope.model().token_text(id)});
    let (name, target, contrast) = match swept.metric {
        Metric::LogitDiff { target, contrast } => ("logit_diff", token(target), token(contrast)),
        Metric::LogProb { target } => ("logprob", token(target), Value::Null),
        Metric::Logit { target } => ("logit", token(target), Value::Null),
        Metric::Feature { .. } => ("pre_activation", Value::Null, Value::Null),
    };
    let unsteered = &swept.unsteered;
    let features = swept.features.iter().map(|feature| feature_json(scope, swept, feature));
    json!({
        "tokens": question.tokens,
        "metric": {"name": name, "target": target, "contrast": contrast},
        "sampling": question.sampling,
        "seeds": question.seeds,
        "unsteered": {
            "metric": unsteered.metric, "nll": unsteered.nll, "texts": unsteered.texts,
        },
        "features": features.collect::<Vec<_>>(),
    })
}

fn feature_json(scope: &Microscope, swept: &Sweep, feature: &FeatureSweep) -> Value {
    scope.prepare(feature.hook, &[(feature.feature, 0.0)]);
    let point = |point: &Point| {
        let Point { op, measured } = point;
        json!({
            "intervention": feature.intervention(*op).to_string(),
            "strength": strength(*op),
            "value": value(*op),
            "metric": measured.metric,
            "change": measured.metric - swept.unsteered.metric,
            "fluency": swept.fluency(point).as_ref().map(fluency_json),
            "texts": measured.texts,
        })
    };
    let mut object = json!({
        "hook": feature.hook.to_string(),
        "feature": feature.feature,
        "points": feature.points.iter().map(point).collect::<Vec<_>>(),
    });
    if let Some(name) = Naming::name(scope, feature.hook, feature.feature) {
        object["label"] = json!(name.text());
        if name.automatic {
            object["auto"] = json!(true);
        }
    }
    object
}
