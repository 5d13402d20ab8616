//! The program runs, without a model.

use std::process::Command;

#[test]
fn it_finds_the_two_features_that_its_activations_are_made_of() {
    let output = Command::new(env!("CARGO_BIN_EXE_sae_only")).output().unwrap();

    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[1].starts_with("row 0: ") && lines[1].contains("strongest [(1993, "), "{text}");
    assert!(lines[2].contains("(705, ") && lines[2].contains("(1993, "), "{text}");
}
