use nanoscope_hooks::HookPoint;
use serde::Serialize;

/// The causes of a prediction or of a feature, in the form of nanoscope's JSON.
///
/// All features and errors are those of positions up to [`position`](Self::position). Positive numbers speak for the
/// target.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The tokens up to the position.
    pub tokens: Vec<u32>,
    /// Their texts.
    pub texts: Vec<String>,
    /// The position that the question is about: what is predicted after this token, or where the feature is.
    pub position: usize,
    /// The subject.
    pub target: ReportSubject,
    /// The token that the target is compared with.
    pub contrast: Option<ReportToken>,
    /// The number that is attributed.
    pub metric: ReportMetric,
    /// The number of points of [`ReportFeature::ig`]; 1 if gradients alone were computed.
    pub ig_steps: usize,
    /// The sums over all positions, by SAE in execution order.
    pub hooks: Vec<ReportHook>,
    /// The number of active features at all positions, of which [`features`](Self::features) may be a part.
    pub found: usize,
    /// The active features, those with the largest absolute attribution first.
    pub features: Vec<ReportFeature>,
    /// The error term of every SAE at every position.
    pub errors: Vec<ReportError>,
    /// The likeliest tokens after the position; empty if the target is a feature.
    pub alternatives: Vec<ReportToken>,
    /// The direct effects of the parts of the model, before the softcap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub components: Option<Vec<ReportComponent>>,
    /// The logit lens at the position, by hook point in execution order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lens: Vec<ReportLens>,
    /// The metric with the strongest features alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub faithfulness: Option<ReportFaithfulness>,
    /// The intervention that takes the strongest feature away.
    pub steer: Option<String>,
}

/// The subject of a report.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ReportSubject {
    /// A token.
    Token(ReportToken),
    /// A feature.
    Feature(ReportTargetFeature),
}

/// A token that may follow.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReportToken {
    /// The token.
    pub id: u32,
    /// Its text.
    pub text: String,
    /// Its place among the likeliest tokens, from 1.
    pub rank: usize,
    /// Its logit, after the softcap.
    pub logit: f32,
    /// Its log probability in nats, at temperature 1.
    pub logprob: f64,
}

/// A feature whose pre-activation is explained.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReportTargetFeature {
    /// The hook point that its SAE reads.
    pub hook: HookPoint,
    /// Its position.
    pub position: usize,
    /// The feature.
    pub feature: usize,
    /// Its pre-activation.
    pub pre_activation: f32,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// True if no person gave the name.
    #[serde(skip_serializing_if = "is_false")]
    pub auto: bool,
}

/// The number that is attributed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ReportMetric {
    /// `logit_diff`, `logprob`, `logit` or `pre_activation`.
    pub name: &'static str,
    /// Its value.
    pub value: f32,
}

/// The terms of one SAE, summed over all positions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ReportHook {
    /// The hook point that it reads.
    pub hook: HookPoint,
    /// The number of active features.
    pub active: usize,
    /// The sum of their attributions.
    pub features: f64,
    /// The sum of the error terms.
    pub error: f64,
    /// The sum of the bias terms.
    pub bias: f64,
    /// `Σ |error| / (Σ |error| + Σ |attribution|)`.
    pub error_share: f64,
    /// The sum of the integrated gradients.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ig: Option<f64>,
    /// The metric without any feature of this SAE, if gradients were integrated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without_features: Option<f32>,
}

/// An active feature at a position.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReportFeature {
    /// The hook point that its SAE reads.
    pub hook: HookPoint,
    /// Its position.
    pub position: usize,
    /// The feature.
    pub feature: u32,
    /// Its value.
    pub activation: f32,
    /// The derivative of the metric by its value.
    pub gradient: f32,
    /// Value times gradient.
    pub attribution: f32,
    /// The exact change: the metric less the metric without the feature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ablation: Option<f32>,
    /// True if attribution and ablation have opposite signs, or one is more than twice the other.
    #[serde(skip_serializing_if = "is_false")]
    pub disagrees: bool,
    /// Its integrated gradient.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ig: Option<f32>,
    /// Its direct effect on the metric, at the last position.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direct: Option<f32>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// True if no person gave the name.
    #[serde(skip_serializing_if = "is_false")]
    pub auto: bool,
    /// The intervention that takes it away, in its text form.
    pub steer: String,
}

/// The error term of an SAE at a position.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ReportError {
    /// The hook point that the SAE reads.
    pub hook: HookPoint,
    /// The position.
    pub position: usize,
    /// The gradient times what the SAE does not reconstruct.
    pub attribution: f32,
}

/// The direct effect of a part of the model on the logits before the softcap.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReportComponent {
    /// An input of the residual stream, or the hook point of the output of an attention or MLP.
    pub name: String,
    /// The effect on the target's logit.
    pub target: f32,
    /// The effect on the contrast's logit.
    pub contrast: Option<f32>,
}

/// The logit lens at the position of the report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReportLens {
    /// The hook point.
    pub hook: HookPoint,
    /// The likeliest tokens: id, text and probability.
    pub top: Vec<(u32, String, f32)>,
    /// The probability of the target.
    pub target: f32,
    /// The probability of the contrast.
    pub contrast: Option<f32>,
}

/// The metric with the strongest features alone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReportFaithfulness {
    /// The metric without any feature.
    pub without_features: f32,
    /// The metric with some.
    pub kept: Vec<ReportKept>,
}

/// The metric with a number of features alone.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ReportKept {
    /// The number of features.
    pub features: usize,
    /// The metric.
    pub value: f32,
    /// The share of the difference between all features and none; `None` if there is none.
    pub share: Option<f64>,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde requires the reference
fn is_false(value: &bool) -> bool {
    !value
}
