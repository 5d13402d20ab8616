//! The output of `nanoscope features --json`.

use serde_json::{Map, Value, json};

use super::args::By;
use super::found::{FoundFeatures, Page, Query};
use super::text::FeatureText;

/// The features found as one object; `docs/features.md` describes its keys.
pub(crate) fn to_json(found: &FoundFeatures<'_>) -> Value {
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| out.insert(key.to_owned(), value);
    put("hook", json!(found.hook.to_string()));
    put("d_sae", json!(found.sae.config().d_sae()));
    match &found.query {
        Query::Active(by) => put("by", json!(name(*by))),
        Query::Against => put("by", json!("mean difference")),
        Query::Near(feature) => put("near", json!(feature)),
        Query::Grep(word) => put("grep", json!(word)),
        Query::Pages(_) => None,
    };
    put("keep_special", json!(found.special));
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
        By::Density => "density",
    }
}

fn feature(found: &FoundFeatures<'_>, at: usize) -> Value {
    let entry = &found.entries[at];
    let feature = entry.feature;
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| out.insert(key.to_owned(), value);
    put("feature", json!(feature));
    if let Some(name) = found.name(feature) {
        put(if name.automatic { "auto" } else { "label" }, json!(name.text()));
    }
    if let Some(key) = entry.key {
        let name = if matches!(found.query, Query::Near(_)) { "cosine" } else { "score" };
        put(name, json!(key));
    }
    if let Some(text) = &found.text {
        put("text", text_json(text, feature));
    }
    if let Some(against) = &found.against {
        put("against", text_json(against, feature));
    }
    if let Query::Pages(pages) = &found.query {
        let Page { geometry, effect, nearest } = &pages[at];
        put("decoder_norm", json!(geometry.decoder_norm));
        put("encoder_norm", json!(geometry.encoder_norm));
        put("encoder_decoder_cosine", json!(geometry.encoder_decoder_cosine));
        match effect {
            Ok(effect) => {
                let tokens = |tokens: &[(u32, f32)]| {
                    let token = |&(id, logit): &(u32, f32)| {
                        json!({
                            "token_id": id,
                            "token": found.scope.model().token_text(id),
                            "logit": logit,
                        })
                    };
                    Value::Array(tokens.iter().map(token).collect())
                };
                put("promoted", tokens(&effect.promoted));
                put("suppressed", tokens(&effect.suppressed));
            }
            Err(why) => {
                put("no_logit_effect", json!(why.to_string()));
            }
        }
        let neighbour = |&(other, cosine): &(u32, f32)| match found.name(other) {
            Some(name) if name.automatic => json!([other, cosine, name.text(), true]),
            Some(name) => json!([other, cosine, name.text()]),
            None => json!([other, cosine]),
        };
        put("nearest", nearest.iter().map(neighbour).collect());
    }
    Value::Object(out)
}

/// The statistics of a feature on a text.
fn text_json(text: &FeatureText<'_>, feature: u32) -> Value {
    let stat = text.stats.get(feature);
    let places = stat.peaks.iter().map(|peak| {
        let excerpt = text.excerpt(peak.at);
        json!({
            "position": peak.at,
            "token_id": excerpt.token_id,
            "token": excerpt.token,
            "activation": peak.value,
            "before": excerpt.before,
            "after": excerpt.after,
        })
    });
    json!({
        "max_activation": stat.max_activation,
        "mean_activation": text.stats.mean(feature),
        "active_tokens": stat.fires,
        "density": text.stats.density(feature),
        "strongest": places.collect::<Vec<_>>(),
    })
}
