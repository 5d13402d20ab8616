//! Excerpts of a real pass.

use std::ops::ControlFlow;

use nanoscope_corpus::Context;
use nanoscope_dashboard::{Dashboard, Options};
use nanoscope_hooks::HookPoint;
use nanoscope_label::{Material, Samples, Windows};
use nanoscope_runtime::InterpretableModel;
use nanoscope_testing::{
    SPECIAL_TOKENS, TINY_SHAPE, byte_tokenizer, identity_sae, test_device, tiny_gpt,
};
use nanoscope_transformer::{GptShape, TokenBatch};

const HOOK: HookPoint = HookPoint::ResidPost(0);
const CONTEXT_LEN: u32 = 30;
const CONTEXTS: u64 = 40;
const SAMPLES: Samples = Samples { shown: 8, tested: 12, window: 3, seed: 5 };

fn model() -> InterpretableModel {
    let device = test_device();
    let sae = identity_sae(TINY_SHAPE.n_embd, 4, &device);
    let shape = GptShape { vocab_size: 265, ..TINY_SHAPE };
    InterpretableModel::new(tiny_gpt(shape, &device))
        .with_sae(HOOK, sae)
        .unwrap()
        .with_tokenizer(byte_tokenizer(&SPECIAL_TOKENS))
        .unwrap()
}

/// Letters without a pattern, two documents in each context.
fn context(index: u64) -> Context {
    let letter = |at: u32| {
        // One step of SplitMix64.
        let mut x =
            (index * u64::from(CONTEXT_LEN) + u64::from(at)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::from(b'a') + ((x ^ (x >> 31)) % 26) as u32
    };
    let documents = (0..CONTEXT_LEN).map(|at| 2 * index + u64::from(at >= 11)).collect();
    Context { index, tokens: (0..CONTEXT_LEN).map(letter).collect(), documents }
}

fn text(tokens: &[u32]) -> String {
    tokens.iter().map(|&token| char::from(token as u8)).collect()
}

#[test]
fn a_feature_fires_in_half_of_the_contexts_and_in_none_of_the_others() {
    let model = model();
    let tokenizer = model.tokenizer().unwrap();
    let options = SAMPLES.dashboard(Options::new(0..64));
    let contexts = || Ok((0..CONTEXTS).map(|index| Ok(context(index))));
    let mut on = |_| ControlFlow::Continue(());
    let dashboard =
        Dashboard::build(&model, HOOK, &options, contexts, |_, _| None, &mut on).unwrap();
    let mut done = Vec::new();
    let progress = |at, of| {
        done.push((at, of));
        Ok(())
    };
    let windows =
        Windows::gather((&model, HOOK), (|at| Ok(context(at)), CONTEXTS), 3, progress).unwrap();
    assert_eq!(done.last(), Some(&(40, 40)));

    // The text of each context, and the positions at which each feature fires.
    let passes: Vec<(String, Vec<(usize, u32)>)> = (0..CONTEXTS)
        .map(|index| {
            let tokens = context(index).tokens;
            let batch = TokenBatch::new(std::slice::from_ref(&tokens)).unwrap();
            let features = model.features_at(HOOK, &batch).unwrap();
            let (starts, indices, _) = features.csr();
            let at =
                |row: usize| indices[starts[row]..starts[row + 1]].iter().map(move |&f| (row, f));
            (text(&tokens), (0..tokens.len()).flat_map(at).collect())
        })
        .collect();
    let mut tested = 0;
    for page in &dashboard.features {
        let density = dashboard.density(page);
        let Some(material) = Material::choose(page, density, &windows, tokenizer, SAMPLES) else {
            assert!(page.activity.strongest.iter().all(|example| example.value <= 0.0));
            continue;
        };
        assert!(material.shown.len() <= SAMPLES.shown && material.contexts.len() <= SAMPLES.tested);
        let firing = material.contexts.iter().filter(|context| context.fires).count();
        assert_eq!(2 * firing, material.contexts.len());
        for context in &material.contexts {
            let plain = context.excerpt.plain();
            let places = passes.iter().filter_map(|(text, firings)| {
                let from = text.find(&plain)?;
                let within = from..from + plain.len();
                Some(firings.iter().any(|(at, f)| within.contains(at) && *f == page.feature))
            });
            let places: Vec<bool> = places.collect();
            // A short excerpt at the end of a document can occur twice.
            assert!(places.contains(&context.fires), "feature {}: {plain}", page.feature);
            tested += usize::from(places.len() == 1);
            assert!(plain.len() <= 7);
            assert!(material.shown.iter().all(|shown| shown.plain() != plain));
        }
        let again = Material::choose(page, density, &windows, tokenizer, SAMPLES);
        assert_eq!(again, Some(material));
    }
    assert!(tested > 300, "{tested}");
}

#[test]
fn a_feature_that_fires_everywhere_is_shown_and_not_tested() {
    let model = model();
    let options = SAMPLES.dashboard(Options::new(0..64));
    let contexts = || Ok((0..4).map(|index| Ok(context(index))));
    let mut on = |_| ControlFlow::Continue(());
    let dashboard =
        Dashboard::build(&model, HOOK, &options, contexts, |_, _| None, &mut on).unwrap();
    let page = dashboard.features.iter().max_by_key(|page| page.fires).unwrap();

    let tokenizer = model.tokenizer().unwrap();
    let material = Material::choose(page, 1.0, &Windows::default(), tokenizer, SAMPLES).unwrap();

    assert!(!material.shown.is_empty());
    assert!(material.contexts.is_empty());
}
