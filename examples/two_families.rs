//! The same program on two families of models: a nanochat, and a Llama from its Hugging Face folder.
//!
//! `cargo run --release --example two_families`

use nanoscope::{Microscope, Plan, Result, Sampling, device};

fn main() -> Result<()> {
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/models");
    for (name, hook) in
        [("demo", "blocks.3.hook_resid_post"), ("stories260K", "blocks.4.hook_resid_post")]
    {
        let model = format!("{models}/{name}");
        let scope =
            Microscope::open(&model, &device("auto")?)?.with_saes([format!("{model}/saes")])?;
        let config = scope.model().gpt().config();
        println!("{name}: {} blocks of width {}", config.shape.n_layer, config.shape.n_embd);

        let plan = Plan::new().track(hook.parse()?);
        let mut text = String::new();
        for step in scope.generate("Once upon a time", &plan, &Sampling::greedy(16))? {
            let strongest = scope.strongest(&step, 1)?.into_iter().map(|feature| {
                let name = feature.name.map(|name| name.text).unwrap_or_default();
                format!("{} at {:.1} ({name})", feature.index, feature.activation)
            });
            println!("{:>12?}  {}", step.text, strongest.collect::<String>());
            text += &step.text;
        }
        println!("Once upon a time{text}\n");
    }
    Ok(())
}
