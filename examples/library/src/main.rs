//! Opens the demo, tracks and steers a generation, loads one SAE, and saves one with metadata.

use nanoscope::{
    Architecture, HookPoint, Metadata, Microscope, Plan, Result, Sae, SaeConfig, SaeOptions,
    Sampling, WeightDtype, device, load_sae, load_saes_with, save_nanochat_sae_with_metadata,
};

fn main() -> Result<()> {
    let device = device("auto")?;
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/demo");
    let scope = Microscope::open(demo, &device)?.with_saes([format!("{demo}/saes")])?;

    let plan = Plan::new().track_all().intervene("blocks.3.hook_resid_post:1909:add:30%".parse()?);
    let mut generation = scope.generate("There was a big", &plan, &Sampling::greedy(12))?;
    for step in generation.by_ref() {
        let strongest = scope.strongest(&step, 1)?;
        println!("{:>10?}  {}", step.text, strongest.last().expect("every SAE is tracked"));
    }
    println!("moved by {:.0} %", 100.0 * generation.applied()[0].moved);

    let hook = HookPoint::ResidPost(2);
    let options = SaeOptions { hooks: Some(vec![hook]), ..Default::default() };
    let saes = load_saes_with([format!("{demo}/saes")], &device, &options)?;
    let sae = Sae::new(SaeConfig::new(256, 2048, Architecture::Relu)?, saes[0].sae.weights())?;
    let path = std::env::temp_dir().join("nanoscope-library-example/sae_final.pt");
    let metadata = Metadata::from_iter([("training_steps".to_owned(), 1000.into())]);
    save_nanochat_sae_with_metadata(&path, &sae, hook, None, WeightDtype::F32, &metadata)?;
    println!("saved with {:?}", load_sae(&path, &device)?.metadata);
    Ok(())
}
