//! The fixture of the unit tests: an application that serves a tiny model with a byte tokenizer and an
//! SAE.

use std::collections::BTreeMap;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use burn::tensor::Tensor;
use http_body_util::BodyExt;
use nanoscope_checkpoint::Labels;
use nanoscope_hooks::HookPoint;
use nanoscope_index::{FeatureNames, Search};
use nanoscope_runtime::InterpretableModel;
use nanoscope_sae::{Architecture, Sae, SaeConfig, SaeWeights};
use nanoscope_testing::{TINY_SHAPE, tiny_gpt};
use nanoscope_tokenizer::{
    ASSISTANT_END, ASSISTANT_START, BOS, Tokenizer, TokenizerParts, USER_END, USER_START,
};
use nanoscope_transformer::GptShape;
use serde_json::Value;
use tower::ServiceExt;

use crate::app::app;
use crate::config::Config;
use crate::http::origin::AllowedHosts;
use crate::served_model::{SaeInfo, ServedModel};
use crate::state::AppState;

/// The hook point of the SAE.
pub(crate) const HOOK: HookPoint = HookPoint::ResidPost(1);
/// The number of its features.
pub(crate) const D_SAE: usize = 64;
/// The model's context length in tokens.
pub(crate) const CONTEXT: usize = 48;

/// A random model called `tiny`, with an SAE that keeps 4 features per token.
pub(crate) fn served_model() -> ServedModel {
    let device = nanoscope_testing::test_device();
    let mut specials = vec![BOS, USER_START, USER_END, ASSISTANT_START, ASSISTANT_END];
    specials.extend(["<|python_start|>", "<|python_end|>", "<|output_start|>", "<|output_end|>"]);
    let special_tokens: Vec<(String, u32)> =
        specials.iter().zip(256..).map(|(name, id)| ((*name).to_owned(), id)).collect();
    let tokenizer = Tokenizer::new(TokenizerParts {
        pattern: r"[\s\S]".to_owned(),
        ranks: (0..=255u8).map(|byte| (vec![byte], byte.into())).collect(),
        special_tokens,
    })
    .unwrap();
    let shape = GptShape { sequence_len: CONTEXT, vocab_size: 256 + specials.len(), ..TINY_SHAPE };
    let gpt = tiny_gpt(shape, &device);
    let config = SaeConfig::new(64, D_SAE, Architecture::SignedTopK { k: 4 }).unwrap();
    let zeros = Tensor::zeros([64], &device);
    // Deterministic, and with no two features alike.
    let noise: Vec<f32> = (0..64 * D_SAE).map(|at| (at as f32 * 0.7).sin() / 10.0).collect();
    let noise = Tensor::<1>::from_floats(noise.as_slice(), &device).reshape([64, D_SAE]);
    let eye = Tensor::eye(64, &device);
    let weights = SaeWeights::new(eye.clone() + noise, zeros.clone(), eye, zeros);
    let sae = Sae::new(config, weights).unwrap();
    let model = InterpretableModel::new(gpt).with_tokenizer(tokenizer).unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("labels.json"), r#"{"7": "came with it"}"#).unwrap();
    let labels = Labels::read(dir.path(), D_SAE).unwrap();
    ServedModel {
        model: model.with_sae(HOOK, sae).unwrap(),
        name: "tiny".to_owned(),
        sae_info: BTreeMap::from([(HOOK, SaeInfo { labels, ..SaeInfo::default() })]),
        names: FeatureNames::new(),
        search: Search::default(),
        topics: Vec::new(),
    }
}

/// The application with all of its middleware.
pub(crate) fn application(served: ServedModel, config: Config) -> Router {
    let hosts =
        AllowedHosts::for_address(std::net::Ipv4Addr::LOCALHOST.into(), &config.public_names);
    let (state, worker) = AppState::open(served, config).unwrap();
    worker.spawn().unwrap();
    app(state, hosts)
}

/// Sends a request and returns the status and the body as text.
pub(crate) async fn ask_text(
    app: &Router,
    method: &str,
    path: &str,
    body: &Value,
) -> (StatusCode, String) {
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    let request = Request::builder().method(method).uri(path).header("host", "localhost");
    let request = request.header("content-type", "application/json").body(body).unwrap();
    let response = app.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

/// Sends a request and returns the status and the body as JSON.
pub(crate) async fn ask(
    app: &Router,
    method: &str,
    path: &str,
    body: &Value,
) -> (StatusCode, Value) {
    let (status, text) = ask_text(app, method, path, body).await;
    let value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path}: {text}"));
    (status, value)
}
