//! The commands in a Markdown document, and in the program's own texts.

/// A command that runs the program, and the output that the document shows for it.
#[derive(Debug, PartialEq)]
pub(super) struct Command {
    /// In one line, with `nanoscope` for the program.
    pub(super) text: String,
    /// Its line in the document or text, from 1 on.
    pub(super) line: usize,
    pub(super) shown: Option<String>,
}

/// A fenced block.
struct Block<'a> {
    language: &'a str,
    /// The line of its first line of content, from 1 on.
    line: usize,
    lines: Vec<&'a str>,
    /// True if only blank lines lie between the block before and this one.
    follows: bool,
}

/// The commands in blocks of the language `sh`, and after `$` in those of `console`.
///
/// A block of `text` or `json` directly after a block of `sh` is the output of its last command. In a
/// `console` block the output follows its command.
pub(super) fn commands(document: &str) -> Vec<Command> {
    let mut found: Vec<Command> = Vec::new();
    // True if the last line of the previous block is one of our commands.
    let mut last = false;
    for Block { language, line, lines, follows } in blocks(document) {
        match language {
            "sh" | "bash" => {
                let before = found.len();
                let joined = join_lines(&lines);
                for (offset, text) in &joined {
                    found.extend(command(text, line + offset));
                }
                last = found.len() > before
                    && joined.last().is_some_and(|(_, text)| command(text, 0).is_some());
            }
            "console" => {
                for (offset, text) in lines.iter().enumerate() {
                    if let Some(text) = text.strip_prefix("$ ") {
                        let ours = command(text, line + offset);
                        last = ours.is_some();
                        found.extend(ours);
                    } else if last {
                        let shown =
                            found.last_mut().and_then(|it| it.shown.get_or_insert_default().into());
                        let shown: &mut String = shown.expect("a command was found");
                        shown.push_str(text);
                        shown.push('\n');
                    }
                }
                last = false;
            }
            "text" | "json" if follows && last => {
                let command = found.last_mut().expect("a command was found");
                command.shown = Some(lines.join("\n") + "\n");
                last = false;
            }
            _ => last = false,
        }
    }
    found
}

/// The commands in a text of help: those of our lines that are indented by two spaces.
pub(super) fn examples(help: &str) -> Vec<Command> {
    let lines: Vec<&str> = help.lines().collect();
    let is_example = |at: usize| {
        lines[at].strip_prefix("  ").is_some_and(|rest| !rest.starts_with(char::is_whitespace))
    };
    let joined = join_lines(&lines).into_iter().filter(|(at, _)| is_example(*at));
    joined.filter_map(|(at, text)| command(&text, at + 1)).collect()
}

/// Interventions that a sentence of the document suggests, each as `FEATURE:OP:SHARE%`.
pub(super) fn suggestions(document: &str) -> Vec<&str> {
    let mut is_code = false;
    let sentences = document.lines().filter(|line| {
        is_code ^= line.starts_with("```");
        !is_code
    });
    let spans = sentences.flat_map(|line| line.split('`').skip(1).step_by(2));
    let words = spans.flat_map(|span| span.split(' '));
    let is_suggestion = |word: &&str| match word.split(':').collect::<Vec<_>>()[..] {
        [feature, _, share] => {
            feature.parse::<u32>().is_ok()
                && share.strip_suffix('%').is_some_and(|share| share.parse::<f32>().is_ok())
        }
        _ => false,
    };
    words.filter(is_suggestion).collect()
}

fn blocks(document: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let (mut open, mut follows) = (false, false);
    for (at, line) in document.lines().enumerate() {
        match (line.strip_prefix("```"), open) {
            (Some(language), false) => {
                blocks.push(Block { language, line: at + 2, lines: Vec::new(), follows });
                open = true;
            }
            (Some(_), true) => (open, follows) = (false, true),
            (None, true) => blocks.last_mut().expect("one is open").lines.push(line),
            (None, false) => follows &= line.is_empty(),
        }
    }
    blocks
}

/// Joins lines that end with `\` or `|` to the next. Each has the offset of its first line.
fn join_lines(lines: &[&str]) -> Vec<(usize, String)> {
    let mut joined: Vec<(usize, String)> = Vec::new();
    let mut continues = false;
    for (offset, line) in lines.iter().enumerate() {
        let (text, goes_on) = match line.strip_suffix('\\') {
            Some(text) => (text.trim(), true),
            None => (line.trim(), line.ends_with('|')),
        };
        if continues {
            let (_, before) = joined.last_mut().expect("a line continues");
            before.push(' ');
            before.push_str(text);
        } else {
            joined.push((offset, text.to_owned()));
        }
        continues = goes_on;
    }
    joined
}

/// The command in a line, if it runs the program with default features, or writes to its input.
fn command(line: &str, number: usize) -> Option<Command> {
    if line.starts_with("printf ") && line.contains("| nanoscope ") {
        return Some(Command { text: line.to_owned(), line: number, shown: None });
    }
    let args = match line.strip_prefix("cargo run --release") {
        Some(rest) => {
            rest.strip_prefix(" --").filter(|rest| rest.starts_with(' ')).or_else(|| {
                let own = rest.starts_with(' ') && !rest.starts_with(" -");
                own.then_some(rest)
            })?
        }
        None => line.strip_prefix("nanoscope").filter(|rest| rest.starts_with(' '))?,
    };
    Some(Command { text: format!("nanoscope{args}"), line: number, shown: None })
}

#[test]
fn commands_are_found_with_the_output_that_is_shown() {
    let document = "```sh\ncargo run --release -- generate \\\n    --seed 3\nls\nnanoscope hooks # all\n\
                    ```\n\n```text\na\nb\n```\n\n```sh\ncargo run --release --example steer\n```\n\n\
                    ```text\nno output of ours\n```\n\n```console\n$ nanoscope eval\nx\n$ ls\ny\n```\n\
                    ```sh\nprintf 'a' |\n  nanoscope chat\n```\n\n```text\nb\n```\n";

    let found = commands(document);

    let expected = [
        ("nanoscope generate --seed 3", 2, None),
        ("nanoscope hooks # all", 5, Some("a\nb\n")),
        ("nanoscope eval", 22, Some("x\n")),
        ("printf 'a' | nanoscope chat", 28, Some("b\n")),
    ];
    let expected = expected.map(|(text, line, shown)| Command {
        text: text.to_owned(),
        line,
        shown: shown.map(str::to_owned),
    });
    assert_eq!(found, expected);
}

#[test]
fn examples_of_help_are_its_indented_commands() {
    let help = "Usage: nanoscope run [OPTIONS]\n\nOptions:\n  -h, --help\n\nExamples:\n  \
                nanoscope run 'a' \\\n      --json\n      nanoscope is a program\n  printf 'a' | nanoscope chat\n";

    let found = examples(help);

    let texts: Vec<(&str, usize)> = found.iter().map(|it| (it.text.as_str(), it.line)).collect();
    assert_eq!(texts, [("nanoscope run 'a' --json", 7), ("printf 'a' | nanoscope chat", 10)]);
}

#[test]
fn suggestions_are_interventions_with_a_share_in_the_code_of_a_sentence() {
    let document = "Try `7:add:25%` or `--steer 8:orthogonal:5.5%`, not `7:multiply:3` or 9:add:1%.\n\
                    ```sh\nnanoscope generate --steer `10:add:1%`\n```\n`11:add:2%`\n";

    assert_eq!(suggestions(document), ["7:add:25%", "8:orthogonal:5.5%", "11:add:2%"]);
}
