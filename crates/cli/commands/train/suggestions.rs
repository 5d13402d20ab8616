//! Commands to use a trained SAE with.

use std::path::Path;

use nanoscope_checkpoint::ModelFiles;
use nanoscope_corpus::{CollectedFrom, CorpusOptions};
use nanoscope_train::{HeldOutText, RunConfig};

use crate::remote::{is_url, kept_store};

/// Tokens of a text above which a dashboard is suggested on a part of it.
const DASHBOARD_TOKENS: u64 = 1_000_000;

/// Returns commands to use the SAE in `sae` with, from the run in `dir`. Each can be run as it is.
///
/// Evaluation is suggested only on text that the run held out.
pub(crate) fn suggestions(
    run: &RunConfig,
    held_out: Option<&HeldOutText>,
    dir: &Path,
    sae: &Path,
) -> Vec<String> {
    let source = &run.source;
    let sae = ["--sae", &text(sae)].map(str::to_owned);
    if let Some(file) = &source.activations {
        // The model that they are from is not known.
        let file = match &source.tensor {
            Some(tensor) => format!("{}:{tensor}", text(file)),
            None => text(file),
        };
        let out = text(&dir.join("features.safetensors"));
        let encode = ["--activations", &file, "--out", &out].map(str::to_owned);
        return vec![
            command("inspect", [&sae[1..]]),
            command("encode", [&sae[..], &encode, &device(run)]),
        ];
    }
    let Some(from) = collected_from(run) else {
        return vec![command("inspect", [&sae[1..]])];
    };
    let (model, device) = (model(&from), device(run));
    let mut commands = vec![
        command("generate", [&model[..], &sae, &device]),
        command(
            "features",
            [&model[..], &sae, &["--text", "The dog barked."].map(str::to_owned), &device],
        ),
    ];
    if !are_texts_there(run, &from) {
        return commands;
    }
    let texts = texts(&from);
    if held_out.is_some() {
        let held_out = ["--held-out", &text(dir)].map(str::to_owned);
        commands.push(command("eval", [&model[..], &sae, &held_out, &texts, &device]));
    }
    let mut more = vec!["--out".to_owned(), text(&dir.join("dashboard"))];
    if let Some(HeldOutText { text, .. }) = held_out {
        more.extend(["--context".to_owned(), text.context_length.to_string()]);
        if text.tokens > DASHBOARD_TOKENS {
            more.extend(["--tokens".to_owned(), DASHBOARD_TOKENS.to_string()]);
        }
    }
    commands.push(command("dashboard", [&model[..], &sae, &texts, &more, &device]));
    commands
}

/// The model and the text that a run's activations are from, if the model is still there.
pub(crate) fn collected_from(run: &RunConfig) -> Option<CollectedFrom> {
    let source = &run.source;
    if source.activations.is_some() {
        return None;
    }
    let from = match &source.store {
        Some(store) => CollectedFrom::read(&kept_store(store).ok()?).ok().flatten(),
        None => {
            let defaults = CorpusOptions::default();
            Some(CollectedFrom {
                model: source.model.clone(),
                tokenizer: source.tokenizer.clone(),
                era: source.era.clone(),
                text: source.text.clone(),
                text_column: source.text_column.clone().unwrap_or(defaults.text_column),
                strict: source.strict.unwrap_or(defaults.strict),
                max_document_bytes: source
                    .max_document_bytes
                    .unwrap_or(defaults.max_document_bytes),
            })
        }
    };
    // A path, or a name in Hugging Face's cache.
    let is_there = |path: &Path| ModelFiles::find(path).is_ok();
    from.filter(|from| from.model.as_deref().is_none_or(is_there))
}

/// Returns whether the texts can be read: on this machine, or at a URL that the run was given. One that a store
/// names is not followed, because the store may be somebody else's.
pub(crate) fn are_texts_there(run: &RunConfig, from: &CollectedFrom) -> bool {
    let is_given = run.source.store.is_none();
    from.text.iter().all(|path| path.exists() || is_given && is_url(path))
}

/// A command line of the program, quoted for a shell.
pub(crate) fn command<'a>(name: &'a str, args: impl IntoIterator<Item = &'a [String]>) -> String {
    let words =
        ["nanoscope", name].into_iter().chain(args.into_iter().flatten().map(String::as_str));
    // Only a NUL cannot be quoted, and no argument or path has one.
    shlex::try_join(words).unwrap_or_default()
}

/// A path as text; one that is not UTF-8 cannot come from a configuration.
pub(crate) fn text(path: &Path) -> String {
    path.display().to_string()
}

fn model(from: &CollectedFrom) -> Vec<String> {
    let path = |flag: &str, path: &Option<std::path::PathBuf>| {
        path.iter().flat_map(|path| [flag.to_owned(), text(path)]).collect::<Vec<_>>()
    };
    let mut flags = path("--model", &from.model);
    flags.extend(path("--tokenizer", &from.tokenizer));
    flags.extend(from.era.iter().flat_map(|era| ["--era".to_owned(), era.clone()]));
    flags
}

fn device(run: &RunConfig) -> Vec<String> {
    match run.device.as_str() {
        "auto" => Vec::new(),
        name => vec!["--device".to_owned(), name.to_owned()],
    }
}

fn texts(from: &CollectedFrom) -> Vec<String> {
    let defaults = CorpusOptions::default();
    let mut flags = vec!["--text".to_owned()];
    flags.extend(from.text.iter().map(|path| text(path)));
    if from.text_column != defaults.text_column {
        flags.extend(["--text-column".to_owned(), from.text_column.clone()]);
    }
    if from.strict {
        flags.push("--strict".to_owned());
    }
    if from.max_document_bytes != defaults.max_document_bytes {
        flags.extend(["--max-document-bytes".to_owned(), from.max_document_bytes.to_string()]);
    }
    flags
}
