//! `nanoscope completions`.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::{failure, stdout};

/// The words that bash completes the last of `words` to.
fn completed(words: &[&str]) -> Vec<String> {
    let script = format!(
        "{}\nCOMP_WORDS=({})\nCOMP_CWORD={}\n_nanoscope nanoscope \"$1\" \"$2\"\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"",
        stdout(&["completions", "bash"]),
        words.join(" "),
        words.len() - 1
    );
    let (last, before) = (words[words.len() - 1], words[words.len() - 2]);
    // Longer than an argument may be.
    let mut shell = Command::new("bash")
        .args(["-s", "--", last, before])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = shell.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_flags_and_the_names_of_values() {
    for (words, expected) in [
        (&["nanoscope", "gen"][..], "generate"),
        (&["nanoscope", "generate", "--max"], "--max-tokens"),
        (&["nanoscope", "generate", "--device", "w"], "wgpu"),
        (&["nanoscope", "run", "-d", "fl"], "flex"),
        (&["nanoscope", "run", "--capture", "hook_emb"], "hook_embed"),
        (&["nanoscope", "chat", "--track", "a"], "all"),
        (&["nanoscope", "train", "--hook", "blocks.11.hook_resid_po"], "blocks.11.hook_resid_post"),
        (&["nanoscope", "convert", "--to", "nanochat"], "nanochat-sae"),
        (&["nanoscope", "inspect", "--era", "E6"], "E6"),
        (&["nanoscope", "encode", "--format", "good"], "goodfire"),
    ] {
        assert_eq!(completed(words), [expected], "{words:?}");
    }
}

#[test]
fn each_shell_has_a_script_with_the_commands_and_flags() {
    for (shell, has_values) in
        [("bash", true), ("zsh", true), ("fish", true), ("powershell", false), ("elvish", false)]
    {
        let script = stdout(&["completions", shell]);

        for word in ["dashboard", "completions", "max-tokens"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        for word in ["blocks.11.hook_resid_post", "wgpu"] {
            assert!(script.contains(word) || !has_values, "{shell}: {word}");
        }
    }
}

#[test]
fn another_shell_is_refused_with_those_that_there_are() {
    let (error, code) = failure(&["completions", "basch"]);

    assert_eq!(code, 2);
    assert!(error.contains("bash, elvish, fish, powershell, zsh"), "{error}");
    assert!(error.contains("a similar value exists: 'bash'"), "{error}");
}
