//! The same prompt with and without one feature turned up.
//!
//! `cargo run --release --example steer`

use std::path::Path;

use anyhow::Result;
use nanoscope_checkpoint::{ModelFiles, load_saes, load_tokenizer};
use nanoscope_runtime::{InterpretableModel, Plan, Sampling};

fn main() -> Result<()> {
    let device = nanoscope_device::by_name("auto")?;
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo");
    let gpt = ModelFiles::find(&demo)?.load(&device)?.gpt;
    let mut model =
        InterpretableModel::new(gpt).with_tokenizer(load_tokenizer(&demo.join("tokenizer"))?)?;
    for loaded in load_saes(&[demo.join("saes")], &device)? {
        model = model.with_sae(loaded.hook()?, loaded.sae)?;
    }

    let tokenizer = model.tokenizer().expect("it was just set");
    let mut prompt: Vec<u32> = tokenizer.bos().into_iter().collect();
    prompt.extend(tokenizer.encode("Once upon a time, there was a")?);

    // Feature 1909 promotes " dog"; 27 is less than its largest activation.
    let dogs = Plan::new().intervene("blocks.3.hook_resid_post:1909:add:27".parse()?);
    for (name, plan) in [("unsteered", Plan::new()), ("with dogs", dogs)] {
        let mut generation = model.generate(&prompt, &plan, &Sampling::greedy(30))?;
        let text: String = generation.by_ref().map(|step| step.text).collect();
        println!("{name}: Once upon a time, there was a{text}");
        for applied in generation.applied() {
            println!("({} at {} positions)", applied.intervention, applied.positions);
        }
    }
    Ok(())
}
