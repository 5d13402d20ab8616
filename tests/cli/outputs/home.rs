//! Home folders that cannot be written, and paths that look like something else.

use std::fs;
use std::path::{Path, PathBuf};

use nanoscope_testing::Outcome;
use tempfile::TempDir;

use super::names;
use crate::nanoscope;

#[test]
fn the_demo_runs_without_a_home_folder_to_write_to() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let scratch = dir.path().join("scratch");
    fs::create_dir(&scratch).unwrap();
    let homes: [(&str, PathBuf); 3] = [
        ("HOME", "/nonexistent".into()),
        ("HOME", file.clone()),
        ("XDG_CACHE_HOME", file.join("cache")),
    ];
    for (name, home) in homes {
        let mut command = nanoscope(&["generate", "--max-tokens", "2", "--json"]).into_command();
        command.env_remove("XDG_CACHE_HOME").env_remove("HOME").env("TMPDIR", &scratch);
        let outcome = Outcome::new(command.env(name, &home).output().unwrap());

        assert_eq!(outcome.code, Some(0), "{name}={}: {}", home.display(), outcome.stderr);
        assert_eq!(outcome.stdout.lines().count(), 3, "{name}={}", home.display());
        assert!(outcome.stderr.contains("a temporary folder"), "{}", outcome.stderr);
        assert!(names(&scratch).is_empty(), "{name}={} leaves the demo", home.display());
    }
    assert!(!Path::new("/nonexistent").exists());
}

#[test]
fn a_path_with_an_equals_sign_that_is_no_hook_point_is_not_found() {
    let error = nanoscope(&["run", "--prompt", "a", "--sae", "runs/lr=3e-4,k=64"]).failure().stderr;
    assert!(error.contains("runs/lr=3e-4,k=64: no such file or directory"), "{error}");

    let error = nanoscope(&["run", "--prompt", "a", "--sae", "blocks.3.hook_resid_pst=sae"]);
    let error = error.failure().stderr;
    assert!(error.contains("did you mean `blocks.3.hook_resid_post`?"), "{error}");
}
