//! Configurations of nanochat-SAE's SAEs.

use std::fs;

use nanoscope_checkpoint::{CheckpointError, SaeFileError, load_sae};
use nanoscope_hooks::HookError;
use nanoscope_sae::SaeError;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::files::{D_IN, SaeFile, device};
use crate::refused;

#[test]
fn an_unknown_architecture_key_or_hook_point_is_named_with_what_is_known() {
    refused!(
        "unknown activation",
        SaeFile::with_config("activation", json!("jumprelu")).load(),
        CheckpointError::UnknownValue { .. },
        ["sae.pt", "activation is `jumprelu`", "topk, relu, gated"]
    );
    refused!(
        "unknown key",
        SaeFile::with_config("apply_b_dec_to_input", json!(true)).load(),
        CheckpointError::UnknownKey { .. },
        ["sae.pt", "`apply_b_dec_to_input`"]
    );
    let cases = [
        (
            "misspelt hook point",
            "blocks.1.hook_resid_pots",
            "did you mean `blocks.1.hook_resid_post`?",
        ),
        ("negative layer", "blocks.-1.hook_resid_post", "did you mean `blocks.1.hook_resid_post`?"),
        ("another library's name", "model.layers.3", "`nanoscope hooks` lists them"),
        ("empty hook point", "", "unknown hook point ``"),
    ];
    for (case, name, found) in cases {
        refused!(
            case,
            SaeFile::with_config("hook_point", json!(name)).load(),
            CheckpointError::SaeFile(SaeFileError::Hook { source: HookError::Unknown { .. }, .. }),
            ["sae.pt", name, found]
        );
    }
}

#[test]
fn sizes_that_make_no_sae_are_refused_with_key_and_value() {
    let absurd = 1_000_000_000_000_000_000_i64;
    let cases = [
        ("k", 0, "k is 0, it must be in 1..=8"),
        ("k", 9, "k is 9, it must be in 1..=8"),
        ("d_in", 0, "d_in is 0"),
        ("d_sae", 0, "d_sae is 0"),
        ("d_in", absurd, "d_in is 1000000000000000000"),
        ("d_sae", absurd, "d_sae is 1000000000000000000"),
    ];
    for (key, value, found) in cases {
        refused!(
            format!("{key} of {value}"),
            SaeFile::with_config(key, json!(value)).load(),
            CheckpointError::SaeFile(SaeFileError::Sae { source: SaeError::Size { .. }, .. }),
            ["sae.pt", found]
        );
    }
}

#[test]
fn a_value_of_the_wrong_type_is_named_by_its_key() {
    let cases = [
        ("d_in", json!("four"), "d_in: invalid type: string \"four\""),
        ("d_sae", json!(-8), "d_sae: invalid value: integer `-8`"),
        ("k", json!(2.5), "k: invalid type: floating point `2.5`"),
        ("activation", Json::Null, "activation: invalid type: null"),
        ("hook_point", json!(["blocks.1.hook_resid_post"]), "hook_point: invalid type: sequence"),
        ("normalize_decoder", json!(1), "normalize_decoder: invalid type: integer `1`"),
    ];
    for (key, value, found) in cases {
        refused!(
            format!("{key} of {value}"),
            SaeFile::with_config(key, value.clone()).load(),
            CheckpointError::Json { .. },
            ["sae.pt", found]
        );
    }
    let mut list = SaeFile::valid();
    list.config = Some(json!([1, 2]));
    refused!(
        "config that is a list",
        list.load(),
        CheckpointError::Json { .. },
        ["sae.pt", "sequence"]
    );
    let mut missing = SaeFile::valid();
    missing.config.as_mut().unwrap().as_object_mut().unwrap().remove("d_in");
    refused!(
        "missing key",
        missing.load(),
        CheckpointError::Json { .. },
        ["sae.pt", "missing field `d_in`"]
    );
}

#[test]
fn a_file_without_a_config_needs_a_good_one_beside_it() {
    let mut sae = SaeFile::valid();
    let good = sae.config.take().unwrap();
    refused!(
        "no config",
        sae.load(),
        CheckpointError::NoConfig { .. },
        ["sae.pt", "no configuration"]
    );

    let beside = |text: &str| {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("sae.pt");
        fs::write(&path, sae.bytes()).unwrap();
        fs::write(dir.path().join("config.json"), text).unwrap();
        load_sae(&path, &device())
    };
    assert_eq!(beside(&good.to_string()).unwrap().sae.config().d_in(), D_IN);
    let wrong = |key: &str, value: Json| {
        let mut config = good.clone();
        config[key] = value;
        config.to_string()
    };
    refused!(
        "config.json that is not JSON",
        beside("d_in = 4"),
        CheckpointError::Json { .. },
        ["config.json", "line 1 column 1"]
    );
    refused!(
        "config.json with a text for a size",
        beside(&wrong("d_sae", json!("8"))),
        CheckpointError::Json { .. },
        ["config.json", "d_sae: invalid type: string \"8\"", "line 1"]
    );
    refused!(
        "config.json with an unknown activation",
        beside(&wrong("activation", json!("tanh"))),
        CheckpointError::UnknownValue { .. },
        ["config.json", "`tanh`"]
    );
    refused!(
        "config.json with an unknown key",
        beside(&wrong("dead", json!(0))),
        CheckpointError::UnknownKey { .. },
        ["config.json", "`dead`"]
    );
    refused!(
        "config.json of another SAE",
        beside(&wrong("d_in", json!(16))),
        CheckpointError::ShapeMismatch { .. },
        ["sae.pt", "W_enc", "[4, 8]", "[16, 8]"]
    );
}
