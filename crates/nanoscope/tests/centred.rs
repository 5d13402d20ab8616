//! SAEs that were trained on another residual stream, or on another model.

use std::path::{Path, PathBuf};

use nanoscope::burn::tensor::Tensor;
use nanoscope::{
    Architecture, Error, HookPoint, Metadata, Microscope, ProcessingError, Sae, SaeConfig,
    SaeOptions, SaeWeights, WeightDtype, save_saelens_with_metadata,
};
use nanoscope_testing::test_device;
use serde_json::{Value, json};
use tempfile::TempDir;

fn model(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/families")
        .join(name)
        .join("hf")
}

/// A folder with an SAE for `width` channels at `hook`, whose metadata is `metadata`.
fn sae(width: usize, hook: HookPoint, metadata: Value) -> TempDir {
    let device = test_device();
    let weights = SaeWeights::new(
        Tensor::ones([width, 8], &device),
        Tensor::zeros([8], &device),
        Tensor::ones([8, width], &device),
        Tensor::zeros([width], &device),
    );
    let sae = Sae::new(SaeConfig::new(width, 8, Architecture::Relu).unwrap(), weights).unwrap();
    let dir = TempDir::new().unwrap();
    let metadata: Metadata = metadata.as_object().unwrap().clone();
    save_saelens_with_metadata(dir.path(), &sae, hook, None, WeightDtype::F32, &metadata).unwrap();
    dir
}

fn processed(key: &str) -> Value {
    json!({ "model_from_pretrained_kwargs": { key: true } })
}

fn open(name: &str) -> Microscope {
    Microscope::open(model(name), &test_device()).unwrap()
}

/// The model with a tokenizer of GPT-2's kind, which puts nothing before a text.
fn open_with_tokenizer(name: &str) -> Microscope {
    let tokenizers =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tokenizers_hf");
    open(name).with_tokenizer(tokenizers.join("gpt2")).unwrap()
}

const HOOK: HookPoint = HookPoint::ResidPre(1);

#[test]
fn the_stream_is_centred_for_an_sae_that_was_trained_on_it() {
    let folder = sae(36, HOOK, processed("center_writing_weights"));
    let scope = open("gpt2");
    assert!(!scope.is_centred());

    let scope = scope.with_saes([folder.path()]).unwrap();

    assert!(scope.is_centred());
    assert!(!scope.model().gpt().config().tied);
}

#[test]
fn a_token_that_the_sae_was_trained_with_and_the_tokenizer_leaves_out_is_a_warning_once() {
    let [first, second] =
        [HOOK, HookPoint::ResidPre(0)].map(|hook| sae(36, hook, json!({ "prepend_bos": true })));
    let saes = [first.path(), second.path()];

    let warned = open_with_tokenizer("gpt2").with_saes(saes).unwrap();
    let [warning] = warned.warnings() else { panic!("{:?}", warned.warnings()) };
    assert!(warning.contains("prepend_bos") && warning.contains("<|endoftext|>"), "{warning}");

    let silent = open("gpt2").with_saes(saes).unwrap();
    assert!(silent.warnings().is_empty(), "without a tokenizer there are no texts");
    let without = sae(36, HOOK, json!({ "prepend_bos": false }));
    assert!(open_with_tokenizer("gpt2").with_saes([without.path()]).unwrap().warnings().is_empty());
}

#[test]
fn points_inside_of_a_sublayer_need_no_centring() {
    let folder = sae(36, HookPoint::Ln2Normalized(1), processed("center_writing_weights"));

    assert!(!open("gpt2").with_saes([folder.path()]).unwrap().is_centred());
}

#[test]
fn a_model_whose_norms_keep_the_mean_refuses_it_and_stays_as_it_is() {
    let mut scope = open("llama_tied_bias");
    let width = scope.model().gpt().config().shape.n_embd;
    let folder = sae(width, HOOK, processed("center_writing_weights"));

    let error = scope.add_saes([folder.path()], &SaeOptions::default()).unwrap_err();

    let reason = "norms of the model do not subtract the mean";
    assert!(error.to_string().contains(reason), "{error}");
    assert!(!scope.is_centred() && scope.model().saes().is_empty());
}

#[test]
fn two_saes_that_need_different_streams_are_refused_in_any_order() {
    let centred = sae(36, HOOK, processed("center_writing_weights"));
    let plain = sae(36, HookPoint::ResidPost(1), json!({}));
    for [first, second] in [[&centred, &plain], [&plain, &centred]] {
        let mut scope = open("gpt2").with_saes([first.path()]).unwrap();
        let is_centred = scope.is_centred();

        let error = scope.add_saes([second.path()], &SaeOptions::default()).unwrap_err();

        let reason = matches!(
            error,
            Error::SaeProcessing { reason: ProcessingError::TwoStreams { .. }, .. }
        );
        assert!(reason, "{error}");
        assert_eq!((scope.is_centred(), scope.model().saes().len()), (is_centred, 1));
    }
    let mut scope = open("gpt2");
    let both = [centred.path(), plain.path()];
    assert!(scope.add_saes(both, &SaeOptions::default()).is_err());
    assert!(!scope.is_centred() && scope.model().saes().is_empty());
    assert!(scope.model().gpt().config().tied);
}

#[test]
fn processing_that_changes_the_activation_is_refused_by_name() {
    for (hook, key) in [
        (HookPoint::MlpIn(1), "fold_ln"),
        (HookPoint::Z(1), "fold_value_biases"),
        (HookPoint::Q(1), "refactor_factored_attn_matrices"),
    ] {
        let folder = sae(36, hook, processed(key));
        let error = open("gpt2").with_saes([folder.path()]).unwrap_err();
        assert!(error.to_string().contains(key), "{error}");
    }
    let folder = sae(36, HOOK, processed("fold_ln"));
    open("gpt2").with_saes([folder.path()]).unwrap();
}

#[test]
fn an_sae_of_another_model_is_a_warning() {
    let other = sae(36, HOOK, json!({ "model_name": "google/gemma-2-2b" }));
    let scope = open("gpt2").with_saes([other.path()]).unwrap();
    let [warning] = scope.warnings() else { panic!("{:?}", scope.warnings()) };
    assert!(warning.contains("google/gemma-2-2b") && warning.contains("GPT-2"), "{warning}");

    let own = sae(36, HOOK, json!({ "model_name": "gpt2-small" }));
    assert!(open("gpt2").with_saes([own.path()]).unwrap().warnings().is_empty());
}
