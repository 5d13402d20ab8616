//! What `nanoscope features --json` prints.

use serde_json::{Map, Value, json};

use crate::args::By;
use crate::feature_text::FeatureText;
use crate::features::{Asked, Found, Page};
use crate::run::token_text;

/// The answer as one object; `docs/features.md` says what its keys are.
pub(crate) fn to_json(found: &Found<'_>) -> Value {
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| out.insert(key.to_owned(), value);
    put("hook", json!(found.hook.to_string()));
    put("d_sae", json!(found.sae.config().d_sae()));
    match &found.asked {
        Asked::Active(by) => put("by", json!(name(*by))),
        Asked::Against => put("by", json!("mean difference")),
        Asked::Near(feature) => put("near", json!(feature)),
        Asked::Grep(word) => put("grep", json!(word)),
        Asked::Pages(_) => None,
    };
    put("special", json!(found.special));
    if let Some(text) = &found.text {
        put("tokens", json!(text.stats.tokens()));
    }
    if let Some(against) = &found.against {
        put("against_tokens", json!(against.stats.tokens()));
    }
    put("found", json!(found.all));
    let features = (0..found.entries.len()).map(|at| feature(found, at));
    put("features", features.collect());
    put("steer", json!(found.steer.as_ref().map(ToString::to_string)));
    Value::Object(out)
}

fn name(by: By) -> &'static str {
    match by {
        By::Max => "max",
        By::Mean => "mean",
        By::Count => "count",
    }
}

fn feature(found: &Found<'_>, at: usize) -> Value {
    let entry = &found.entries[at];
    let feature = entry.feature;
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| out.insert(key.to_owned(), value);
    put("feature", json!(feature));
    if let Some(label) = found.label(feature) {
        put("label", json!(label));
    }
    if let Some(key) = entry.key {
        let name = if matches!(found.asked, Asked::Near(_)) { "cosine" } else { "score" };
        put(name, json!(key));
    }
    if let Some(text) = &found.text {
        put("text", on(text, feature));
    }
    if let Some(against) = &found.against {
        put("against", on(against, feature));
    }
    if let Asked::Pages(pages) = &found.asked {
        let Page { geometry, effect, nearest } = &pages[at];
        put("decoder_norm", json!(geometry.decoder_norm));
        put("encoder_norm", json!(geometry.encoder_norm));
        put("encoder_decoder_cosine", json!(geometry.encoder_decoder_cosine));
        match effect {
            Ok(effect) => {
                let tokens = |tokens: &[(u32, f32)]| {
                    let token =
                        |&(id, by): &(u32, f32)| json!([id, token_text(found.scope, id), by]);
                    Value::Array(tokens.iter().map(token).collect())
                };
                put("promoted", tokens(&effect.promoted));
                put("suppressed", tokens(&effect.suppressed));
            }
            Err(why) => {
                put("no_logit_effect", json!(why.to_string()));
            }
        }
        let neighbour = |&(other, cosine): &(u32, f32)| match found.label(other) {
            Some(label) => json!([other, cosine, label]),
            None => json!([other, cosine]),
        };
        put("nearest", nearest.iter().map(neighbour).collect());
    }
    Value::Object(out)
}

/// What a feature does on a text.
fn on(text: &FeatureText<'_>, feature: u32) -> Value {
    let stat = text.stats.get(feature);
    let places = stat.peaks.iter().map(|peak| {
        let excerpt = text.excerpt(peak.at);
        json!({
            "position": peak.at,
            "value": peak.value,
            "before": excerpt.before,
            "token": excerpt.token,
            "after": excerpt.after,
        })
    });
    json!({
        "max": stat.max_activation,
        "mean": text.stats.mean(feature),
        "fires": stat.fires,
        "share": text.stats.density(feature),
        "strongest": places.collect::<Vec<_>>(),
    })
}
