//! The JSON data of the pages, in a compact form that `page/*.js` reads.

use std::collections::{BTreeMap, BTreeSet};

use nanoscope_corpus::SpecialTokens;
use nanoscope_index::token_text;
use nanoscope_tokenizer::Tokenizer;
use serde_json::{Map, Value, json};

use crate::dashboard::{Dashboard, FeaturePage};
use crate::gather::Activity;
use crate::gather::Example;

/// The version of the data format.
pub(crate) const VERSION: u32 = 1;
/// The number of features in a data file. A page loads the whole file to show one of them.
pub(crate) const FEATURES_PER_FILE: usize = 64;
/// The maximum number of tokens at peaks by which the search finds a feature. Promoted tokens fill the list
/// up to twice this number.
const MAX_SEARCH_TOKENS: usize = 5;
/// Significant digits of a feature's statistics and of an example's peak.
const PEAK_DIGITS: usize = 4;
/// Significant digits of the other numbers.
const EXAMPLE_DIGITS: usize = 3;

/// The data of the list of features, and the texts of all tokens.
pub(crate) fn index(dashboard: &Dashboard, name: &str, tokenizer: Option<&Tokenizer>) -> Value {
    let pages = &dashboard.features;
    let column = |of: &dyn Fn(&FeaturePage) -> Value| pages.iter().map(of).collect::<Value>();
    json!({
        "about": about(dashboard, name),
        "per_file": FEATURES_PER_FILE,
        "fires": column(&|page| json!(page.fires)),
        "max": column(&|page| significant(page.activity.histogram.high, EXAMPLE_DIGITS)),
        "auto": column(&|page| json!(page.auto_label)),
        "words": column(&|page| json!(search_tokens(page))),
        "labels": dashboard.labels,
        "tokens": tokens(dashboard, tokenizer),
    })
}

/// The description of the dashboard, which is also its `dashboard.json`.
pub(crate) fn about(dashboard: &Dashboard, name: &str) -> Value {
    let options = &dashboard.options;
    json!({
        "format": FORMAT,
        "version": VERSION,
        "model": name,
        "hook": dashboard.hook.to_string(),
        "fingerprint": format!("{:016x}", dashboard.fingerprint),
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
pub(crate) fn chunk(pages: &[FeaturePage]) -> Value {
    pages.iter().map(page).collect()
}

fn page(page: &FeaturePage) -> Value {
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

/// The tokens by which the search finds a feature: those at its peaks and those that it promotes.
fn search_tokens(page: &FeaturePage) -> Vec<u32> {
    let mut words: Vec<u32> = Vec::new();
    let peaks = page.activity.strongest.iter().map(|e| e.tokens[e.peak as usize]);
    let promoted = page.effect.iter().flat_map(|effect| &effect.promoted).map(|&(id, _)| id);
    for (candidates, max) in [
        (peaks.collect::<Vec<_>>(), MAX_SEARCH_TOKENS),
        (promoted.collect(), 2 * MAX_SEARCH_TOKENS),
    ] {
        for id in candidates {
            if words.len() < max && !words.contains(&id) {
                words.push(id);
            }
        }
    }
    words
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

/// Rounds `value` to `digits` significant digits; null if it is not finite.
fn significant(value: f32, digits: usize) -> Value {
    significant64(value.into(), digits)
}

fn significant64(value: f64, digits: usize) -> Value {
    let text = format!("{value:.*e}", digits - 1);
    let value: f64 = text.parse().expect("a formatted number can be parsed");
    // Whole numbers are written without `.0`.
    if value.fract() == 0.0 && value.abs() < 1e9 { json!(value as i64) } else { json!(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_few_digits() {
        let texts: Vec<String> = [31.234_56, 0.000_123_45, -7.0, 0.0, 123_456.0, f32::NAN]
            .map(|x| significant(x, 3).to_string())
            .into();

        assert_eq!(texts, ["31.2", "0.000123", "-7", "0", "123000", "null"]);
    }
}
