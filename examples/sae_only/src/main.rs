//! An SAE without a model: activations from any source in, features out. This package depends on
//! `nanoscope-checkpoint` with its feature `sae`, and on burn; no transformer is compiled for it.
//!
//! `cargo run --release -p sae_only`

use std::error::Error;
use std::path::Path;

use burn::tensor::{Device, Tensor};
use nanoscope_checkpoint::load_sae;

fn main() -> Result<(), Box<dyn Error>> {
    let device = Device::flex();
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo");
    let loaded = load_sae(&demo.join("saes/layer_2"), &device)?;
    let sae = &loaded.sae;
    println!("{}: {:?}", loaded.hook()?, sae.config());

    // One activation is `b_dec` plus a feature's direction, the other `b_dec` plus two.
    let directions = sae.directions(&[1993, 705])?;
    let one = directions.clone().slice_dim(0, 0..1) * 30.0;
    let two = directions.sum_dim(0) * 30.0;
    let x = Tensor::cat(vec![one, two], 0) + sae.weights().b_dec.unsqueeze();

    let features = sae.encode_sparse(x.clone())?;
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
    println!("{:.1} % of the activations' squared norm is explained", 100.0 * (1.0 - error / size));
    Ok(())
}
