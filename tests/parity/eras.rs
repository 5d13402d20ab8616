//! Models of every era compute the same as nanochat's code of that era.

use nanoscope_checkpoint::{CheckpointError, LoadOptions, ModelFiles};
use nanoscope_hooks::{ActivationRecorder, HookPoint};
use nanoscope_transformer::{Era, Gpt, Logits, TokenBatch};

use crate::golden::{self, Golden, assert_close, assert_same, largest_error, values};

/// Small enough to detect an epsilon of 1e-5 in the norm, which changes logits by 2e-5 to 8e-5.
const LOGITS_ATOL: f32 = 2e-5;
const LOSS_ATOL: f32 = 1e-5;
/// Block outputs are up to ten times larger than logits.
const BLOCKS_ATOL: f32 = 6e-5;
/// A softcap of 15 instead of 20 gives an error of 0.13.
const ANOTHER_ERA: f32 = 0.05;

fn logits(model: &Gpt, tokens: &TokenBatch) -> Vec<f32> {
    values(model.forward(tokens, Logits::All, &mut ()).unwrap())
}

/// Mean cross-entropy in nats over the targets that are not -1.
fn loss(logits: &[f32], targets: &[i64]) -> f64 {
    let vocab = logits.len() / targets.len();
    let losses: Vec<f64> = logits
        .chunks_exact(vocab)
        .zip(targets)
        .filter(|&(_, &target)| target != -1)
        .map(|(row, &target)| {
            let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = row.iter().map(|&x| f64::from(x - most).exp()).sum();
            sum.ln() + f64::from(most - row[usize::try_from(target).unwrap()])
        })
        .collect();
    losses.iter().sum::<f64>() / losses.len() as f64
}

#[test]
fn the_files_of_every_era_tell_which_it_is() {
    for golden in golden::NANOCHAT {
        let found = golden::load(&golden.dir(), None);

        // The files do not show the softcap and the precision of the rotary tables.
        let (era, also_fits): (_, &[Era]) = match golden.era.unwrap() {
            Era::E3 | Era::E4 => (Era::E3, &[Era::E4, Era::E4b]),
            era => (era, &[]),
        };
        assert_eq!(found.kind.era(), Some(era), "{golden}");
        assert_eq!(found.also_fits, also_fits, "{golden}");
    }
}

#[test]
fn logits_and_loss_are_those_of_each_eras_own_code() {
    for golden in golden::NANOCHAT {
        let model = golden.model().gpt;
        let expected = golden.expected();

        let found = logits(&model, &golden.tokens());

        let wanted = expected.floats("logits");
        assert_close(format!("{golden}, logits"), &found, &wanted.values, LOGITS_ATOL);
        let found = loss(&found, &expected.ints("targets").values) as f32;
        let wanted = &expected.floats("loss").values;
        assert_close(format!("{golden}, loss"), &[found], wanted, LOSS_ATOL);
    }
}

#[test]
fn attention_mlp_and_block_outputs_are_those_of_each_eras_own_code() {
    for golden in golden::NANOCHAT {
        let model = golden.model().gpt;
        let expected = golden.expected();
        let layers = 0..model.config().shape.n_layer;
        let outputs: Vec<(HookPoint, String)> = layers
            .flat_map(|l| {
                [
                    (HookPoint::AttnOut(l), format!("blocks.{l}.attn")),
                    (HookPoint::MlpOut(l), format!("blocks.{l}.mlp")),
                    (HookPoint::ResidPost(l), format!("blocks.{l}.out")),
                ]
            })
            .collect();
        let mut recorder = ActivationRecorder::new(outputs.iter().map(|&(point, _)| point));

        model.forward(&golden.tokens(), Logits::All, &mut recorder).unwrap();

        let recording = recorder.finish().unwrap();
        for (point, name) in outputs {
            let found = recording.get(point).unwrap();
            let wanted = expected.floats(&name);
            assert_eq!(found.shape(), wanted.shape, "{golden}, {point}");
            assert_close(
                format!("{golden}, {point}"),
                &found.to_vec(),
                &wanted.values,
                BLOCKS_ATOL,
            );
        }
    }
}

#[test]
fn a_compiled_checkpoint_with_bf16_embeddings_is_the_same_model() {
    let head = Golden::new("head", Era::E6);
    // The same weights, with keys that start with `_orig_mod.` and embeddings in bf16, which is exact
    // for them.
    let compiled = golden::load(&head.dir().join("chatsft_checkpoints"), None);
    assert_eq!(compiled.kind.era(), head.era);

    let found = logits(&compiled.gpt, &head.tokens());

    let wanted = logits(&head.model().gpt, &head.tokens());
    assert_same("chatsft logits", &found, &wanted);
}

#[test]
fn a_checkpoint_read_as_another_era_that_fits_it_is_another_model() {
    let golden = Golden::new("mid_aba30cb", Era::E4);
    let expected = golden.expected();
    let wanted = &expected.floats("logits").values;

    let guessed = golden::load(&golden.dir(), None);

    assert!(guessed.also_fits.contains(&golden.era.unwrap()), "{:?}", guessed.also_fits);
    let error = largest_error(&logits(&guessed.gpt, &golden.tokens()), wanted);
    assert!(error > ANOTHER_ERA, "as {}: only {error:.2e} off", guessed.kind);
    let told = golden.model();
    assert_eq!((told.kind.era(), told.also_fits), (Some(Era::E4), Vec::new()));
}

#[test]
fn an_era_that_the_weights_contradict_is_an_error() {
    let device = nanoscope_testing::test_device();
    for (folder, asked, fitting) in [
        ("head", Era::E0, vec![Era::E6]),
        ("old", Era::E1, vec![Era::E0, Era::E0p]),
        ("mid_aba30cb", Era::E5, vec![Era::E3, Era::E4, Era::E4b]),
    ] {
        let files = ModelFiles::find(&Golden::new(folder, asked).dir()).unwrap();

        let error = files
            .load_with(&device, LoadOptions { era: Some(asked), ..Default::default() })
            .unwrap_err();

        let CheckpointError::EraMismatch { fits, .. } = &error else {
            panic!("{folder} as {asked}: {error}");
        };
        assert_eq!(*fits, fitting, "{folder} as {asked}");
    }
}
