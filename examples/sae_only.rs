//! An SAE without a model: activations in, features out.
//!
//! It needs only `nanoscope-sae` and `nanoscope-checkpoint` with the feature `sae`, and compiles no
//! transformer.
//!
//! `cargo run --release --example sae_only`

use std::path::Path;

use anyhow::Result;
use burn::tensor::Tensor;
use nanoscope_checkpoint::load_sae;

fn main() -> Result<()> {
    let device = nanoscope_device::by_name("auto")?;
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo");
    let loaded = load_sae(&demo.join("saes/layer_2"), &device)?;
    let sae = &loaded.sae;
    println!("{}: {:?}", loaded.hook()?, sae.config());

    // An activation along one feature's direction from the mean, and one along two.
    let directions = sae.directions(&[1993, 705])?;
    let one = directions.clone().slice_dim(0, 0..1) * 30.0;
    let two = directions.sum_dim(0) * 30.0;
    let x = Tensor::cat(vec![one, two], 0) + sae.weights().b_dec.unsqueeze();

    let features = sae.encode_sparse(x.clone());
    for row in 0..features.rows() {
        println!(
            "row {row}: {} active, strongest {:?}",
            features.row(row).count(),
            features.strongest(row, 3)
        );
    }
    let error =
        (sae.decode_sparse(&features, x.clone()) - x.clone()).square().sum().into_scalar::<f32>();
    let size = x.square().sum().into_scalar::<f32>();
    println!("of the activations' square norm, {:.1}% is explained", 100.0 * (1.0 - error / size));
    Ok(())
}
