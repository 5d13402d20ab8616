//! Reads arbitrary bytes as the `config.json` of a transformers model: an error, or a model with its
//! weights whose logits are not NaN.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use nanoscope_checkpoint::ModelFiles;
use nanoscope_fuzz::{DIR, hugging_face_weights};
use nanoscope_transformer::{Logits, TokenBatch};

/// A folder with weights in transformers' layout: a vocabulary of 16, width 8, MLP width 12.
static MODEL: LazyLock<&Path> = LazyLock::new(|| {
    let weights = hugging_face_weights(16, 8, 12);
    std::fs::write(DIR.path().join("model.safetensors"), weights).expect("a file can be written");
    DIR.path()
});

fuzz_target!(|config: &[u8]| {
    std::fs::write(MODEL.join("config.json"), config).expect("a file can be written");
    let device = nanoscope_device::by_name("auto").expect("there is a CPU");
    let files = ModelFiles::find(*MODEL).expect("the weights are there");
    let Ok(model) = files.load(&device) else {
        return;
    };
    let shape = model.gpt.config().shape;
    assert_eq!((shape.vocab_size, shape.n_embd, shape.n_layer), (16, 8, 1));
    let tokens = TokenBatch::new(&[vec![3, 1, 4]]).expect("a row of tokens");
    let logits = model.gpt.forward(&tokens, Logits::All, &mut ()).expect("the tokens are there");
    assert!(logits.into_data().iter::<f32>().all(f32::is_finite));
});
