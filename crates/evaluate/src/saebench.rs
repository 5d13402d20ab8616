//! Results in the format of SAEBench's core evaluation.

use burn::tensor::DType;
use nanoscope_corpus::SpecialTokens;
use nanoscope_sae::{Architecture, Normalization};
use serde_json::{Map, Value, json};

use crate::metrics::{FEATURE_METRICS, Group};
use crate::{EvalOptions, EvalTarget, Evaluation};

/// Metadata of the run that produced a result.
#[derive(Debug, Clone)]
pub struct RunInfo {
    /// A unique id of the run, a UUID.
    pub id: String,
    /// End of the run, in milliseconds since 1970.
    pub epoch_millis: u64,
    /// Program name and version.
    pub program: String,
    /// The model's name.
    pub model: String,
    /// The source of the tokens.
    pub dataset: String,
    /// Tokens per context.
    pub context_len: usize,
}

/// Formats the evaluation of `target` like SAEBench's `core` evaluation. Anything that format does
/// not cover is under `nanoscope`.
///
/// Undefined values are −1, as in SAEBench; under `nanoscope` they are null.
pub fn saebench(
    evaluation: &Evaluation,
    target: &EvalTarget,
    options: EvalOptions,
    run: &RunInfo,
) -> Value {
    let group = |group: Group, undefined: Value| {
        let values = evaluation.metrics().filter(|(metric, _)| metric.group == group);
        let value = |value: f64| if value.is_finite() { number(value) } else { undefined.clone() };
        values.map(|(metric, v)| (metric.name.to_owned(), value(v))).collect::<Map<_, _>>()
    };
    let (ours, theirs): (Vec<Group>, Vec<Group>) =
        Group::ALL.iter().partition(|group| !group.is_saebench());
    let metrics: Map<_, _> =
        theirs.iter().map(|&of| (of.name().to_owned(), group(of, json!(-1)).into())).collect();
    let mut own: Map<_, _> =
        ours.iter().map(|&of| (of.name().to_owned(), group(of, Value::Null).into())).collect();
    own.insert("name".into(), target.name().into());
    own.insert("hook_point".into(), target.read().to_string().into());
    own.insert("hook_point_out".into(), target.write().to_string().into());
    own.insert("special_tokens_counted".into(), (options.special == SpecialTokens::Keep).into());

    let batches = evaluation.get(Group::TokenStats, "total_tokens_eval_reconstruction")
        / (run.context_len * options.batch_contexts) as f64;
    json!({
        "eval_type_id": "core",
        "eval_config": {
            "model_name": run.model,
            "batch_size_prompts": options.batch_contexts,
            "n_eval_reconstruction_batches": batches.ceil() as u64,
            "n_eval_sparsity_variance_batches": batches.ceil() as u64,
            "exclude_special_tokens_from_reconstruction": options.special == SpecialTokens::Skip,
            "dataset": run.dataset,
            "context_size": run.context_len,
            "compute_kl": true,
            "compute_ce_loss": true,
            "compute_l2_norms": true,
            "compute_sparsity_metrics": true,
            "compute_variance_metrics": true,
            "compute_featurewise_density_statistics": true,
            "compute_featurewise_weight_based_metrics": true,
            "llm_dtype": "float32",
        },
        "eval_id": run.id,
        "datetime_epoch_millis": run.epoch_millis,
        "eval_result_metrics": metrics,
        "eval_result_details": details(evaluation),
        "eval_result_unstructured": {},
        "sae_bench_commit_hash": null,
        "sae_lens_id": target.read().to_string(),
        "sae_lens_release_id": target.name(),
        "sae_lens_version": run.program,
        "sae_cfg_dict": config(target),
        "nanoscope": own,
    })
}

/// Returns one object per feature, beginning with its index.
pub fn details(evaluation: &Evaluation) -> Vec<Value> {
    let detail = |(index, values): (usize, &Vec<f64>)| {
        let mut detail = Map::new();
        detail.insert("index".into(), index.into());
        for (metric, &value) in FEATURE_METRICS.iter().zip(values) {
            let value = if value.is_finite() { number(value) } else { json!(-1) };
            detail.insert(metric.name.into(), value);
        }
        detail.into()
    };
    evaluation.features().iter().enumerate().map(detail).collect()
}

/// Formats whole numbers as integers, like SAEBench's token counts.
fn number(value: f64) -> Value {
    let whole = value.fract() == 0.0 && value.abs() < 1e15;
    if whole { json!(value as i64) } else { json!(value) }
}

/// The SAE's configuration, with SAELens's names where it has them.
fn config(target: &EvalTarget) -> Value {
    let config = target.sae().config();
    let mut out = json!({
        "architecture": saelens_name(config.architecture()),
        "d_in": config.d_in(),
        "d_sae": config.d_sae(),
        "d_out": config.d_out(),
        "hook_name": target.read().to_string(),
        "hook_name_out": target.write().to_string(),
        "apply_b_dec_to_input": config.apply_b_dec_to_input(),
        "normalize_activations": config.normalization().name(),
        "dtype": dtype(target.sae().dtype()),
    });
    if let Some(k) = config.architecture().k() {
        out["k"] = k.into();
    }
    if let Normalization::ExpectedAverageOnlyIn { scale } = config.normalization() {
        out["activation_scale"] = scale.into();
    }
    out
}

/// PyTorch's name of the data type.
fn dtype(dtype: DType) -> String {
    match dtype {
        DType::F32 => "float32".to_owned(),
        DType::F16 => "float16".to_owned(),
        DType::BF16 => "bfloat16".to_owned(),
        DType::I8 => "int8".to_owned(),
        other => format!("{other:?}").to_lowercase(),
    }
}

fn saelens_name(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::Relu => "standard",
        Architecture::TopK { .. } => "topk",
        Architecture::AbsTopK { .. } => "abstopk",
        Architecture::MatchingPursuit { .. } => "matching_pursuit",
        other => other.name(),
    }
}
