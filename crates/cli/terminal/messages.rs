//! Errors, hints and notes on stderr, and the welcome text.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use nanoscope_checkpoint::{SaeFileError, is_stdout};

use crate::terminal::display::sanitized;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const SOFT: Style = AnsiColor::Cyan.on_default();
const BOLD: Style = Style::new().bold();

/// An error with a hint on how to solve it.
#[derive(Debug)]
pub(crate) struct Hint {
    error: Cow<'static, str>,
    hint: Cow<'static, str>,
}

impl Hint {
    pub(crate) fn new(
        error: impl Into<Cow<'static, str>>,
        hint: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { error: error.into(), hint: hint.into() }
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)
    }
}

impl std::error::Error for Hint {}

/// Prints `error` with its causes and a hint. Returns the exit code.
pub(crate) fn report_error(error: &anyhow::Error) -> ExitCode {
    // A closed pipe (`nanoscope … | head`) is not a failure.
    if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    print_error(error);
    if is_bad_flag(error) { ExitCode::from(2) } else { ExitCode::FAILURE }
}

/// Prints `error` with its causes and a hint.
pub(crate) fn print_error(error: &anyhow::Error) {
    // Writing fails if the terminal is gone; there is nobody left to read the error.
    let _ = write_error(&mut anstream::stderr().lock(), error);
}

fn write_error(out: &mut impl Write, error: &anyhow::Error) -> io::Result<()> {
    // Errors contain names from files, which may contain control characters.
    let mut before = sanitized(&error.to_string());
    writeln!(out, "{ERROR}error{ERROR:#}: {before}")?;
    for cause in error.chain().skip(1) {
        let cause = sanitized(&cause.to_string());
        // An error about a missing file says so itself.
        if !repeats(&before, &cause) {
            writeln!(out, "  because: {cause}")?;
        }
        before = cause;
    }
    if let Some(hint) = hint(error) {
        writeln!(out, "{SOFT}hint{SOFT:#}: {hint}")?;
    }
    Ok(())
}

/// Returns whether `error` contains its cause, which is an error of the operating system with a number.
fn repeats(error: &str, cause: &str) -> bool {
    cause
        .rsplit_once(" (os error ")
        .is_some_and(|(text, _)| error.to_lowercase().contains(&text.to_lowercase()))
}

/// Returns whether the error is an invalid value of a flag, independent of any file.
fn is_bad_flag(error: &anyhow::Error) -> bool {
    use nanoscope_runtime::RuntimeError;

    use nanoscope_train::ConfigError;

    let config = error.downcast_ref::<ConfigError>();
    if config.is_some_and(|e| !matches!(e, ConfigError::Io { .. } | ConfigError::Changed { .. })) {
        return true;
    }
    if is_bad_url(error) {
        return true;
    }
    let sampling = error.downcast_ref::<RuntimeError>();
    matches!(sampling, Some(RuntimeError::Sampling { .. }))
        || error.is::<nanoscope_device::DeviceError>()
}

/// A hint on how to solve an error, if there is more to say than its message does.
fn hint(error: &anyhow::Error) -> Option<&str> {
    use nanoscope_checkpoint::CheckpointError;
    use nanoscope_runtime::RuntimeError;

    if let Some(hint) = error.downcast_ref::<Hint>() {
        return Some(&hint.hint);
    }
    if let Some(error) = error.chain().find_map(|cause| cause.downcast_ref::<CheckpointError>()) {
        return match error {
            CheckpointError::NoModel { .. } => Some(
                "a model is nanochat's base folder, base_checkpoints/d20 or a model_<step>.pt, or a Hugging \
                 Face folder with config.json and model.safetensors or its shards",
            ),
            CheckpointError::ForeignFolder { .. } => {
                Some("choose a folder that is empty or does not exist")
            }
            CheckpointError::NoConfig { .. } => {
                Some("nanochat writes meta_<step>.json beside model_<step>.pt; copy both")
            }
            CheckpointError::SaeFile(error) => sae_hint(error),
            CheckpointError::WhichTensor { .. } => {
                Some("append its name to the file: --activations FILE:KEY")
            }
            CheckpointError::Heads { .. } => {
                Some("--flatten-heads concatenates the heads of […, heads, d_head], as at hook_z")
            }
            CheckpointError::PythonObject { .. } => {
                Some("nothing was executed; save only tensors and plain values, and try again")
            }
            _ => None,
        };
    }
    if let Some(hint) = error.downcast_ref().and_then(label_hint) {
        return Some(hint);
    }
    if let Some(hint) = error.chain().find_map(text_hint).or_else(|| remote_hint(error)) {
        return Some(hint);
    }
    if let Some(hint) = training_hint(error) {
        return Some(hint);
    }
    match error.chain().find_map(|cause| cause.downcast_ref::<RuntimeError>())? {
        RuntimeError::NoSae { .. } => {
            Some("load one with --sae PATH; `nanoscope hooks` lists the hook points and SAEs")
        }
        RuntimeError::NoSuchHook { .. } => Some("`nanoscope hooks` lists the model's hook points"),
        RuntimeError::Transcoder { .. } => Some("name both points: --sae HOOK:HOOK=PATH"),
        RuntimeError::MixedSplice { .. } => {
            Some("`--splice reconstruct` applies to all --steer flags, `with reconstruct` to one")
        }
        _ => None,
    }
}

/// A hint on how to solve an error of an SAE's files.
fn sae_hint(error: &SaeFileError) -> Option<&'static str> {
    Some(match error {
        SaeFileError::GuessedFormat { .. } | SaeFileError::SeveralFormats { .. } => {
            "state it: --format FORMAT"
        }
        SaeFileError::FormatNotUsed { .. } => "the format follows from the file; omit --format",
        SaeFileError::UnknownActivationScale { .. } => {
            "copy its activation_scaler.json beside it, or state the factor: --activation-scale FACTOR, or \
             --activation-scale folded"
        }
        SaeFileError::ActivationScaleNotUsed { .. } => "omit --activation-scale",
        SaeFileError::TwoSaes { .. } => "choose one with --sae FILE",
        SaeFileError::SeveralSaes { .. } => "name the file or folder of one of them",
        SaeFileError::NoHook { .. } => {
            "name it: --sae HOOK=PATH, or --hook HOOK of `nanoscope convert`"
        }
        SaeFileError::Hook { .. } => {
            "name a hook point of this model: --sae HOOK=PATH, or --hook HOOK of `nanoscope convert`"
        }
        SaeFileError::NoOutputHook { .. } => "name both points: --hook HOOK:HOOK",
        _ => return None,
    })
}

/// A hint on how to solve an error of a language model's endpoint, or of its explanations.
fn label_hint(error: &nanoscope_label::LabelError) -> Option<&'static str> {
    use nanoscope_label::LabelError;

    match error {
        LabelError::Url { .. } => Some("such as --via http://localhost:8080/v1"),
        LabelError::Unreachable { .. } => Some(
            "check that the server runs at --via; --timeout SECONDS waits longer for an answer",
        ),
        LabelError::Refused { status: 401 | 403, .. } => {
            Some("--key-env NAME names the environment variable with the API key")
        }
        LabelError::Refused { status: 404, .. } => {
            Some("--via often ends in /v1, and --as names a model that the server has")
        }
        LabelError::Refused { status: 300..=399, .. } => {
            Some("redirects are not followed; give --via the address that it leads to")
        }
        LabelError::Refused { status: 429 | 500.., .. } | LabelError::WaitTooLong { .. } => {
            Some("the same command continues later; --concurrency 1 asks more slowly")
        }
        LabelError::NotChat { .. } => {
            Some("--via is the address of an OpenAI-compatible API, which often ends in /v1")
        }
        LabelError::NoExplanations { .. } => {
            Some("try another model; one that reasons may need a larger --answer-tokens")
        }
        LabelError::OtherSae { .. } | LabelError::NotExplanations { .. } => {
            Some("name another file with --out")
        }
        _ => None,
    }
}

/// A hint on how to solve an error in texts.
fn text_hint(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    use nanoscope_corpus::CorpusError;

    match error.downcast_ref::<CorpusError>()? {
        CorpusError::LineTooLong { .. } | CorpusError::ParquetTooLarge { .. } => {
            Some("--max-document-bytes N reads longer documents, each of which is held in memory")
        }
        CorpusError::TooFewTokens { .. } => {
            Some("use shorter contexts with --context N, or more text")
        }
        CorpusError::NoField { .. } | CorpusError::NoColumn { .. } | CorpusError::NoList { .. } => {
            Some("name the field or column with --text-column NAME")
        }
        _ => None,
    }
}

/// Returns whether the error is a URL that is not read, independent of any server.
#[cfg(feature = "remote")]
fn is_bad_url(error: &anyhow::Error) -> bool {
    use nanoscope_remote::RemoteError as Remote;

    matches!(
        error.downcast_ref(),
        Some(
            Remote::Scheme { .. }
                | Remote::Slashes { .. }
                | Remote::UserInfo
                | Remote::Query
                | Remote::Bucket { .. }
                | Remote::Url { .. }
                | Remote::Folder { .. }
        )
    )
}

#[cfg(not(feature = "remote"))]
fn is_bad_url(_: &anyhow::Error) -> bool {
    false
}

/// A hint on how to solve an error of a bucket, a web server or the folder of a download.
#[cfg(feature = "remote")]
fn remote_hint(error: &anyhow::Error) -> Option<&'static str> {
    use nanoscope_remote::RemoteError;

    match error.downcast_ref::<RemoteError>()? {
        RemoteError::Scheme { .. } | RemoteError::Slashes { .. } => {
            Some("a local path of such a name is given with ./ before it")
        }
        RemoteError::UserInfo | RemoteError::Query => Some(
            "credentials for s3:// are in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; download any other \
             file and pass its path",
        ),
        RemoteError::NoCredentials { .. } => Some(
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SKIP_SIGNATURE=true for a public bucket",
        ),
        RemoteError::Denied { location, .. } if location.starts_with("s3://") => Some(
            "AWS_SKIP_SIGNATURE=true reads a public bucket without credentials; docs/scaling.md lists the variables",
        ),
        RemoteError::Region { .. } => Some("set AWS_REGION to the bucket's region"),
        RemoteError::Unencrypted { .. } => Some("AWS_ALLOW_HTTP=true allows it"),
        RemoteError::Changed { .. } => Some("the same command downloads what is there now"),
        RemoteError::Unreachable { .. } | RemoteError::TimedOut { .. } => {
            Some("the same command continues after the files that are complete")
        }
        RemoteError::NoRoom { .. } => Some("XDG_CACHE_HOME names another folder for downloads"),
        RemoteError::Name { .. } | RemoteError::Collision { .. } => {
            Some("rename the objects, or name a part of them")
        }
        _ => None,
    }
}

#[cfg(not(feature = "remote"))]
fn remote_hint(_: &anyhow::Error) -> Option<&'static str> {
    None
}

/// A hint on how to solve an error of a training run.
fn training_hint(error: &anyhow::Error) -> Option<&'static str> {
    use nanoscope_train::{ConfigError, RunError, TrainError};

    if is_full_disk(error) {
        return Some("free some disk space, then continue with nanoscope train --resume DIR");
    }
    match error.downcast_ref::<ConfigError>() {
        Some(ConfigError::UnknownKey { .. }) => {
            return Some("nanoscope train --print-config prints every key");
        }
        Some(ConfigError::Missing { key: "hooks", .. }) => {
            return Some(
                "name it with --hook HOOK, which may be repeated; `nanoscope hooks` lists them",
            );
        }
        Some(ConfigError::Missing { key: "source.text", .. }) => {
            return Some("name them with --text PATH, or use --store DIR or --activations FILE");
        }
        Some(ConfigError::Changed { .. }) => {
            return Some(
                "a run continues with its own configuration: omit the flags, or start a new run with --out",
            );
        }
        _ => {}
    }
    match error.downcast_ref::<RunError>()? {
        RunError::Train { source, .. } if matches!(**source, TrainError::Diverged { .. }) => {
            Some("try a lower --lr in a new folder; checkpoints that were saved are intact")
        }
        RunError::NotEmpty { is_run: true, .. } => {
            Some("continue that run with nanoscope train --resume DIR, or choose another folder")
        }
        RunError::NotEmpty { .. } => Some("choose a folder that is empty or does not exist"),
        RunError::NothingLeft { .. } => Some("add more text, or hold out less with --hold-out"),
        RunError::NoRun { .. } => {
            Some("name the folder of a run, which `nanoscope train --out` makes")
        }
        _ => None,
    }
}

/// Returns whether a run could not write because the disk is full.
fn is_full_disk(error: &anyhow::Error) -> bool {
    use nanoscope_checkpoint::CheckpointError;
    use nanoscope_train::RunError;
    use safetensors::SafeTensorError;

    let Some(
        RunError::Io { source, .. }
        | RunError::File(
            CheckpointError::Io { source, .. }
            | CheckpointError::Safetensors { reason: SafeTensorError::IoError(source), .. },
        ),
    ) = error.downcast_ref::<RunError>()
    else {
        return false;
    };
    matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The place for a command's report about an output at `out`: stdout, or stderr if the output itself
/// goes to stdout.
pub(crate) fn report_to(out: Option<&Path>) -> Box<dyn Write> {
    if out.is_some_and(is_stdout) {
        Box::new(anstream::stderr())
    } else {
        Box::new(anstream::stdout())
    }
}

/// Refuses --json beside an output that goes to stdout, where they would be mixed.
pub(crate) fn check_json(json: bool, out: Option<&Path>) -> anyhow::Result<()> {
    if json && out.is_some_and(is_stdout) {
        let hint = "name a file with --out, or omit --json";
        return Err(Hint::new("--out and --json both write to stdout", hint).into());
    }
    Ok(())
}

/// Prints a note to stderr.
pub(crate) fn note(text: &str) {
    anstream::eprintln!("{SOFT}note{SOFT:#}: {text}");
}

/// Prints an introduction with the first commands to try.
pub(crate) fn welcome() -> anyhow::Result<()> {
    writeln!(
        anstream::stdout(),
        "\
{BOLD}nanoscope{BOLD:#}: a microscope for small language models

Shows which features of a sparse autoencoder fire on each token while a model generates, and steers
the model with them. A small model is built in. Try

  {SOFT}nanoscope generate{SOFT:#}
      a story, with the features that fire on each token
  {SOFT}nanoscope features dog{SOFT:#}
      the features that write about dogs, with the command that turns the first one up
  {SOFT}nanoscope generate \"Once upon a time, there was a\" --steer 1909:add:30% --compare{SOFT:#}
      two stories, the second steered with one of them
  {SOFT}nanoscope features --text \"The dog barked.\" --against \"The cake was sweet.\"{SOFT:#}
      the features that distinguish two texts
  {SOFT}nanoscope generate --model ~/.cache/nanochat --sae sae_outputs{SOFT:#}
      your own model and SAEs
  {SOFT}nanoscope chat{SOFT:#}
      an interactive session: write, steer and inspect the features of each token
  {SOFT}nanoscope serve{SOFT:#}
      the same in a browser, and an OpenAI-compatible API

`nanoscope help` lists all commands, `nanoscope help generate` its flags."
    )?;
    Ok(())
}
