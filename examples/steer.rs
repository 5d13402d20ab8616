//! The same prompt with and without one feature turned up.
//!
//! `cargo run --release --example steer`

use nanoscope::{Microscope, Plan, Result, Sampling, device};

const PROMPT: &str = "Once upon a time, there was a";

fn main() -> Result<()> {
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo");
    let scope = Microscope::open(demo, &device("auto")?)?.with_saes([format!("{demo}/saes")])?;

    // Feature 1909 promotes " dog".
    let dogs = Plan::new().intervene("blocks.3.hook_resid_post:1909:add:30%".parse()?);
    for (name, plan) in [("unsteered", Plan::new()), ("steered", dogs)] {
        let mut generation = scope.generate(PROMPT, &plan, &Sampling::greedy(30))?;
        let text: String = generation.by_ref().map(|step| step.text).collect();
        println!("{name}: {PROMPT}{text}");
        for report in generation.applied() {
            println!("({} at {} positions)", report.intervention, report.positions);
        }
    }
    Ok(())
}
