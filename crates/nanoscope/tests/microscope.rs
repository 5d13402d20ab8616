//! `Microscope` on the demo model and on files that do not fit it.

use std::path::PathBuf;

use nanoscope::{
    Error, HookPoint, InterpretableModel, LoadedSae, Metadata, Microscope, NamedFeature, Plan,
    RuntimeError, Sae, SaeHooks, SaeOptions, SaePath, Sampling, VectorFile, WeightDtype, load_sae,
    save_sae,
};
use nanoscope_testing::test_device;

const HOOK: HookPoint = HookPoint::ResidPost(2);

fn demo(inside: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/demo")).join(inside)
}

fn scope() -> Microscope {
    Microscope::open(demo(""), &test_device()).unwrap()
}

fn hooks(scope: &Microscope) -> Vec<HookPoint> {
    scope.model().saes().keys().copied().collect()
}

#[test]
fn a_model_is_opened_with_its_tokenizer_and_origin() {
    let scope = scope();

    let bos = scope.tokenizer().unwrap().bos().unwrap();
    assert_eq!(scope.encode("Once").unwrap()[0], bos);
    let origin = scope.origin().unwrap();
    assert!(origin.files.weights.ends_with("base_checkpoints/d4/model_001359.pt"));
    assert!(origin.kind.era().is_none_or(|era| !origin.also_fits.contains(&era)));
    assert!(hooks(&scope).is_empty());
}

#[test]
fn every_token_has_its_strongest_features_with_their_labels() {
    let scope = scope().with_saes([demo("saes")]).unwrap();
    let plan = Plan::new().track_all();

    let mut generation = scope.generate("Once upon a time", &plan, &Sampling::greedy(3)).unwrap();
    let step = generation.next().unwrap();

    let strongest = scope.strongest(&step, 2).unwrap();
    assert_eq!(strongest.len(), 2 * 4);
    for pair in strongest.chunks(2) {
        assert!(pair[0].hook == pair[1].hook && pair[0].activation >= pair[1].activation);
        let row = step.features[&pair[0].hook].strongest(0, 1);
        assert_eq!(row, [(pair[0].index, pair[0].activation)]);
        let name = pair[0].name.clone().unwrap();
        match scope.label(pair[0].hook, pair[0].index) {
            Some(label) => assert!(!name.is_automatic && &*name.text == label),
            None => assert!(name.is_automatic && name.text.contains("promotes"), "{name:?}"),
        }
    }
    let is_automatic = |feature: &NamedFeature| feature.name.as_ref().unwrap().is_automatic;
    assert!(strongest.iter().any(|feature| !is_automatic(feature)));
    assert!(strongest.iter().any(is_automatic));
    assert!(strongest[0].to_string().starts_with("blocks.0.hook_resid_post #"));
}

#[test]
fn a_run_of_a_text_has_a_row_of_features_for_each_token() {
    let scope = scope().with_saes([demo("saes/layer_2")]).unwrap();

    let run = scope.run("The dog ran.", &Plan::new().track(HOOK)).unwrap();

    let tokens = scope.encode("The dog ran.").unwrap().len();
    assert_eq!(run.features[&HOOK].rows(), tokens);
    assert_eq!(run.logits.dims()[1], tokens);
}

#[test]
fn only_the_wanted_hook_points_get_saes() {
    let mut scope = scope();

    let options = SaeOptions { hooks: Some(vec![HOOK]), ..SaeOptions::default() };
    scope.add_saes([demo("saes")], &options).unwrap();

    assert_eq!(hooks(&scope), [HOOK]);
    assert!(scope.label(HookPoint::ResidPost(1), 0).is_none());
}

#[test]
fn saes_that_do_not_fit_leave_the_model_with_those_it_had() {
    let mut scope = scope().with_saes([demo("saes/layer_3")]).unwrap();
    let at = |path, point| SaePath { path: demo(path), at: Some((point, None)) };

    // The first fits, the second is as wide as the residual stream and not as the hidden units.
    let fits = at("saes/layer_1", HookPoint::ResidPost(0));
    let wide = at("saes/layer_2", HookPoint::MlpPost(1));
    let error = scope.add_saes([fits, wide], &SaeOptions::default()).unwrap_err();

    let Error::SaeMismatch { path, source } = error else { panic!("{error:?}") };
    assert!(path.starts_with(demo("saes/layer_2")), "{}", path.display());
    assert!(matches!(*source, RuntimeError::WidthMismatch { .. }), "{source}");
    assert_eq!(hooks(&scope), [HookPoint::ResidPost(3)]);
    assert_eq!(scope.labels().len(), 1);

    let other = at("saes/layer_2", HookPoint::ResidPost(3));
    let error = scope.add_saes([other], &SaeOptions::default()).unwrap_err();
    assert!(matches!(error, Error::SaeMismatch { .. }), "{error}");
    assert_eq!(hooks(&scope), [HookPoint::ResidPost(3)]);
}

#[test]
fn the_same_file_is_added_once_per_hook_point_and_at_as_many_as_are_named() {
    let at = |point| SaePath { path: demo("saes/layer_1"), at: Some((point, None)) };
    let (one, two) = (HookPoint::ResidPost(1), HookPoint::ResidPost(2));
    let mut scope = scope().with_saes([at(one)]).unwrap();

    scope.add_saes([at(one)], &SaeOptions::default()).unwrap();
    scope.add_saes([demo("saes/layer_1")], &SaeOptions::default()).unwrap();
    scope.add_saes([at(two)], &SaeOptions::default()).unwrap();

    assert_eq!(hooks(&scope), [one, two]);
    let run = scope.run("The dog", &Plan::new().track_all()).unwrap();
    assert!(run.features[&one].nnz() > 0 && run.features[&two].nnz() > 0);
    // Rounded, it is another SAE.
    let rounded = SaeOptions { dtype: Some(WeightDtype::BF16.into()), ..SaeOptions::default() };
    let error = scope.add_saes([at(one)], &rounded).unwrap_err();
    assert!(matches!(error, Error::SaeMismatch { .. }), "{error}");
}

/// A transcoder on the demo's MLP, whose two activations have the same width.
fn transcoder() -> LoadedSae {
    let device = test_device();
    let sae = nanoscope_testing::identity_sae(256, 8, &device);
    let config = sae.config().clone().into_transcoder();
    let sae = Sae::new(config, sae.weights()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (read, write) = (HookPoint::Ln2Normalized(1), Some(HookPoint::MlpOut(1)));
    save_sae(dir.path(), &sae, read, write, WeightDtype::F32, &Metadata::new()).unwrap();
    load_sae(dir.path(), &device).unwrap()
}

#[test]
fn a_loaded_transcoder_is_placed_between_its_points_and_never_at_one() {
    let scope = scope().with_loaded(transcoder()).unwrap();

    let (read, write) = (HookPoint::Ln2Normalized(1), HookPoint::MlpOut(1));
    assert_eq!((hooks(&scope), scope.model().write_point(read)), (vec![read], write));

    let gpt = scope.model().gpt().clone();
    let bare = || Microscope::new(InterpretableModel::new(gpt.clone()));
    let at_one = LoadedSae { hooks: SaeHooks::new(read, None), ..transcoder() };
    let error = bare().add_loaded(at_one).unwrap_err();
    let Error::SaeMismatch { source, .. } = error else { panic!("{error:?}") };
    assert!(matches!(*source, RuntimeError::Transcoder { .. }), "{source}");
    let error = InterpretableModel::new(gpt.clone()).with_sae(read, transcoder().sae).unwrap_err();
    assert!(matches!(error, RuntimeError::Transcoder { .. }), "{error}");
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let other = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/golden/head/tokenizer");

    let open = Microscope::options().tokenizer(other).open(demo(""), &test_device());

    let error = open.unwrap_err();
    assert!(matches!(error, Error::TokenizerMismatch { .. }), "{error}");
    let error = scope().with_tokenizer(other).unwrap_err();
    assert!(matches!(error, Error::TokenizerMismatch { .. }), "{error}");
}

#[test]
fn progress_ends_at_the_total() {
    let mut calls = Vec::new();

    let options = Microscope::options().progress(|read, total| calls.push((read, total)));
    options.open(demo(""), &test_device()).unwrap();

    let &(read, total) = calls.last().unwrap();
    assert!(read == total && total > 0);
    assert!(calls.is_sorted());
}

#[test]
fn a_model_without_a_tokenizer_takes_no_text() {
    let model = scope().into_parts().model;
    let scope = Microscope::new(InterpretableModel::new(model.gpt().clone()));

    let error = scope.run("The dog", &Plan::new()).unwrap_err();

    assert_eq!(error.to_string(), "the model has no tokenizer");
    assert!(scope.origin().is_none());
}

#[test]
fn a_vector_that_no_intervention_uses_is_refused() {
    let vector = VectorFile { name: "calm".parse().unwrap(), path: "calm.gguf".into(), key: None };
    let steer = |text: &str| text.parse().unwrap();

    let error = vector.load(&[steer("blocks.1.hook_resid_post:glee:add:1")]).unwrap_err();
    assert_eq!(error.to_string(), "no intervention uses the vector `calm`");

    let both =
        ["blocks.1.hook_resid_post:calm:add:1", "blocks.2.hook_resid_post:calm:add:1"].map(steer);
    let error = vector.load(&both).unwrap_err();
    assert_eq!(error.to_string(), "the control vector `calm` is used in several layers");
}

#[test]
fn a_familys_tokenizer_can_have_ids_that_the_model_has_not() {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/families/gemma2/hf");
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(model).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    let path = dir.path().join("tokenizer.json");
    let mut json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    // As Gemma 3's for images.
    json["added_tokens"].as_array_mut().unwrap().push(serde_json::json!({
        "id": 622, "content": "<image_soft_token>", "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false, "special": true,
    }));
    std::fs::write(&path, json.to_string()).unwrap();

    let scope = Microscope::open(dir.path(), &test_device()).unwrap();

    let tokenizer = scope.model().tokenizer().unwrap();
    assert_eq!(tokenizer.special("<image_soft_token>"), Some(622));
    assert!(scope.run("hello", &Plan::new()).is_ok());
    let error = scope.model().generate(&[622], &Plan::new(), &Sampling::greedy(1)).unwrap_err();
    assert!(error.to_string().contains("622") || format!("{error:?}").contains("622"), "{error}");
}
