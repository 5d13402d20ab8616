//! A byte that chooses weights of one of the families, then arbitrary bytes as the `config.json` beside
//! them: an error, or a model whose logits are not NaN.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use nanoscope_checkpoint::ModelFiles;
use nanoscope_fuzz::{FAMILIES, family_weights, put};
use nanoscope_transformer::{Logits, TokenBatch};

/// For each family a folder with weights.
static MODELS: LazyLock<Vec<PathBuf>> = LazyLock::new(|| {
    let folder = |family: &&str| {
        let weights = put(&format!("{family}/model.safetensors"), &family_weights(family));
        weights.parent().expect("a file lies in a folder").to_owned()
    };
    FAMILIES.iter().map(folder).collect()
});

fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, config)) = bytes.split_first() else {
        return;
    };
    let folder = &MODELS[usize::from(choice) % FAMILIES.len()];
    std::fs::write(folder.join("config.json"), config).expect("a file can be written");
    let device = nanoscope_device::by_name("auto").expect("there is a CPU");
    let files = ModelFiles::find(folder).expect("the weights are there");
    let Ok(model) = files.load(&device) else {
        return;
    };
    let shape = model.gpt.config().shape;
    assert_eq!((shape.vocab_size, shape.n_embd, shape.n_layer), (16, 8, 1));
    let context = model.gpt.config().max_positions;
    let tokens: Vec<u32> = [3, 1, 4].into_iter().take(context).collect();
    let tokens = TokenBatch::new(&[tokens]).expect("a row of tokens");
    let logits = model.gpt.forward(&tokens, Logits::All, &mut ()).expect("the tokens are there");
    assert!(logits.into_data().iter::<f32>().all(f32::is_finite));
});
