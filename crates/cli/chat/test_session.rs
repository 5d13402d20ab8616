//! A session without a model, for tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nanoscope_checkpoint::Labels;
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{EndReason, Sampling};
use nanoscope_sae::SparseFeatures;

use super::job::{Job, WorkerEvent};
use super::mode::Mode;
use super::session::{ModelInfo, Reply, Session};
use super::turn::Token;
use nanoscope_runtime::Plan;

pub(crate) const EARLY: HookPoint = HookPoint::ResidPost(2);
pub(crate) const LATE: HookPoint = HookPoint::ResidPost(3);

/// A session with SAEs at two hook points. The later one is tracked; two of its features have
/// labels.
pub(crate) fn session() -> Session {
    let dir = tempfile::tempdir().unwrap();
    let labels = r#"{"7": "a dog", "9": "dogs \u001b[31mred"}"#;
    std::fs::write(dir.path().join("labels.json"), labels).unwrap();
    let model_info = ModelInfo {
        saes: BTreeMap::from([(EARLY, 64), (LATE, 2048)]),
        names: Arc::new(BTreeMap::from([(LATE, Labels::read(dir.path(), 2048).unwrap())])),
    };
    let plan = Plan::new().track(LATE);
    Session::new(model_info, Mode::Story, plan, Sampling::default())
}

/// The `at`-th token. Feature 7 has activation `at`, feature 9 always 2.
pub(crate) fn token(at: usize, text: &str, is_generated: bool) -> Token {
    let mut features = SparseFeatures::new(2048);
    features.push_row([(7, at as f32), (9, 2.0)]);
    Token {
        position: at + 1,
        id: text.bytes().map(u32::from).sum(),
        text: text.to_owned(),
        name: text.to_owned(),
        logprob: is_generated.then_some(-0.5),
        features: BTreeMap::from([(LATE, features)]),
        steered: BTreeMap::new(),
    }
}

#[track_caller]
pub(crate) fn message(session: &mut Session, line: &str) -> String {
    match session.submit(line, 80).unwrap() {
        Reply::Message(message) => message,
        other => panic!("{line}: {other:?}"),
    }
}

#[track_caller]
pub(crate) fn refused(session: &mut Session, line: &str) -> String {
    session.submit(line, 80).unwrap_err().to_string()
}

#[track_caller]
pub(crate) fn job(session: &mut Session, line: &str) -> Job {
    match session.submit(line, 80).unwrap() {
        Reply::Work(job) => job,
        other => panic!("{line}: {other:?}"),
    }
}

/// The events of a worker for a prompt of one token and, for each variant, these generated tokens. The second
/// variant has a negative log-likelihood of 1.25.
pub(crate) fn events(variants: &[&[&str]]) -> Vec<WorkerEvent> {
    let mut events =
        vec![WorkerEvent::Begun { ids: vec![0, 5], before: 1, forgotten: 0, spelled: vec![] }];
    for (variant, texts) in variants.iter().enumerate() {
        events.push(WorkerEvent::Prompt { variant, tokens: vec![token(0, "Once", false)] });
        let tokens = texts.iter().enumerate().map(|(at, text)| WorkerEvent::Token {
            variant,
            token: token(at + 1, text, true),
            took: Duration::from_millis(10 * (at as u64 + 1)),
        });
        events.extend(tokens);
        events.push(WorkerEvent::End {
            variant,
            end: Some(EndReason::MaxTokens),
            applied: Vec::new(),
            nll: (variant > 0).then_some(1.25),
        });
    }
    events.push(WorkerEvent::Done { stopped: false });
    events
}
