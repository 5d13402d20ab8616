//! The causes of each generated token, for clients that ask for them.

use std::collections::BTreeMap;
use std::sync::Arc;

use nanoscope_attribute::{
    Asked, Report, ReportFeature, ReportMetric, ReportOptions, ReportSubject, ReportToken,
};
use nanoscope_hooks::HookPoint;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use web_time::Instant;

use crate::api::{answer, check_memory, name_causes, refuse};
use crate::error::ApiError;
use crate::served_model::ServedModel;
use crate::state::AppState;

/// Maximum number of causes per token, and of ablations.
const MAX_TOP: usize = 100;

/// The field `why` of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(from = "RawCauses")]
pub(crate) struct CausesOptions {
    /// The number of listed features per token.
    top: usize,
    /// The number of them that are ablated.
    exact: usize,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a number of causes, or an object with `top` and `exact`")]
enum RawCauses {
    Top(usize),
    Object(RawObject),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawObject {
    top: usize,
    #[serde(default)]
    exact: usize,
}

impl From<RawCauses> for CausesOptions {
    fn from(raw: RawCauses) -> Self {
        match raw {
            RawCauses::Top(top) => Self { top, exact: 0 },
            RawCauses::Object(RawObject { top, exact }) => Self { top, exact },
        }
    }
}

impl CausesOptions {
    /// # Errors
    /// 400 if a number is too large, or no SAE is loaded.
    pub(crate) fn check(self, served: &ServedModel) -> Result<Self, ApiError> {
        let refuse = |message| ApiError::bad_request(message).with_param("nanoscope.why");
        if self.top > MAX_TOP || self.exact > MAX_TOP {
            return Err(refuse(format!("nanoscope.why: at most {MAX_TOP} causes per token")));
        }
        if served.model.saes().is_empty() {
            return Err(refuse("nanoscope.why: the model has no SAE".to_owned()));
        }
        Ok(self)
    }
}

/// The tokens of one text, whose causes are computed one by one as they are generated.
#[derive(Debug)]
pub(crate) struct Causes {
    state: AppState,
    options: CausesOptions,
    tokens: Vec<u32>,
    started: Instant,
    /// Held while causes are computed, so that the texts of one request have one place in the queue.
    turn: Arc<Mutex<()>>,
}

impl Causes {
    /// The causes after `prompt`. All texts of a request share `turn`.
    pub(crate) fn new(
        state: AppState,
        options: CausesOptions,
        prompt: Vec<u32>,
        turn: Arc<Mutex<()>>,
    ) -> Self {
        Self { state, options, tokens: prompt, started: Instant::now(), turn }
    }

    /// Computes the causes of `token`, which follows the text so far: the model without interventions, and the
    /// likeliest other token as the contrast. An object with `error` if they cannot be had.
    pub(crate) async fn next(&mut self, token: u32) -> Value {
        let position = self.tokens.len().checked_sub(1);
        self.tokens.push(token);
        let error = |error: &ApiError| json!({"error": error.message});
        let Some(position) = position else {
            return error(&ApiError::bad_request("no token comes before it"));
        };
        if let Err(refused) = check_memory(&self.state.served, self.tokens.len()) {
            return error(&refused);
        }
        let _turn = self.turn.lock().await;
        if self.started.elapsed() > self.state.config.limits.request_timeout {
            return error(&ApiError::timed_out());
        }
        let (state, tokens) = (self.state.clone(), self.tokens.clone());
        let options = ReportOptions {
            exact: self.options.exact.min(self.options.top),
            top: self.options.top,
            alternatives: 0,
            ..ReportOptions::default()
        };
        let work = move |served: &ServedModel, deadline: &crate::analysis::Deadline| {
            let asked = Asked::Token { target: None, contrast: None };
            let attribution = asked.attribute(&served.model, &tokens, Some(position), None);
            let attribution = attribution.map_err(|error| refuse(&error))?;
            let mut report = answer(&attribution, &options, deadline)?;
            name_causes(&mut report, &state);
            Ok(report)
        };
        match self.state.analysis.run_in_parts(&self.state.served, work).await {
            Ok(report) => brief(&report),
            Err(refused) => error(&refused),
        }
    }
}

/// The parts of a report that belong beside a token.
fn brief(report: &Report) -> Value {
    let shares = report.hooks.iter().map(|terms| (terms.hook, terms.error_share));
    let brief = Brief {
        target: &report.target,
        contrast: report.contrast.as_ref(),
        metric: report.metric,
        causes: &report.features,
        error_share: shares.collect(),
    };
    // By way of a text, in which a number has the fewest digits that identify it as an f32.
    let text = serde_json::to_string(&brief).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

#[derive(Debug, Serialize)]
struct Brief<'r> {
    target: &'r ReportSubject,
    contrast: Option<&'r ReportToken>,
    metric: ReportMetric,
    causes: &'r [ReportFeature],
    error_share: BTreeMap<HookPoint, f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_asked_for_by_a_number_or_an_object() {
        let read = |value: Value| serde_json::from_value::<CausesOptions>(value);

        assert_eq!(read(json!(5)).unwrap(), CausesOptions { top: 5, exact: 0 });
        let object = json!({"top": 3, "exact": 2});
        assert_eq!(read(object).unwrap(), CausesOptions { top: 3, exact: 2 });
        for wrong in [json!("all"), json!({"exact": 2}), json!({"top": 1, "more": 1}), json!(-1)] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
