//! README's «As a library»: a program outside the workspace, with the one dependency `nanoscope`.

use std::path::Path;
use std::process::Command;

#[test]
fn a_crate_outside_the_workspace_does_the_main_job_with_one_dependency() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/library");
    let manifest = std::fs::read_to_string(dir.join("Cargo.toml")).unwrap();
    let (_, dependencies) = manifest.split_once("[dependencies]\n").unwrap();
    assert_eq!(dependencies.trim(), r#"nanoscope = { path = "../../crates/nanoscope" }"#);
    let program = std::fs::read_to_string(dir.join("src/main.rs")).unwrap();
    assert!(program.lines().count() <= 30, "{} lines", program.lines().count());

    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--locked", "--manifest-path"])
        .arg(dir.join("Cargo.toml"))
        .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("library"))
        .output()
        .unwrap();

    let (text, error) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{error}");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 12 + 2, "{text}");
    assert!(lines[..12].iter().all(|line| line.contains("blocks.3.hook_resid_post #")), "{text}");
    assert!(text.contains(" dog"), "{text}");
    assert!(lines[12].starts_with("moved by "), "{text}");
    assert_eq!(lines[13], r#"saved with {"training_steps": Number(1000)}"#);
}

#[test]
fn readme_shows_that_program() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let program = std::fs::read_to_string(root.join("examples/library/src/main.rs")).unwrap();

    let (_, code) = program.split_once("\n\n").unwrap();
    assert!(readme.contains(&format!("```rust\n{code}```")), "README.md does not show it");
}
