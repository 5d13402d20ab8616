//! Prints the features that fire on each token while the model generates.
//!
//! `cargo run --release --example track_features`

use nanoscope::{Microscope, Plan, Result, Sampling, device};

fn main() -> Result<()> {
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo");
    let scope = Microscope::open(demo, &device("auto")?)?.with_saes([format!("{demo}/saes")])?;

    let plan = Plan::new().track("blocks.2.hook_resid_post".parse()?);
    for step in scope.generate("Once upon a time", &plan, &Sampling::greedy(20))? {
        let strongest = scope.strongest(&step, 2)?.into_iter().map(|feature| {
            let name = feature.name.map(|name| name.text).unwrap_or_default();
            format!("{} at {:.1} ({name})", feature.index, feature.activation)
        });
        println!("{:>12?}  {}", step.text, strongest.collect::<Vec<_>>().join(", "));
    }
    Ok(())
}
