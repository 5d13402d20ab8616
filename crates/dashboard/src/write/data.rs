//! The JSON data of the pages, in a compact form that `page/*.js` reads.

use std::collections::{BTreeMap, BTreeSet};

use nanoscope_corpus::SpecialTokens;
use nanoscope_index::token_text;
use nanoscope_tokenizer::Tokenizer;
use serde_json::{Map, Value, json};

use super::page_options::PageOptions;
use crate::dashboard::{Dashboard, FeaturePage};
use crate::gather::Activity;
use crate::gather::Example;
use crate::other_saes::{FeatureName, OtherSae};
use crate::significant::{significant, significant64};

/// The version of the data format.
pub(crate) const VERSION: u32 = 1;
/// The number of features in a data file. A page loads the whole file to show one of them.
pub(super) const FEATURES_PER_FILE: usize = 64;
/// The maximum number of tokens at peaks by which the search finds a feature.
const MAX_PEAK_TOKENS: usize = 8;
/// Significant digits of a feature's statistics and of an example's peak.
const PEAK_DIGITS: usize = 4;
/// Significant digits of the other numbers.
const EXAMPLE_DIGITS: usize = 3;

/// The data of the list of features, and the texts of all tokens.
pub(super) fn index(dashboard: &Dashboard, options: &PageOptions<'_>) -> Value {
    let pages = &dashboard.features;
    let column = |of: &dyn Fn(&FeaturePage) -> Value| pages.iter().map(of).collect::<Value>();
    json!({
        "about": about(dashboard, options.name),
        "steer": options.steer.to_json(),
        "others": dashboard.others.iter().map(other_sae).collect::<Value>(),
        "per_file": FEATURES_PER_FILE,
        "fires": column(&|page| json!(page.fires)),
        "max": column(&|page| significant(page.activity.histogram.high, EXAMPLE_DIGITS)),
        "auto": column(&|page| json!(page.auto_label)),
        "examples": column(&|page| json!(page.activity.strongest.len())),
        "peaks": column(&|page| json!(peak_tokens(page))),
        "promoted": column(&|page| page.effect.as_ref().map_or(json!([]), |e| pairs(&e.promoted))),
        "labels": dashboard.labels,
        "tokens": tokens(dashboard, options.tokenizer),
    })
}

/// The description of the dashboard, which is also its `dashboard.json`.
pub(super) fn about(dashboard: &Dashboard, name: &str) -> Value {
    let options = &dashboard.options;
    json!({
        "format": FORMAT,
        "version": VERSION,
        "model": name,
        "hook": dashboard.hook.to_string(),
        "fingerprint": hexadecimal(dashboard.fingerprint),
        "d_sae": dashboard.d_sae,
        "features": [options.features.start, options.features.end],
        "dead": dashboard.dead(),
        "tokens": dashboard.tokens,
        "contexts": dashboard.contexts,
        "special": options.special == SpecialTokens::Keep,
        "examples": options.examples,
        "per_quantile": options.per_quantile,
        "window": options.window,
        "seed": options.seed,
    })
}

/// The name of the format.
pub(crate) const FORMAT: &str = "nanoscope dashboard";

/// The data of up to [`FEATURES_PER_FILE`] pages.
pub(super) fn chunk(dashboard: &Dashboard, pages: &[FeaturePage]) -> Value {
    pages.iter().map(|one| page(dashboard, one)).collect()
}

fn page(dashboard: &Dashboard, page: &FeaturePage) -> Value {
    let Activity { histogram, strongest, quantiles } = &page.activity;
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| out.insert(key.to_owned(), value);
    put("feature", json!(page.feature));
    put("mean", significant64(page.mean, PEAK_DIGITS));
    put("low", significant(histogram.low, PEAK_DIGITS));
    put("high", significant(histogram.high, PEAK_DIGITS));
    // Trailing zeros are left out.
    let bars = histogram.counts.iter().rposition(|&n| n > 0).map_or(0, |last| last + 1);
    put("histogram", json!(histogram.counts[..bars]));
    put("strongest", strongest.iter().map(example).collect());
    let quantile = |quantile: &crate::Quantile| {
        let examples: Value = quantile.examples.iter().map(example).collect();
        json!([quantile.count, examples])
    };
    put("quantiles", quantiles.iter().map(quantile).collect());
    if let Some(effect) = &page.effect {
        put("promoted", pairs(&effect.promoted));
        put("suppressed", pairs(&effect.suppressed));
    }
    put("nearest", pairs(&page.nearest));
    put("names", mentioned(dashboard, page));
    put("similar", page.similar.iter().map(|similar| pairs(similar)).collect());
    let together = page.co_activations.iter().map(|t| {
        let numbers = [t.jaccard, t.share, t.pearson].map(|x| significant64(x, EXAMPLE_DIGITS));
        json!([t.feature, numbers])
    });
    put("together", together.collect());
    let geometry = &page.geometry;
    put(
        "norms",
        json!([significant(geometry.decoder_norm, 3), significant(geometry.encoder_norm, 3)]),
    );
    put("cosine", json!(geometry.encoder_decoder_cosine.map(|c| significant(c, EXAMPLE_DIGITS))));
    Value::Object(out)
}

/// Encodes an example as `[context, position, peak, [token, …], [index, activation, …]]`.
fn example(example: &Example) -> Value {
    let values = example.values.iter().flat_map(|&(at, value)| {
        // The peak's activation must read the same here and in the statistics.
        let digits = if at == example.peak { PEAK_DIGITS } else { EXAMPLE_DIGITS };
        [json!(at), significant(value, digits)]
    });
    json!([
        example.context,
        example.position,
        example.peak,
        example.tokens,
        values.collect::<Vec<_>>()
    ])
}

fn pairs(pairs: &[(u32, f32)]) -> Value {
    pairs.iter().map(|&(id, value)| json!([id, significant(value, EXAMPLE_DIGITS)])).collect()
}

/// The tokens at the peaks of the strongest examples, with the numbers of examples, the most frequent first.
/// The search finds a feature by them.
fn peak_tokens(page: &FeaturePage) -> Vec<(u32, usize)> {
    let mut tokens: Vec<(u32, usize)> = Vec::new();
    for example in &page.activity.strongest {
        let id = example.tokens[example.peak as usize];
        match tokens.iter_mut().find(|(known, _)| *known == id) {
            Some((_, count)) => *count += 1,
            None => tokens.push((id, 1)),
        }
    }
    // The sort is stable, so of equal counts the token of the stronger example comes first.
    tokens.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    tokens.truncate(MAX_PEAK_TOKENS);
    tokens
}

fn other_sae(other: &OtherSae) -> Value {
    json!({"hook": other.hook.to_string(), "fingerprint": hexadecimal(other.fingerprint)})
}

/// The names of the features of other SAEs that the pages mention, by index for each SAE. They are in a file
/// of their own because many pages mention the same features.
pub(super) fn others(dashboard: &Dashboard) -> Value {
    dashboard.others.iter().map(|other| names(&other.names)).collect()
}

/// The names of the features without a page that `page` mentions.
fn mentioned(dashboard: &Dashboard, page: &FeaturePage) -> Value {
    let together = page.co_activations.iter().map(|other| other.feature);
    let ids = page.nearest.iter().map(|&(id, _)| id).chain(together);
    let known = ids.filter_map(|id| Some((id, dashboard.names.get(&id)?.clone())));
    names(&known.collect())
}

fn names(names: &BTreeMap<u32, FeatureName>) -> Value {
    names.iter().map(|(id, one)| (id.to_string(), name(one))).collect::<Map<_, _>>().into()
}

/// The names of a feature as `[label, automatic label]`.
fn name(name: &FeatureName) -> Value {
    json!([name.label, name.auto_label])
}

fn hexadecimal(fingerprint: u64) -> String {
    format!("{fingerprint:016x}")
}

fn tokens(dashboard: &Dashboard, tokenizer: Option<&Tokenizer>) -> Value {
    let mut ids = BTreeSet::new();
    for page in &dashboard.features {
        let Activity { strongest, quantiles, .. } = &page.activity;
        let sampled = quantiles.iter().flat_map(|quantile| &quantile.examples);
        ids.extend(strongest.iter().chain(sampled).flat_map(|example| &example.tokens).copied());
        if let Some(effect) = &page.effect {
            ids.extend(effect.promoted.iter().chain(&effect.suppressed).map(|&(id, _)| id));
        }
    }
    let texts: BTreeMap<u32, String> =
        ids.into_iter().map(|id| (id, token_text(tokenizer, id))).collect();
    // Tokens that are parts of a character. The page joins them where they are adjacent.
    let parts: Map<String, Value> = texts
        .keys()
        .filter_map(|&id| Some((id, tokenizer?.token_bytes(id)?)))
        .filter(|(_, bytes)| std::str::from_utf8(bytes).is_err())
        .map(|(id, bytes)| (id.to_string(), json!(bytes)))
        .collect();
    json!({
        "ids": texts.keys().collect::<Vec<_>>(),
        "texts": texts.values().collect::<Vec<_>>(),
        "parts": parts,
    })
}
