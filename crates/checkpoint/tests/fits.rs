//! The comparison of SAEs with a model, and GPT-2's models with a centred stream.

use std::fs;
use std::path::{Path, PathBuf};

use nanoscope_checkpoint::{InspectOptions, ModelFiles, SaePath, fits};
use nanoscope_hooks::{ActivationRecorder, HookPoint};
use nanoscope_transformer::{Logits, TokenBatch};

fn fixtures(inside: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(inside)
}

fn tensor(path: &Path, name: &str) -> Option<Vec<f32>> {
    let bytes = fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let number = |four: &[u8]| f32::from_le_bytes(four.try_into().unwrap());
    Some(file.tensor(name).ok()?.data().chunks(4).map(number).collect())
}

#[test]
fn a_centred_gpt2_has_the_same_logits_and_the_stream_less_its_mean() {
    for (name, tolerance) in [("gpt2", 2e-5), ("gpt2_published", 2e-5), ("pythia", 5e-5)] {
        let dir = fixtures("families").join(name);
        let device = nanoscope_testing::test_device();
        let model = ModelFiles::find(&dir.join("hf")).unwrap().load(&device).unwrap().gpt;
        let width = model.config().shape.n_embd;
        let expected = dir.join("expected.safetensors");
        let bytes = fs::read(&expected).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let ids = file.tensor("tokens").unwrap().data();
        let id = |eight: &[u8]| u32::try_from(i64::from_le_bytes(eight.try_into().unwrap()));
        let ids: Vec<u32> = ids.chunks(8).map(|eight| id(eight).unwrap()).collect();
        let rows: Vec<Vec<u32>> = ids.chunks(24).map(<[u32]>::to_vec).collect();
        let tokens = TokenBatch::new(&rows).unwrap();
        let points: Vec<HookPoint> =
            model.config().hook_points().filter(|point| point.is_in_stream()).collect();
        let mut recorder = ActivationRecorder::new(points.iter().copied());

        let centred = model.centred().unwrap();
        let logits = centred.forward(&tokens, Logits::All, &mut recorder).unwrap();

        let before = model.forward(&tokens, Logits::All, &mut ()).unwrap();
        let difference = (before - logits).abs().max().into_scalar::<f32>();
        assert!(difference < tolerance, "{name}: {difference}");
        let cache = recorder.finish().unwrap();
        let mut compared = 0;
        for point in points {
            let Some(stored) = tensor(&expected, &point.to_string()) else { continue };
            compared += 1;
            let found = cache.get(point).unwrap().tensor::<3>().into_data();
            let found: Vec<f32> = found.iter::<f32>().collect();
            let largest = stored.iter().fold(0.0_f32, |max, value| max.max(value.abs()));
            for (stored, found) in stored.chunks(width).zip(found.chunks(width)) {
                let mean = stored.iter().sum::<f32>() / width as f32;
                for (stored, found) in stored.iter().zip(found) {
                    let difference = (stored - mean - found).abs();
                    assert!(difference <= 1e-4 * largest, "{name} {point}: {difference}");
                }
            }
        }
        assert!(compared >= 5, "{name}: {compared}");
    }
}

#[test]
fn an_rms_model_cannot_be_centred() {
    let device = nanoscope_testing::test_device();
    let model = ModelFiles::find(&fixtures("families/llama_tied_bias/hf")).unwrap();
    assert!(model.load(&device).unwrap().gpt.centred().is_err());
}

#[test]
fn a_misfit_says_what_differs() {
    let model = fixtures("families/gpt2/hf");
    let sae = fixtures("saes/sparsify/topk/layers.2");
    let Ok(_) = fs::metadata(&sae) else { panic!("{}", sae.display()) };
    let of = |at: Option<HookPoint>| {
        let at = at.map(|hook| (hook, None));
        let paths = [SaePath { path: sae.clone(), at }];
        fits(&model, paths, &InspectOptions::default()).unwrap().remove(0)
    };

    let width = of(Some(HookPoint::ResidPost(0)));
    assert_eq!(width.hook, Some(HookPoint::ResidPost(0)));
    assert!(width.problems[0].contains("width"), "{:?}", width.problems);
    let layer = of(Some(HookPoint::ResidPost(90)));
    assert!(layer.problems[0].contains("layer"), "{:?}", layer.problems);
    let gate = of(Some(HookPoint::MlpPreLinear(0)));
    assert!(gate.problems[0].contains("no gate"), "{:?}", gate.problems);
    assert_eq!(of(None).hook, Some(HookPoint::ResidPost(2)));
}
