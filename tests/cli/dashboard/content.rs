//! The numbers on the pages, checked against the model.

use std::collections::BTreeMap;
use std::path::Path;

use nanoscope_checkpoint::{ModelFiles, load_saes, load_tokenizer};
use nanoscope_corpus::{Context, Corpus, CorpusOptions, TokenizeOptions, TokenizedCorpus};
use nanoscope_runtime::{InterpretableModel, LogitEffect};
use nanoscope_sae::SparseFeatures;
use nanoscope_transformer::TokenBatch;
use serde_json::Value;
use tempfile::TempDir;

use super::{HOOK, data, fixture, float, success};

const FEATURES: std::ops::Range<u32> = 0..70;

/// Values are written with four digits.
const RTOL: f64 = 6e-4;

/// The pages of [`FEATURES`].
fn pages(out: &Path) -> Vec<Value> {
    let chunks = (0..FEATURES.end.div_ceil(64)).map(|n| data(out, &format!("features-{n}")));
    chunks.flat_map(|chunk| chunk.as_array().unwrap().clone()).collect()
}

/// The demo, and the contexts that the command reads, with the features of each.
fn demo() -> (InterpretableModel, Vec<(Context, SparseFeatures)>) {
    let device = nanoscope_device::by_name("auto").unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo");
    let found = ModelFiles::find(&root).unwrap();
    let loaded = found.load(&device).unwrap();
    let tokenizer = load_tokenizer(found.tokenizer.as_ref().unwrap()).unwrap();
    let sae = load_saes([root.join("saes/layer_2")], &device).unwrap().remove(0).sae;
    let corpus = Corpus::open(&[fixture("stories.jsonl")], &CorpusOptions::default()).unwrap();
    let options = TokenizeOptions::new(loaded.gpt.config().shape.sequence_len);
    let go_on = &mut |_| std::ops::ControlFlow::Continue(());
    let tokens = TokenizedCorpus::build(&corpus, &tokenizer, &options, go_on).unwrap();
    let model = InterpretableModel::new(loaded.gpt).with_tokenizer(tokenizer).unwrap();
    let model = model.with_sae(HOOK, sae).unwrap();
    let contexts = (0..tokens.contexts()).map(|index| tokens.context(index).unwrap());
    let run = |context: Context| {
        let batch = TokenBatch::new(std::slice::from_ref(&context.tokens)).unwrap();
        let features = model.features_at(HOOK, &batch).unwrap();
        (context, features)
    };
    let contexts = contexts.map(run).collect();
    (model, contexts)
}

#[track_caller]
fn close(found: f64, expected: f64, what: &str) {
    let off = (found - expected).abs();
    assert!(off <= RTOL * expected.abs() + 1e-9, "{what}: {found}, expected {expected}");
}

#[test]
fn the_pages_say_what_the_model_does() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("pages");
    let range = format!("{}..{}", FEATURES.start, FEATURES.end);
    let printed = success(&out, &["--features", &range]);
    let index = data(&out, "index");
    let (model, contexts) = demo();
    let sae = model.sae(HOOK).unwrap();
    let tokenizer = model.tokenizer().unwrap();

    let counted = |context: &Context, at: usize| !tokenizer.is_special(context.tokens[at]);
    let all: usize = contexts
        .iter()
        .map(|(context, _)| (0..context.tokens.len()).filter(|&at| counted(context, at)).count())
        .sum();
    assert_eq!(index["about"]["tokens"], all);
    assert!(printed.contains(&format!("70 features on {all} tokens")), "{printed}");
    let weights: Vec<usize> = FEATURES.map(|feature| feature as usize).collect();
    let weights = model.feature_weights(HOOK, &weights, 10).unwrap();
    let mut examples = 0;
    let pages = pages(&out);
    assert_eq!((pages.len(), weights.len()), (FEATURES.len(), FEATURES.len()));
    let moments = Moments::of(&contexts, counted, all);
    let mut together = 0;
    for ((page, weights), expected) in pages.iter().zip(&weights).zip(FEATURES) {
        let feature = page["feature"].as_u64().unwrap() as u32;
        assert_eq!(feature, expected);
        let what = format!("feature {feature}");
        let values: Vec<f32> = contexts
            .iter()
            .flat_map(|(context, features)| {
                let at = (0..features.rows()).filter(|&at| counted(context, at));
                at.map(|at| features.get(at, feature)).filter(|&value| value != 0.0)
            })
            .collect();
        let max = values.iter().copied().fold(0.0, f32::max);
        assert_eq!(index["fires"][feature as usize], values.len(), "{what}");
        close(float(&page["high"]), max.into(), &what);
        let sum: f64 = values.iter().copied().map(f64::from).sum();
        close(float(&page["mean"]), sum / all as f64, &what);
        let bars = page["histogram"].as_array().unwrap();
        assert_eq!(bars.iter().map(|n| n.as_u64().unwrap()).sum::<u64>(), values.len() as u64);

        let check = |example: &Value| {
            examples += 1;
            let number = |at: usize| example[at].as_u64().unwrap() as usize;
            let (context, features) = &contexts[number(0)];
            let (position, peak) = (number(1), number(2));
            let tokens: Vec<u64> =
                example[3].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
            assert!(tokens.len() <= 33, "{what}");
            let from = position - peak;
            let pairs = example[4].as_array().unwrap();
            let mut shown = vec![0.0; tokens.len()];
            for pair in pairs.chunks_exact(2) {
                shown[pair[0].as_u64().unwrap() as usize] = float(&pair[1]);
            }
            for (at, &id) in tokens.iter().enumerate() {
                assert_eq!(u64::from(context.tokens[from + at]), id, "{what}");
                assert_eq!(context.documents[from + at], context.documents[position], "{what}");
                let value = f64::from(features.get(from + at, feature));
                let few = 10.0 * RTOL * value.abs() + 1e-9;
                assert!((shown[at] - value).abs() <= few, "{what}: {} for {value}", shown[at]);
            }
            assert!(counted(context, position), "{what}");
            shown[peak]
        };
        let mut check = check;
        let strongest: Vec<f64> =
            page["strongest"].as_array().unwrap().iter().map(&mut check).collect();
        assert!(strongest.len() <= 20 && strongest.is_sorted_by(|a, b| a >= b), "{what}");
        if let Some(&first) = strongest.first() {
            close(first, max.into(), &what);
        }
        let quantiles = page["quantiles"].as_array().unwrap();
        let mut in_quantiles = 0;
        for (number, quantile) in quantiles.iter().enumerate() {
            let edge = |n: usize| f64::from(max) * n as f64 / 5.0;
            in_quantiles += quantile[0].as_u64().unwrap();
            let sampled = quantile[1].as_array().unwrap();
            assert_eq!(sampled.len() as u64, quantile[0].as_u64().unwrap().min(5), "{what}");
            for value in sampled.iter().map(&mut check) {
                let (low, high) = (edge(number) * (1.0 - RTOL), edge(number + 1) * (1.0 + RTOL));
                assert!(low <= value && value <= high, "{what}: {value} in {low}..{high}");
            }
        }
        assert_eq!(in_quantiles, values.len() as u64, "{what}");

        logits(page, LogitEffect::from_effects(weights.effects.as_ref().unwrap(), 10), &what);
        let nearest = sae.nearest(feature as usize, 10).unwrap();
        let found = page["nearest"].as_array().unwrap();
        assert_eq!((found.len(), nearest.len()), (10, 10), "{what}");
        assert!(found.iter().zip(nearest).all(|(found, (other, _))| found[0] == other), "{what}");
        together += moments.check(page, feature, &contexts, counted);
    }
    assert!(examples > 500, "{examples} examples were looked at");
    assert!(together > 300, "{together} features that fire together were looked at");
}

/// Checks the promoted and suppressed tokens of a page.
#[track_caller]
fn logits(page: &Value, effect: LogitEffect, what: &str) {
    for (key, expected) in [("promoted", effect.promoted), ("suppressed", effect.suppressed)] {
        let found = page[key].as_array().unwrap();
        assert_eq!((found.len(), expected.len()), (10, 10), "{what}: {key}");
        for (found, (id, value)) in found.iter().zip(expected) {
            assert_eq!(found[0], id, "{what}");
            let value = f64::from(value);
            assert!((float(&found[1]) - value).abs() < 6e-3 * value.abs(), "{what}: {found}");
        }
    }
}

/// For each feature of the SAE the number of tokens it fires on, its sum and its sum of squares over
/// the tokens that count.
struct Moments {
    tokens: f64,
    of: Vec<[f64; 3]>,
}

impl Moments {
    fn of(
        contexts: &[(Context, SparseFeatures)],
        counted: impl Fn(&Context, usize) -> bool,
        tokens: usize,
    ) -> Self {
        let mut of = vec![[0.0; 3]; contexts[0].1.d_sae()];
        for (context, features) in contexts {
            for at in (0..features.rows()).filter(|&at| counted(context, at)) {
                for (feature, value) in features.row(at) {
                    let value = f64::from(value);
                    let [fires, sum, squares] = &mut of[feature as usize];
                    *fires += 1.0;
                    *sum += value;
                    *squares += value * value;
                }
            }
        }
        Self { tokens: tokens as f64, of }
    }

    /// Checks a page's co-active features against the features with the largest Jaccard indices.
    /// Returns their number.
    #[track_caller]
    fn check(
        &self,
        page: &Value,
        feature: u32,
        contexts: &[(Context, SparseFeatures)],
        counted: impl Fn(&Context, usize) -> bool,
    ) -> usize {
        let mut both: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
        for (context, features) in contexts {
            for at in (0..features.rows()).filter(|&at| counted(context, at)) {
                let own = f64::from(features.get(at, feature));
                if own == 0.0 {
                    continue;
                }
                for (other, value) in features.row(at).filter(|&(other, _)| other != feature) {
                    let (count, product) = both.entry(other).or_default();
                    *count += 1.0;
                    *product += own * f64::from(value);
                }
            }
        }
        let [fires, sum, squares] = self.of[feature as usize];
        let measured = both.into_iter().map(|(other, (count, product))| {
            let [others, others_sum, others_squares] = self.of[other as usize];
            let covariance = self.tokens * product - sum * others_sum;
            let variances = (self.tokens * squares - sum * sum)
                * (self.tokens * others_squares - others_sum * others_sum);
            (
                other,
                [count / (fires + others - count), count / fires, covariance / variances.sqrt()],
            )
        });
        let mut measured: Vec<(u32, [f64; 3])> = measured.collect();
        measured.sort_by(|(_, a), (_, b)| b[0].total_cmp(&a[0]).then(b[2].total_cmp(&a[2])));
        measured.truncate(10);

        let found = page["together"].as_array().unwrap();
        let ids = |ids: Vec<u64>| ids.into_iter().collect::<std::collections::BTreeSet<u64>>();
        assert_eq!(
            ids(found.iter().map(|found| found[0].as_u64().unwrap()).collect()),
            ids(measured.iter().map(|&(other, _)| other.into()).collect()),
            "{feature}"
        );
        for found in found {
            let (other, expected) = measured.iter().find(|(other, _)| found[0] == *other).unwrap();
            for (number, expected) in expected.iter().enumerate() {
                let off = (float(&found[1][number]) - expected).abs();
                let what = ["jaccard", "share", "pearson"][number];
                assert!(off <= 6e-3 * expected.abs() + 1e-6, "{what} of {feature} with {other}");
            }
        }
        found.len()
    }
}
