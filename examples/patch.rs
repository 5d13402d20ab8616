//! Activation patching: where does the model keep the animal of a story?
//!
//! The text with a dog runs with the residual stream of the text with a cat put in place, at one
//! position and after one block at a time. Each number is the change in the logit difference
//! " cat" − " dog" at the end, as in Meng et al. 2022 (arXiv:2202.05262).
//!
//! `cargo run --release --example patch`

use anyhow::{Result, ensure};
use burn::tensor::Tensor;
use nanoscope::{
    Activation, ActivationRecorder, HookPoint, HookRouter, Logits, Microscope, TokenBatch, device,
};

const DOG: &str = "Tom had a dog. He loved his";
const CAT: &str = "Tom had a cat. He loved his";

/// Replaces the residual stream after a block, at one position.
struct PatchPosition<'a> {
    point: HookPoint,
    position: usize,
    with: &'a Activation,
}

impl HookRouter for PatchPosition<'_> {
    fn wants(&self, point: HookPoint) -> bool {
        point == self.point
    }

    fn route<const D: usize>(&mut self, point: HookPoint, x: Tensor<D>) -> Tensor<D> {
        if point != self.point {
            return x;
        }
        // [batch, seq, d_model]
        let row = self.with.tensor::<D>().slice_dim(1, self.position..self.position + 1);
        let seq = x.dims()[1];
        let before = x.clone().slice_dim(1, 0..self.position);
        let after = x.slice_dim(1, self.position + 1..seq);
        Tensor::cat(vec![before, row, after], 1)
    }
}

fn main() -> Result<()> {
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo");
    let scope = Microscope::open(demo, &device("auto")?)?;
    let gpt = scope.model().gpt();
    let (dog, cat) = (scope.encode(DOG)?, scope.encode(CAT)?);
    ensure!(dog.len() == cat.len(), "the texts have different lengths");
    let id = |word| scope.tokenizer().map(|tokenizer| tokenizer.encode(word));
    let [dog_id, cat_id] = [id(" dog")??[0], id(" cat")??[0]];
    let preference = |logits: Tensor<3>| {
        let logits: Vec<f32> = logits.into_data().iter::<f32>().collect();
        logits[cat_id as usize] - logits[dog_id as usize]
    };

    let points: Vec<_> = (0..gpt.config().shape.n_layer).map(HookPoint::ResidPost).collect();
    let mut recorder = ActivationRecorder::new(points.iter().copied());
    gpt.forward(&TokenBatch::new(&[cat])?, Logits::Last, &mut recorder)?;
    let cat = recorder.finish()?;

    let tokens = TokenBatch::new(std::slice::from_ref(&dog))?;
    let clean = preference(gpt.forward(&tokens, Logits::Last, &mut ())?);
    println!(
        "{DOG}: \" cat\" − \" dog\" is {clean:.2}; with the other text's stream it changes by"
    );
    for (position, &token) in dog.iter().enumerate() {
        let text = scope.tokenizer()?.token_text(token).unwrap_or_default();
        print!("{text:>8}");
        for &point in &points {
            let with = cat.get(point).expect("it was recorded");
            let mut patch = PatchPosition { point, position, with };
            let patched = preference(gpt.forward(&tokens, Logits::Last, &mut patch)?);
            print!("  {:>6.2}", patched - clean);
        }
        println!();
    }
    Ok(())
}
