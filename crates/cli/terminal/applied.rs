//! Reports of interventions, as text and as JSON.

use nanoscope_runtime::{Fluency, InterventionReport};
use serde_json::{Value, json};

use crate::terminal::display::counted;

/// The report of one intervention as a line.
pub(crate) fn line(applied: &InterventionReport) -> String {
    let InterventionReport { intervention, positions, changed, moved } = applied;
    let far = if *changed == 0 {
        String::new()
    } else {
        format!(", moved the activation by {} on average", percent(*moved))
    };
    let positions = counted(*positions as u64, "position", "positions");
    format!("steered {intervention}: applied at {positions}, changed {changed}{far}")
}

/// The report of one intervention as an object.
pub(crate) fn json(applied: &InterventionReport) -> Value {
    let InterventionReport { intervention, positions, changed, moved } = applied;
    json!({
        "intervention": intervention.to_string(),
        "positions": positions,
        "changed": changed,
        "moved": moved,
    })
}

/// The fluency of a steered text as a line.
pub(crate) fn fluency_line(fluency: &Fluency) -> String {
    let Fluency { nll, unsteered_nll } = fluency;
    let (Some(unsteered), Some(ratio)) = (unsteered_nll, fluency.ratio()) else {
        return format!("fluency: {nll:.2} nats per token under the unsteered model");
    };
    let verdict = if fluency.is_broken() { "; the text is broken" } else { "" };
    format!(
        "fluency: {nll:.2} nats per token under the unsteered model, {ratio:.1} times the \
         unsteered text's {unsteered:.2}{verdict}"
    )
}

/// The fluency of a steered text as an object.
pub(crate) fn fluency_json(fluency: &Fluency) -> Value {
    json!({
        "nll": fluency.nll,
        "unsteered_nll": fluency.unsteered_nll,
        "ratio": fluency.ratio(),
    })
}

/// A fraction in percent, with two significant digits.
fn percent(share: f32) -> String {
    let percent = share * 100.0;
    let decimals = match percent {
        10.0.. => 0,
        1.0.. => 1,
        _ => 2,
    };
    format!("{percent:.decimals$} %")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_the_activation_was_moved_if_it_was() {
        let intervention: nanoscope_runtime::Intervention = "hook_embed:3:add:1".parse().unwrap();
        let applied = |changed, moved| {
            line(&InterventionReport {
                intervention: intervention.clone(),
                positions: 72,
                changed,
                moved,
            })
        };

        assert_eq!(
            applied(72, 0.1203),
            "steered hook_embed:3:add:1: applied at 72 positions, changed 72, moved the activation \
             by 12 % on average"
        );
        assert!(applied(3, 0.012_34).contains("by 1.2 % on average"));
        assert!(applied(3, 0.000_234).contains("by 0.02 % on average"));
        assert_eq!(
            applied(0, 0.0),
            "steered hook_embed:3:add:1: applied at 72 positions, changed 0"
        );
    }
}
