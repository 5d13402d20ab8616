//! Plans and tokens that do not fit the model.

use std::fs;

use burn::tensor::Tensor;
use nanoscope_checkpoint::{CheckpointError, load_tokenizer};
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{
    Batch, EndReason, Generation, InterpretableModel, Plan, RunOutput, RuntimeError, Sampling,
    StepOutcome,
};
use nanoscope_transformer::{Gpt, GptError, ParamSpec, TokenBatch, WeightSource};
use tempfile::TempDir;

use crate::files::{Checkpoint, fixture, small_sae};
use crate::refused;

pub(crate) const SITE: HookPoint = HookPoint::ResidPost(1);
pub(crate) const D_MODEL: usize = 64;

pub(crate) fn bare() -> InterpretableModel {
    InterpretableModel::new(Checkpoint::valid().load(None).unwrap().gpt)
}

/// The golden model with 300 tokens and 64 positions, its tokenizer and an SAE of 8 features.
pub(crate) fn model() -> InterpretableModel {
    let tokenizer = load_tokenizer(&fixture("tokenizers/golden_old")).unwrap();
    let model = bare().with_tokenizer(tokenizer).unwrap();
    model.with_sae(SITE, small_sae(D_MODEL)).unwrap()
}

pub(crate) fn tokens(rows: &[&[u32]]) -> TokenBatch {
    TokenBatch::new(&rows.iter().map(|row| row.to_vec()).collect::<Vec<_>>()).unwrap()
}

pub(crate) fn run(model: &InterpretableModel, plan: &Plan) -> Result<RunOutput, RuntimeError> {
    model.run(&tokens(&[&[1, 2, 3]]), plan)
}

pub(crate) fn steered(spec: &str) -> Plan {
    Plan::new().intervene(spec.parse().unwrap())
}

#[test]
fn an_sae_that_does_not_fit_the_model_is_refused() {
    refused!(
        "hook point in a block that is not there",
        bare().with_sae(HookPoint::ResidPost(4), small_sae(D_MODEL)),
        RuntimeError::NoSuchHook { n_layer: 4, .. },
        ["blocks.4.hook_resid_post", "4 blocks (0 to 3)"]
    );
    refused!(
        "hook point in a block beyond counting",
        bare().with_sae(HookPoint::MlpOut(usize::MAX), small_sae(D_MODEL)),
        RuntimeError::NoSuchHook { .. },
        ["blocks.18446744073709551615.hook_mlp_out"]
    );
    refused!(
        "SAE of another width",
        bare().with_sae(SITE, small_sae(4)),
        RuntimeError::WidthMismatch { expected: Some(64), found: 4, .. },
        ["blocks.1.hook_resid_post", "d_in 4", "has 64"]
    );
    refused!(
        "SAE on attention patterns",
        bare().with_sae(HookPoint::Pattern(0), small_sae(D_MODEL)),
        RuntimeError::WidthMismatch { expected: None, .. },
        ["blocks.0.attn.hook_pattern", "d_in 64", "no fixed width"]
    );
    refused!(
        "transcoder that writes another width",
        bare().with_transcoder(SITE, HookPoint::MlpPre(2), small_sae(D_MODEL)),
        RuntimeError::OutputWidthMismatch { expected: Some(256), found: 64, .. },
        ["blocks.2.mlp.hook_pre", "d_out 64", "has 256"]
    );
    refused!(
        "transcoder that reads another width",
        bare().with_transcoder(SITE, HookPoint::MlpOut(2), small_sae(4)),
        RuntimeError::WidthMismatch { expected: Some(64), found: 4, .. },
        ["blocks.1.hook_resid_post", "d_in 4"]
    );
    for write in [SITE, HookPoint::MlpOut(1)] {
        refused!(
            format!("transcoder that writes {write}"),
            bare().with_transcoder(SITE, write, small_sae(D_MODEL)),
            RuntimeError::TranscoderOrder { .. },
            ["reads blocks.1.hook_resid_post", &write.to_string(), "not after it"]
        );
    }
    refused!(
        "transcoder that writes a block that is not there",
        bare().with_transcoder(SITE, HookPoint::MlpOut(4), small_sae(D_MODEL)),
        RuntimeError::NoSuchHook { n_layer: 4, .. },
        ["blocks.4.hook_mlp_out"]
    );
    refused!(
        "transcoder where there is an SAE",
        model().with_transcoder(SITE, HookPoint::MlpOut(2), small_sae(D_MODEL)),
        RuntimeError::DuplicateSae { .. },
        ["blocks.1.hook_resid_post"]
    );
    refused!(
        "second SAE at a hook point",
        model().with_sae(SITE, small_sae(D_MODEL)),
        RuntimeError::DuplicateSae { .. },
        ["blocks.1.hook_resid_post"]
    );
}

#[test]
fn a_tokenizer_of_another_model_is_refused_with_both_sizes() {
    let other = load_tokenizer(&fixture("tokenizers/32k")).unwrap();
    let found = other.vocab_size();
    refused!(
        "tokenizer of another model",
        bare().with_tokenizer(other),
        RuntimeError::VocabMismatch { expected: 300, .. },
        ["300", &found.to_string()]
    );
    let dir = TempDir::new().unwrap();
    refused!(
        "folder without a tokenizer",
        load_tokenizer(dir.path()),
        CheckpointError::NoTokenizer { .. },
        [dir.path().to_str().unwrap(), "tokenizer.pkl"]
    );
    fs::write(dir.path().join("tokenizer.pkl"), b"cos\nsystem\n(X\x02\x00\x00\x00idtR.").unwrap();
    refused!(
        "tokenizer that calls os.system",
        load_tokenizer(dir.path()),
        CheckpointError::Pickle { .. },
        ["tokenizer.pkl", "os.system"]
    );
}

#[test]
fn tokens_that_make_no_batch_or_are_no_tokens_are_refused() {
    refused!("no rows", TokenBatch::new(&[]), GptError::NoTokens, ["no tokens"]);
    refused!("empty row", TokenBatch::new(&[vec![], vec![]]), GptError::NoTokens, ["no tokens"]);
    refused!(
        "rows of different length",
        TokenBatch::new(&[vec![1, 2], vec![1, 2], vec![3]]),
        GptError::RaggedRows { .. },
        ["row 2 has 1 tokens", "row 0 has 2"]
    );
    for id in [300, 319, u32::MAX] {
        refused!(
            format!("token {id}"),
            model().run(&tokens(&[&[0, 1], &[2, id]]), &Plan::new()),
            RuntimeError::Tokens { source: GptError::TokenOutOfRange { .. } },
            [&id.to_string(), "row 1, position 1", "vocabulary of 300"]
        );
    }
    refused!(
        "prompt longer than the sequence",
        model().run_generated(&tokens(&[&[1, 2, 3]]), 4, &Plan::new()),
        RuntimeError::PromptLen { .. },
        ["4 tokens", "sequence of 3"]
    );
}

#[test]
fn a_plan_for_what_the_model_does_not_have_is_refused() {
    let model = model();
    let deep = HookPoint::ResidPost(9);
    refused!(
        "capture in a block that is not there",
        run(&model, &Plan::new().capture(deep)),
        RuntimeError::NoSuchHook { .. },
        ["blocks.9.hook_resid_post", "4 blocks (0 to 3)"]
    );
    refused!(
        "features of a block that is not there",
        run(&model, &Plan::new().track(deep)),
        RuntimeError::NoSuchHook { .. },
        ["blocks.9.hook_resid_post"]
    );
    refused!(
        "features at a point without an SAE",
        run(&model, &Plan::new().track(HookPoint::Embed)),
        RuntimeError::NoSae { .. },
        ["no SAE for hook_embed", "blocks.1.hook_resid_post"]
    );
    refused!(
        "features of a model without SAEs",
        run(&bare(), &Plan::new().track(SITE)),
        RuntimeError::NoSae { .. },
        ["blocks.1.hook_resid_post", "the model has no SAEs"]
    );
    refused!(
        "intervention at a point without an SAE",
        run(&model, &steered("blocks.2.hook_mlp_out:1:add:1")),
        RuntimeError::NoSae { .. },
        ["blocks.2.hook_mlp_out"]
    );
    refused!(
        "features that were not tracked",
        run(&model, &Plan::new()).unwrap().active_features(SITE, Some(3)),
        RuntimeError::NotTracked { .. },
        ["blocks.1.hook_resid_post", "the plan tracked none"]
    );
}

#[test]
fn a_generation_that_cannot_start_is_refused() {
    fn start<'m>(
        model: &'m InterpretableModel,
        prompt: &[u32],
        sampling: &Sampling,
    ) -> Result<Generation<'m>, RuntimeError> {
        model.generate(prompt, &Plan::new(), sampling)
    }
    let model = model();
    let greedy = Sampling::greedy(3);
    refused!(
        "empty prompt",
        start(&model, &[], &greedy),
        RuntimeError::Tokens { source: GptError::NoTokens },
        ["no tokens"]
    );
    refused!(
        "prompt longer than the context",
        start(&model, &[1; 65], &greedy),
        RuntimeError::PromptTooLong { found: 65, capacity: 64 },
        ["65 tokens", "context holds 64"]
    );
    refused!(
        "prompt outside the vocabulary",
        start(&model, &[1, 300], &greedy),
        RuntimeError::Tokens { source: GptError::TokenOutOfRange { .. } },
        ["token id 300", "position 1", "vocabulary of 300"]
    );
    let default = Sampling::default;
    let cases = [
        (Sampling { temperature: -0.5, ..default() }, "temperature is -0.5; it must be 0 or more"),
        (Sampling { temperature: f32::NAN, ..default() }, "temperature is NaN"),
        (Sampling { temperature: f32::INFINITY, ..default() }, "temperature is inf"),
        (
            Sampling { top_p: Some(0.0), ..default() },
            "top-p is 0; it must be above 0 and at most 1",
        ),
        (Sampling { top_p: Some(1.5), ..default() }, "top-p is 1.5"),
        (Sampling { top_p: Some(f32::NAN), ..default() }, "top-p is NaN"),
        (Sampling { top_k: Some(0), ..default() }, "top-k is 0; it must be 1 or more"),
        (Sampling { max_tokens: 0, ..default() }, "max-tokens is 0; it must be 1 or more"),
    ];
    for (sampling, found) in cases {
        refused!(found, start(&model, &[1], &sampling), RuntimeError::Sampling { .. }, [found]);
    }
}

#[test]
fn parameters_at_their_limits_are_taken() {
    let model = model();
    let limits = [
        Sampling { temperature: f32::MIN_POSITIVE, ..Sampling::default() },
        Sampling { temperature: f32::MAX, ..Sampling::default() },
        Sampling { top_k: Some(usize::MAX), ..Sampling::default() },
        Sampling { top_p: Some(f32::MIN_POSITIVE), ..Sampling::default() },
        Sampling { max_tokens: usize::MAX, seed: u64::MAX, ..Sampling::default() },
    ];
    for sampling in limits {
        let steps = model.generate(&[1, 2], &Plan::new(), &sampling).unwrap();
        for step in steps.take(3) {
            assert!((step.token_id as usize) < 300, "{sampling:?}");
        }
    }
    let full = model.generate(&[1; 64], &Plan::new(), &Sampling::default()).unwrap();
    assert_eq!(full.count(), 0);
}

/// A source of weights that are all NaN.
struct NotNumbers;

impl WeightSource for NotNumbers {
    type Error = std::convert::Infallible;

    fn weight<const D: usize>(&mut self, spec: &ParamSpec) -> Result<Tensor<D>, Self::Error> {
        let shape: [usize; D] = spec.shape.clone().try_into().unwrap();
        Ok(Tensor::full(shape, f32::NAN, &nanoscope_testing::test_device()))
    }
}

#[test]
fn a_model_with_weights_that_are_not_finite_names_the_first_activation_that_is_not() {
    let config = bare().gpt().config().clone();
    let gpt = Gpt::load(config, &mut NotNumbers, &nanoscope_testing::test_device()).unwrap();
    let model = InterpretableModel::new(gpt);
    let found = "the activation at hook_embed is not finite at position 0";

    let run = run(&model, &Plan::new());
    refused!("run", run, RuntimeError::NonFinite { .. }, [found]);
    let generation = model.generate(&[1, 2], &Plan::new(), &Sampling::greedy(5));
    refused!("generation", generation, RuntimeError::NonFinite { .. }, [found]);
}

/// Interventions at [`SITE`] that leave the range of float32.
const OVERFLOWING: [&str; 5] = [
    "blocks.1.hook_resid_post:0:add:1e30",
    "blocks.1.hook_resid_post:0:add:3e38:unit",
    "blocks.1.hook_resid_post:0:add:1e38:norm",
    "blocks.1.hook_resid_post:0:set:3e38",
    "blocks.1.hook_resid_post:0:add:1e30 with reconstruct",
];

/// The model with an SAE whose features are also tracked after [`SITE`].
fn tracked() -> InterpretableModel {
    model().with_sae(HookPoint::ResidPost(2), small_sae(D_MODEL)).unwrap()
}

#[test]
fn a_run_that_leaves_the_range_of_float32_names_the_hook_point_and_the_position() {
    let model = tracked();
    for spec in OVERFLOWING {
        for plan in [steered(spec), steered(spec).track_all(), steered(spec).capture(SITE)] {
            refused!(
                spec,
                run(&model, &plan),
                RuntimeError::NonFinite { .. },
                [
                    "an intervention at blocks.1.hook_resid_post leaves the range of float32",
                    "at position 0"
                ]
            );
        }
        let from_two = steered(&spec.replace(" with", "@2..3 with"));
        let from_two =
            if spec.contains(" with") { from_two } else { steered(&format!("{spec}@2..3")) };
        refused!(spec, run(&model, &from_two), RuntimeError::NonFinite { .. }, ["at position 2"]);
        let row = steered(&spec.replace(" with", "@all[1] with"));
        let row = if spec.contains(" with") { row } else { steered(&format!("{spec}@all[1]")) };
        let both = model.run(&tokens(&[&[1, 2, 3], &[4, 5, 6]]), &row);
        refused!(spec, both, RuntimeError::NonFinite { .. }, ["at position 0 of row 1"]);
    }
    let vector = Plan::new().vector("big".parse().unwrap(), vec![1e30; D_MODEL]);
    let vector = vector.intervene("blocks.1.hook_resid_post:big:add:1".parse().unwrap());
    refused!("vector", run(&model, &vector), RuntimeError::NonFinite { .. }, ["at position 0"]);
}

#[test]
fn a_generation_that_leaves_the_range_of_float32_ends_with_the_error() {
    let model = tracked();
    for spec in &OVERFLOWING[..4] {
        refused!(
            *spec,
            model.generate(&[1, 2, 3], &steered(spec), &Sampling::greedy(5)),
            RuntimeError::NonFinite { .. },
            ["blocks.1.hook_resid_post", "at position 0"]
        );
        for plan in [steered(&format!("{spec}@generated")), steered(&format!("{spec}@5..6"))] {
            let sampling = Sampling::greedy(4);
            let mut generation = model.generate(&[1, 2, 3], &plan, &sampling).unwrap();
            let steps: Vec<_> = generation.by_ref().collect();
            let position = 3 + steps.len();
            assert!(position == 3 || position == 5, "{spec}: {position}");
            assert!(steps.iter().all(|step| step.logprob.is_finite()), "{spec}");
            let Some(EndReason::NotFinite(found)) = generation.end() else {
                panic!("{spec}: {:?}", generation.end());
            };
            assert_eq!((found.at.hook(), found.position), (Some(SITE), position), "{spec}");
            let error = generation.error().unwrap().to_string();
            assert!(error.ends_with(&format!("at position {position}")), "{error}");
        }
    }
}

#[test]
fn in_a_batch_only_the_generation_that_leaves_the_range_ends_and_nothing_of_it_is_kept() {
    let model = tracked();
    let mut batch = Batch::new(&model, 1 << 20);
    let sampling = Sampling::greedy(4);
    let alone: Vec<u32> = model
        .generate(&[1, 2, 3], &Plan::new().track_all(), &sampling)
        .unwrap()
        .map(|step| step.token_id)
        .collect();
    for _ in 0..2 {
        let mut well = batch.begin(&[1, 2, 3], &Plan::new().track_all(), &sampling).unwrap();
        let plan = steered(OVERFLOWING[0]).track_all();
        let mut prompt = batch.begin(&[1, 2, 3], &plan, &sampling).unwrap();
        let plan = steered(&format!("{}@4..5", OVERFLOWING[0])).track_all();
        let mut later = batch.begin(&[1, 2, 3], &plan, &sampling).unwrap();
        let mut found = Vec::new();
        while well.end().is_none() {
            let outcomes = batch.step(&mut [&mut well, &mut prompt, &mut later]).unwrap();
            if let StepOutcome::Step(step) = &outcomes[0] {
                found.push(step.token_id);
            }
        }

        assert_eq!(found, alone);
        assert_eq!(well.end(), Some(EndReason::MaxTokens));
        let place = |generation: &Generation<'_>| match generation.end() {
            Some(EndReason::NotFinite(found)) => (found.at.hook(), found.position),
            end => panic!("{end:?}"),
        };
        assert_eq!(place(&prompt), (Some(SITE), 0));
        assert_eq!(place(&later), (Some(SITE), 4));
        assert_eq!(prompt.reused(), 0);
    }
}

#[test]
fn a_generation_of_another_batch_or_of_none_is_refused_before_anything_runs() {
    let (first, second) = (model(), model());
    let sampling = Sampling::greedy(3);
    let mut batch = Batch::new(&first, 1 << 20);
    let mut other_model = Batch::new(&second, 1 << 20);
    let mut other_cache = Batch::new(&first, 1 << 20);

    let mut own = batch.begin(&[1, 2], &Plan::new(), &sampling).unwrap();
    let mut foreign = [
        ("of another model", other_model.begin(&[1, 2], &Plan::new(), &sampling).unwrap()),
        ("of another cache", other_cache.begin(&[1, 2], &Plan::new(), &sampling).unwrap()),
        ("of no batch", first.generate(&[1, 2], &Plan::new(), &sampling).unwrap()),
    ];
    for (what, generation) in &mut foreign {
        let stepped = batch.step(&mut [&mut own, generation]);
        refused!(
            *what,
            stepped,
            RuntimeError::ForeignGeneration { index: 1 },
            ["generation 1 was not begun by this batch"]
        );
    }
    assert_eq!(batch.step(&mut [&mut own]).unwrap(), [StepOutcome::Prompt]);
}
