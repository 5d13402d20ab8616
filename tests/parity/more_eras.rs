//! Models of the eras E0p, E1w, E3, E3b and E4b compute the same as nanochat's code of that era.

use std::fs;
use std::path::{Path, PathBuf};

use nanoscope_runtime::{InterpretableModel, Plan, Sampling};
use nanoscope_transformer::{Era, Gpt, Logits, TokenBatch};
use serde_json::Value as Json;

use crate::golden::{self, Arrays, assert_close, largest_error, values};

const LOGITS_ATOL: f32 = 5e-5;
const LOSS_ATOL: f32 = 1e-5;
/// Greedy tokens are compared where the two largest logits are further apart than this.
const MARGIN: f64 = 1e-3;

/// A model in `tests/fixtures/golden-eras`, in a folder named after its nanochat commit. In `c` the
/// vocabulary is not a multiple of 64.
const ALL: [(&str, Era); 9] = [
    ("f1bf69d/c", Era::E0p),
    ("f1bf69d/d", Era::E0p),
    ("b62a5bc/d", Era::E1w),
    ("535f664/c", Era::E3),
    ("535f664/d", Era::E3),
    ("59e36cc/c", Era::E3b),
    ("59e36cc/d", Era::E3b),
    ("1076f97/c", Era::E4b),
    ("1076f97/d", Era::E4b),
];

fn dir(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/golden-eras").join(folder)
}

fn manifest(folder: &str) -> Json {
    serde_json::from_slice(&fs::read(dir(folder).join("expected.json")).unwrap()).unwrap()
}

fn ids(json: &Json) -> Vec<u32> {
    serde_json::from_value(json.clone()).unwrap()
}

/// Mean cross-entropy in nats over all positions but the last, whose next token is not known.
fn loss(logits: &[f32], tokens: &TokenBatch) -> f32 {
    let vocab = logits.len() / (tokens.batch() * tokens.seq());
    let mut losses = Vec::new();
    for (row, logits) in tokens.rows().zip(logits.chunks_exact(tokens.seq() * vocab)) {
        for (&next, logits) in row[1..].iter().zip(logits.chunks_exact(vocab)) {
            let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = logits.iter().map(|&x| f64::from(x - most).exp()).sum();
            losses.push(sum.ln() + f64::from(most - logits[next as usize]));
        }
    }
    (losses.iter().sum::<f64>() / losses.len() as f64) as f32
}

/// Runs every batch of `folder` and passes its name, tokens, logits and expected logits to `check`.
fn each_batch(folder: &str, model: &Gpt, mut check: impl FnMut(&str, &TokenBatch, &[f32], &[f32])) {
    let expected = Arrays::read(&dir(folder).join("expected.safetensors"));
    let lengths: Vec<String> = expected.lengths();
    assert!(lengths.len() >= 4, "{folder}: {lengths:?}");
    for length in lengths {
        let rows = expected.ints(&format!("ids_{length}"));
        let rows: Vec<Vec<u32>> = rows.rows().map(golden::ids).collect();
        let tokens = TokenBatch::new(&rows).unwrap();
        let found = values(model.forward(&tokens, Logits::All, &mut ()).unwrap());
        check(&length, &tokens, &found, &expected.floats(&format!("logits_{length}")).values);
    }
}

#[test]
fn logits_and_loss_are_those_of_the_code_of_each_of_these_eras() {
    for (folder, era) in ALL {
        let model = golden::load(&dir(folder), Some(era)).gpt;
        let manifest = manifest(folder);

        each_batch(folder, &model, |length, tokens, found, expected| {
            let name = format!("{folder} ({era}), {length} tokens");
            assert_close(format!("{name}, logits"), found, expected, LOGITS_ATOL);
            if let Some(expected) = manifest[format!("loss_{length}")].as_f64() {
                let found = loss(found, tokens);
                assert_close(format!("{name}, loss"), &[found], &[expected as f32], LOSS_ATOL);
            }
        });
    }
}

#[test]
fn greedy_generations_are_those_of_the_engine_of_each_of_these_eras() {
    for (folder, era) in ALL {
        let model = InterpretableModel::new(golden::load(&dir(folder), Some(era)).gpt);
        let manifest = manifest(folder);
        let greedy = manifest["greedy"].as_array().unwrap();
        assert!(!greedy.is_empty(), "{folder}");

        for case in greedy {
            assert!(case["min_margin"].as_f64().unwrap() > MARGIN, "{folder}: {case}");
            let (prompt, expected) = (ids(&case["prompt"]), ids(&case["engine"]));
            let sampling = Sampling::greedy(expected.len());
            let steps = model.generate(&prompt, &Plan::new(), &sampling).unwrap();
            let found: Vec<u32> = steps.map(|step| step.token_id).collect();
            assert_eq!(found, expected, "{folder} ({era}), {}", case["text"]);
        }
    }
}

#[test]
fn the_files_tell_the_era_or_which_eras_fit() {
    for (folder, era) in ALL {
        let found = golden::load(&dir(folder), None);

        let fits: &[Era] = match era {
            Era::E3 | Era::E4b => &[Era::E3, Era::E4, Era::E4b],
            // A vocabulary that needs no padding makes E0p the same model as E0.
            Era::E0p if folder.ends_with('d') => &[Era::E0],
            ref one => std::slice::from_ref(one),
        };
        assert_eq!(
            (found.kind.era(), found.also_fits.as_slice()),
            (Some(fits[0]), &fits[1..]),
            "{folder}"
        );
    }
}

#[test]
fn a_bigram_table_of_the_padded_vocabulary_is_another_model() {
    // The hash is taken modulo the number of rows, so that the size of the table shows in the logits.
    let model = golden::load(&dir("59e36cc/c"), None).gpt;
    let table = model.weights().into_iter().find(|(spec, _)| spec.name.starts_with("bigram_embed"));

    assert_eq!(table.unwrap().0.shape, [5 * 301, 34]);
}

#[test]
fn another_era_that_fits_the_files_computes_other_logits() {
    let model = golden::load(&dir("1076f97/d"), Some(Era::E3)).gpt;

    let mut worst = 0.0_f32;
    each_batch("1076f97/d", &model, |_, _, found, expected| {
        worst = worst.max(largest_error(found, expected));
    });

    assert!(worst > 1000.0 * LOGITS_ATOL, "{worst:.1e}");
}
