//! Results as JSON and safetensors.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use burn::tensor::{Tensor, TensorData};
use nanoscope_checkpoint::save_tensors;
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{InterpretableModel, RunOutput};
use nanoscope_sae::SparseFeatures;
use nanoscope_transformer::TokenBatch;
use safetensors::tensor::{Dtype, View};
use serde_json::{Value, json};

use crate::terminal::feature_name::Naming;

/// One token of a result, with the same keys in every command.
pub(crate) struct TokenEntry<'a> {
    pub(crate) position: usize,
    pub(crate) token_id: u32,
    pub(crate) token: &'a str,
    /// The log probability that the model gave the token; none for tokens of a prompt.
    pub(crate) logprob: Option<f32>,
    /// The features of each tracked hook point. The token's are in `row`.
    pub(crate) features: &'a BTreeMap<HookPoint, SparseFeatures>,
    pub(crate) row: usize,
}

impl TokenEntry<'_> {
    /// The token as an object, with the `top` strongest features per hook point (default: all).
    pub(crate) fn to_json(&self, top: Option<usize>, names: &dyn Naming) -> Value {
        let features: serde_json::Map<_, _> = self
            .features
            .iter()
            .map(|(hook, features)| {
                (hook.to_string(), features_json(*hook, features, self.row, (top, names)))
            })
            .collect();
        json!({
            "position": self.position,
            "token_id": self.token_id,
            "token": self.token,
            "logprob": self.logprob,
            "features": features,
        })
    }
}

/// The features of one row as `[[index, activation, label?], …]`, the strongest first.
fn features_json(
    hook: HookPoint,
    features: &SparseFeatures,
    row: usize,
    (top, names): (Option<usize>, &dyn Naming),
) -> Value {
    let strongest = features.strongest(row, top.unwrap_or(usize::MAX));
    names.prepare(hook, &strongest);
    let entry = |(index, value): (u32, f32)| match names.name(hook, index) {
        Some(name) if name.automatic => json!([index, value, name.text(), true]),
        Some(name) => json!([index, value, name.text()]),
        None => json!([index, value]),
    };
    Value::Array(strongest.into_iter().map(entry).collect())
}

/// Writes a run to a safetensors file atomically.
pub(crate) fn write_run(
    path: &Path,
    model: &InterpretableModel,
    tokens: &TokenBatch,
    run: &RunOutput,
    captured: &[HookPoint],
) -> Result<()> {
    let (batch, seq) = (tokens.batch(), tokens.seq());
    let ids: Vec<u8> =
        tokens.rows().flatten().flat_map(|&id| i64::from(id).to_le_bytes()).collect();
    let mut tensors = vec![
        (
            "logits".to_owned(),
            Block::floats(run.logits.dims().to_vec(), floats(&run.logits.to_data())),
        ),
        ("tokens".to_owned(), Block { dtype: Dtype::I64, shape: vec![batch, seq], bytes: ids }),
    ];
    for (hook, activation) in run.captured.iter().filter(|(hook, _)| captured.contains(hook)) {
        let block = Block::floats(activation.shape().to_vec(), activation.to_vec());
        tensors.push((hook.to_string(), block));
    }
    for (hook, features) in &run.features {
        let sae = &model.saes()[hook];
        let (d_sae, d_out) = (sae.config().d_sae(), sae.config().d_out());
        let x =
            run.captured.get(*hook).context("the activations were captured with the features")?;
        let x = TensorData::new(x.to_vec(), [batch * seq, sae.config().d_in()]);
        let x = Tensor::from_data(x, &run.logits.device());
        let reconstruction = floats(&sae.decode_sparse(features, x).into_data());
        let features = Block::floats(vec![batch, seq, d_sae], features.to_dense());
        let reconstruction = Block::floats(vec![batch, seq, d_out], reconstruction);
        tensors.push((format!("{hook}/features"), features));
        tensors.push((format!("{hook}/reconstruction"), reconstruction));
    }
    Ok(save_tensors(path, tensors)?)
}

fn floats(data: &TensorData) -> Vec<f32> {
    data.iter::<f32>().collect()
}

struct Block {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Block {
    fn floats(shape: Vec<usize>, values: Vec<f32>) -> Self {
        let bytes = values.into_iter().flat_map(f32::to_le_bytes).collect();
        Self { dtype: Dtype::F32, shape, bytes }
    }
}

impl View for Block {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}
