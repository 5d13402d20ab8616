//! The claims of formats on files, and statements about files that nothing identifies.

use std::fs;
use std::path::{Path, PathBuf};

use nanoscope_checkpoint::{
    CheckpointError, InspectOptions, LoadedSae, MatrixDtype, Metadata, SaeFileError, SaeOptions,
    SaePath, WeightDtype, inspect, inspect_with, load_sae, load_sae_as, load_sae_with,
    load_saes_with, save_sae,
};
use nanoscope_hooks::HookPoint;
use nanoscope_sae::Architecture;
use tempfile::TempDir;

use crate::{LINEARS, device, file, fixture, pt, root, stated};

/// The name of every format, and of the folder of its fixtures, if there is one.
const FORMATS: [(&str, &str); 12] = [
    ("nanochat-sae", "nanochat-SAE"),
    ("nanoscope", "nanoscope"),
    ("saelens", "SAELens"),
    ("gemma-scope", "Gemma Scope"),
    ("gemma-scope-2", "Gemma Scope 2"),
    ("sparsify", "sparsify"),
    ("dictionary-learning", "dictionary_learning"),
    ("llama-scope", "Llama Scope"),
    ("circuit-tracer", "circuit-tracer"),
    ("qwen-scope", "Qwen Scope"),
    ("openai", "OpenAI"),
    ("goodfire", "Goodfire"),
];

/// Every file of an SAE in the fixtures, in the demo and saved in `dir`, with the tool that wrote it.
fn files(dir: &Path) -> Vec<(PathBuf, &'static str)> {
    let mut files = Vec::new();
    for (folder, tool) in FORMATS {
        weights_in(&fixture(folder), &mut |path| files.push((path, tool)));
    }
    weights_in(&root("models/demo/saes"), &mut |path| files.push((path, "SAELens")));
    weights_in(&root("tests/fixtures/golden"), &mut |path| {
        if path.components().any(|part| part.as_os_str() == "saes") {
            files.push((path, "nanochat-SAE"));
        }
    });
    save(dir);
    weights_in(dir, &mut |path| files.push((path, "nanoscope")));
    assert!(FORMATS.iter().all(|(_, tool)| files.iter().any(|(_, found)| found == tool)));
    files
}

/// Saves an SAE in our own format.
fn save(dir: &Path) {
    let LoadedSae { sae, .. } = load_sae(&root("models/demo/saes/layer_0"), &device()).unwrap();
    let hook = HookPoint::ResidPost(0);
    save_sae(dir, &sae, hook, None, WeightDtype::F32, &Metadata::new()).unwrap();
}

fn weights_in(dir: &Path, with: &mut dyn FnMut(PathBuf)) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let others = ["expected", "sparsity", "activation_whitening", "W_dec_"];
        if path.is_dir() {
            weights_in(&path, with);
        } else if [".pt", ".pth", ".npz", ".safetensors"].iter().any(|end| name.ends_with(end))
            && !others.iter().any(|other| name.starts_with(other))
        {
            with(path);
        }
    }
}

/// The tool whose format a file is opened in. It can also be recognised and refused by name.
fn tool_of(path: &Path, options: &SaeOptions) -> Result<&'static str, CheckpointError> {
    match inspect_with(path, &InspectOptions { format: options.format, era: None }) {
        Ok(found) => {
            let what = &found[0].what;
            let tools = FORMATS.iter().filter(|(_, tool)| {
                what.strip_suffix(" sparse autoencoder").is_some_and(|found| found == *tool)
            });
            Ok(tools.map(|(_, tool)| *tool).next().unwrap_or_else(|| panic!("{what}")))
        }
        // A cross-layer transcoder.
        Err(CheckpointError::Unsupported { .. }) => Ok("circuit-tracer"),
        Err(error) => Err(error),
    }
}

#[test]
fn every_file_is_claimed_by_its_own_format_and_by_no_other() {
    let mut guesses = 0;
    let dir = TempDir::new().unwrap();
    for (path, tool) in files(dir.path()) {
        let found = tool_of(&path, &SaeOptions::default());
        assert_eq!(found.unwrap(), tool, "{}", path.display());
        for (format, other) in FORMATS {
            let found = tool_of(&path, &stated(format));
            let found = found.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            // Two linear layers are all that these have in common.
            let is_guess =
                other == "Goodfire" && path.ends_with("auto_encoder_new/trainer_0/ae.pt");
            guesses += usize::from(is_guess);
            let expected = if is_guess { other } else { tool };
            assert_eq!(found, expected, "{} as {format}", path.display());
        }
    }
    assert_eq!(guesses, 1);
}

#[test]
fn two_linear_layers_are_a_guess_that_only_a_statement_makes_an_sae() {
    let named = LINEARS.map(|(name, shape)| (name.replace('.', "_linear."), shape));
    let named: Vec<_> = named.iter().map(|(name, shape)| (name.as_str(), *shape)).collect();
    let [e_weight, e_bias, d_weight, _] = LINEARS;
    let tied = [e_weight, e_bias, d_weight, ("bias", &[4][..])];
    for (format, name, tensors) in [
        ("goodfire", "topk_l2.pt", &LINEARS[..]),
        ("goodfire", "model.pth", &named),
        ("dictionary-learning", "mine.pt", &tied),
    ] {
        let (dir, path) = file(name, &pt(None, tensors));
        for path in [path.as_path(), dir.path()] {
            let error = load_sae(path, &device()).unwrap_err();
            let CheckpointError::SaeFile(SaeFileError::GuessedFormat { formats, .. }) = &error
            else {
                panic!("{name}: {error}")
            };
            assert_eq!(formats.iter().map(ToString::to_string).collect::<Vec<_>>(), [format]);
            assert!(error.to_string().contains(name), "{error}");

            let loaded = load_sae_with(path, &device(), &stated(format)).unwrap();
            assert_eq!(loaded.sae.config().architecture(), Architecture::Relu);
            assert_eq!(loaded.hooks.hook, None);
        }
        let described = inspect(&path, None).unwrap().remove(0);
        assert_eq!(described.what, "tensors");
        let facts = format!("{:?}", described.facts);
        assert!(facts.contains(format), "{facts}");
    }
}

#[test]
fn what_an_sae_of_the_format_does_not_have_is_not_even_a_guess() {
    let mut vae = LINEARS.to_vec();
    vae.push(("log_var.weight", &[2, 8]));
    let (_dir, path) = file("vae.pt", &pt(None, &vae));
    for options in [SaeOptions::default(), stated("goodfire")] {
        let error = load_sae_with(path.as_path(), &device(), &options).unwrap_err();
        assert!(
            matches!(error, CheckpointError::SaeFile(SaeFileError::NotAnSae { .. })),
            "{error}"
        );
    }
}

#[test]
fn a_stated_format_that_no_file_can_have_is_refused() {
    let demo = root("models/demo/saes/layer_0");
    for result in [
        load_sae_with(demo.as_path(), &device(), &stated("goodfire")).map(|_| ()),
        load_saes_with([demo.as_path()], &device(), &stated("goodfire")).map(|_| ()),
    ] {
        let error = result.unwrap_err();
        assert!(
            matches!(error, CheckpointError::SaeFile(SaeFileError::FormatNotUsed { .. })),
            "{error}"
        );
        assert!(error.to_string().contains("an SAE of SAELens"), "{error}");
    }

    // It only decides where it can.
    let (_dir, guessed) = file("mine.pt", &pt(None, &LINEARS));
    let at = Some((HookPoint::ResidPost(2), None));
    let paths = [SaePath::from(demo.as_path()), SaePath { path: guessed, at }];
    let both = load_saes_with(paths, &device(), &stated("goodfire")).unwrap();
    assert_eq!(both.iter().map(|sae| sae.format).collect::<Vec<_>>(), ["SAELens", "Goodfire"]);
}

#[test]
fn a_file_that_two_formats_claim_is_refused_with_both_names() {
    let dir = TempDir::new().unwrap();
    let llama = fixture("llama-scope/r1_distill/Llama-Scope-R1-Distill");
    let llama = llama.join("800M-Slimpajama-0-OpenR1-Math-220k/L15R");
    for name in ["sae_weights.safetensors", "config.json"] {
        fs::copy(llama.join(name), dir.path().join(name)).unwrap();
    }
    fs::copy(fixture("saelens/topk/cfg.json"), dir.path().join("cfg.json")).unwrap();

    let error = load_sae(dir.path(), &device()).unwrap_err();

    let CheckpointError::SaeFile(SaeFileError::SeveralFormats { formats, .. }) = &error else {
        panic!("{error}")
    };
    assert_eq!(formats.len(), 2);
    assert!(error.to_string().contains("saelens and llama-scope"), "{error}");
    let loaded = load_sae_with(dir.path(), &device(), &stated("llama-scope")).unwrap();
    assert_eq!(loaded.format, "Llama Scope");
}

#[test]
fn an_sae_is_recognised_in_every_type_that_it_is_loaded_as() {
    for layer in ["layer_0", "layer_3"] {
        let path = root(&format!("models/demo/saes/{layer}"));
        let exact = load_sae(&path, &device()).unwrap().sae.landmarks();
        for dtype in [WeightDtype::BF16.into(), WeightDtype::F16.into(), MatrixDtype::Int8] {
            let rounded = load_sae_as(&path, &device(), dtype).unwrap().sae;
            assert_eq!(rounded.landmarks(), exact, "{layer} {dtype:?}");
        }
    }
}
