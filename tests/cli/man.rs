//! `nanoscope man`.

use crate::{failure, nanoscope, scratch, stdout};

/// The text of a page without `roff`'s escapes.
fn plain(page: &str) -> String {
    let escapes = [("\\-", "-"), ("\\&", ""), ("\\*(Aq", "'"), ("\\\\", "\\")];
    escapes.iter().fold(page.to_owned(), |page, (escaped, text)| page.replace(escaped, text))
}

#[test]
fn every_command_has_a_page_with_its_flags_and_its_examples_line_by_line() {
    let dir = scratch().join("man1");
    nanoscope(&["man", "--out", dir.to_str().unwrap()]).success();
    let program = std::fs::read_to_string(dir.join("nanoscope.1")).unwrap();
    let help = stdout(&["--help"]);
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let commands = commands.lines().take_while(|line| !line.is_empty());
    let commands = commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let commands: Vec<&str> = commands.filter(|name| !["", "help"].contains(name)).collect();

    assert!(commands.len() > 15, "{commands:?}");
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), commands.len() + 1);
    for command in commands {
        let page = std::fs::read_to_string(dir.join(format!("nanoscope-{command}.1"))).unwrap();
        assert_eq!(page, stdout(&["man", command]), "{command}");
        let plain = plain(&page);
        assert!(program.contains(&format!("nanoscope\\-{command}(1)")), "{command}");
        let help = nanoscope(&[command, "--help"]).env("COLUMNS", "9999").success().stdout;
        for flag in help.split_whitespace().filter(|word| word.starts_with("--")) {
            let (flag, _) = flag
                .split_once(|c: char| !c.is_ascii_alphanumeric() && c != '-')
                .unwrap_or((flag, ""));
            assert!(plain.contains(flag), "{command}: {flag}");
        }
        if let Some((_, examples)) = help.split_once("Examples:\n") {
            for line in examples.lines() {
                assert!(plain.lines().any(|found| found == line), "{command}: {line}");
            }
        }
    }
}

#[test]
fn a_page_of_no_command_is_refused() {
    let (error, code) = failure(&["man", "generat"]);

    assert!(error.contains("unknown command `generat`; did you mean `generate`?"), "{error}");
    assert_eq!(code, 1);
}
