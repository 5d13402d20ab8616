//! Tests that compare the interface's answers with the runtime.

mod activation;
mod steer;

use axum::Router;
use axum::http::StatusCode;
use nanoscope_runtime::Plan;
use nanoscope_transformer::TokenBatch;
use serde_json::Value;

use crate::config::Config;
use crate::served_model::ServedModel;
use crate::server_fixture::{D_SAE, HOOK, application, ask, served_model};

const TEXT: &str = "a dog ran";
const SOURCE: &str = "1-resid_post";

fn app() -> Router {
    application(served_model(), Config::default())
}

fn ids(text: &str) -> Vec<u32> {
    std::iter::once(256).chain(text.bytes().map(u32::from)).collect()
}

/// The dense features of `text`, one row per token.
fn dense(served: &ServedModel, text: &str) -> Vec<Vec<f32>> {
    let tokens = TokenBatch::new(&[ids(text)]).unwrap();
    let run = served.model.run(&tokens, &Plan::new().track(HOOK)).unwrap();
    run.features[&HOOK].to_dense().chunks(D_SAE).map(<[f32]>::to_vec).collect()
}

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

async fn good(app: &Router, path: &str, body: Value) -> Value {
    let (status, answer) = ask(app, "POST", path, &body).await;
    assert_eq!(status, StatusCode::OK, "{path} {body}: {answer}");
    answer
}

/// The message and the field of an error response.
async fn rejected(app: &Router, path: &str, body: Value) -> (String, String) {
    let (status, answer) = ask(app, "POST", path, &body).await;
    assert!(status.is_client_error(), "{path} {body}: {status} {answer}");
    let error = &answer["error"];
    let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
    (text("message"), text("param"))
}
