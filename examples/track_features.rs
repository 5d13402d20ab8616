//! The features that fire on each token during generation.
//!
//! `cargo run --release --example track_features`

use std::path::Path;

use anyhow::Result;
use nanoscope_checkpoint::{ModelFiles, load_saes, load_tokenizer};
use nanoscope_runtime::{InterpretableModel, Plan, Sampling};

fn main() -> Result<()> {
    let device = nanoscope_device::by_name("auto")?;
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo");
    let files = ModelFiles::find(&demo)?;
    let gpt = files.load(&device)?.gpt;
    let tokenizer = load_tokenizer(&demo.join("tokenizer"))?;

    let mut model = InterpretableModel::new(gpt).with_tokenizer(tokenizer)?;
    let mut labels = std::collections::BTreeMap::new();
    for loaded in load_saes(&[demo.join("saes")], &device)? {
        let hook = loaded.hook()?;
        model = model.with_sae(hook, loaded.sae)?;
        labels.insert(hook, loaded.labels);
    }

    let hook = "blocks.2.hook_resid_post".parse()?;
    let tokenizer = model.tokenizer().expect("it was just set");
    let mut prompt: Vec<u32> = tokenizer.bos().into_iter().collect();
    prompt.extend(tokenizer.encode("Once upon a time")?);

    let mut generation =
        model.generate(&prompt, &Plan::new().track(hook), &Sampling::greedy(20))?;
    for step in generation.by_ref() {
        let strongest = step.features[&hook].strongest(0, 2).into_iter().map(|(index, value)| {
            let label = labels[&hook].get(index).unwrap_or("no label yet");
            format!("{index} at {value:.1} ({label})")
        });
        println!("{:>12?}  {}", step.text, strongest.collect::<Vec<_>>().join(", "));
    }
    Ok(())
}
