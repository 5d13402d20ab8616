//! Every family's model against the reference numbers.

use std::path::{Path, PathBuf};

use nanoscope_checkpoint::ModelFiles;
use nanoscope_hooks::{ActivationRecorder, HookPoint};
use nanoscope_transformer::{Logits, TokenBatch};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/families")
}

struct Numbers(Vec<u8>);
impl Numbers {
    fn tensors(&self) -> Vec<String> {
        safetensors::SafeTensors::deserialize(&self.0)
            .unwrap()
            .names()
            .into_iter()
            .map(|s| s.to_owned())
            .collect()
    }
}
fn floats(file: &Numbers, name: &str) -> Vec<f32> {
    let st = safetensors::SafeTensors::deserialize(&file.0).unwrap();
    st.tensor(name)
        .unwrap()
        .data()
        .chunks(4)
        .map(|c| f32::from_le_bytes(c.try_into().unwrap()))
        .collect()
}

#[test]
fn all() {
    let device = nanoscope_testing::test_device();
    let mut names: Vec<_> =
        std::fs::read_dir(folder()).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    for dir in names {
        let name = dir.file_name().unwrap().to_str().unwrap().to_owned();
        let manifest: serde_json::Value =
            serde_json::from_slice(&std::fs::read(dir.join("manifest.json")).unwrap()).unwrap();
        let loaded = match ModelFiles::find(&dir.join("hf")).and_then(|f| f.load(&device)) {
            Ok(l) => l,
            Err(e) => {
                println!("{name}: {e} {:?}", std::error::Error::source(&e).map(|e| e.to_string()));
                continue;
            }
        };
        let gpt = loaded.gpt;
        let expected = Numbers(std::fs::read(dir.join("expected.safetensors")).unwrap());
        let ids: Vec<f32> = floats_i64(&dir.join("expected.safetensors"));
        let rows: Vec<Vec<u32>> =
            ids.chunks(24).map(|r| r.iter().map(|&v| v as u32).collect()).collect();
        let batch = TokenBatch::new(&rows).unwrap();
        let points: Vec<HookPoint> = gpt.config().hook_points().collect();
        let mut recorder = ActivationRecorder::new(points.iter().copied());
        let logits = gpt.forward(&batch, Logits::All, &mut recorder).unwrap();
        let bare = gpt.forward(&batch, Logits::All, &mut ()).unwrap();
        assert_eq!(logits.to_data(), bare.to_data());
        let cache = recorder.finish().unwrap();
        let want = floats(&expected, "logits");
        let got: Vec<f32> = logits.into_data().iter::<f32>().collect();
        assert_eq!(got.len(), want.len());
        let worst = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let mut worst_hook = (0.0, String::new());
        let extra = Numbers(std::fs::read(dir.join("extra.safetensors")).unwrap());
        let mut seen = 0;
        for &point in &points {
            let n = point.to_string();
            let stored = manifest["same"][&n].as_str().unwrap_or(&n).to_owned();
            let file = if expected.tensors().contains(&stored) {
                &expected
            } else if extra.tensors().contains(&stored) {
                &extra
            } else {
                continue;
            };
            seen += 1;
            let want = floats(file, &stored);
            let act = cache.get(point).unwrap();
            let got: Vec<f32> = if act.shape().len() == 3 {
                act.tensor::<3>().into_data().iter::<f32>().collect()
            } else {
                act.tensor::<4>().into_data().iter::<f32>().collect()
            };
            assert_eq!(got.len(), want.len(), "{n}");
            let max = want.iter().filter(|v| v.is_finite()).fold(0.0_f32, |m, v| m.max(v.abs()));
            let d = got
                .iter()
                .zip(&want)
                .map(|(a, b)| if a == b { 0.0 } else { (a - b).abs() })
                .fold(0.0, f32::max)
                / max;
            if d > worst_hook.0 || d.is_nan() {
                worst_hook = (d, n);
            }
        }
        println!(
            "{name}: logits {worst:.1e}, hooks {seen}/{} worst {:.1e} {}",
            points.len(),
            worst_hook.0,
            worst_hook.1
        );
    }
}

fn floats_i64(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    let st = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let t = st.tensor("tokens").unwrap();
    t.data().chunks(8).map(|c| i64::from_le_bytes(c.try_into().unwrap()) as f32).collect()
}
