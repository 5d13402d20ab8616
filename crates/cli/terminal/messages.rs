//! What is said to a person beside the results: errors, notes, the first help.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};

use crate::terminal::display::sanitized;

const BAD: Style = AnsiColor::Red.on_default().bold();
const SOFT: Style = AnsiColor::Cyan.on_default();
const BOLD: Style = Style::new().bold();

/// An error of the command line itself, with what to do about it.
#[derive(Debug)]
pub(crate) struct Hint {
    error: &'static str,
    hint: &'static str,
}

impl Hint {
    pub(crate) fn new(error: &'static str, hint: &'static str) -> Self {
        Self { error, hint }
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.error)
    }
}

impl std::error::Error for Hint {}

/// Prints `error` with its causes and a hint, and gives the exit code of a failure.
pub(crate) fn report_error(error: &anyhow::Error) -> ExitCode {
    // Whoever reads our output has had enough (`nanoscope … | head`); that is no failure.
    if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    print_error(error);
    if is_bad_flag(error) { ExitCode::from(2) } else { ExitCode::FAILURE }
}

/// Prints `error` with its causes and a hint.
pub(crate) fn print_error(error: &anyhow::Error) {
    // A terminal may have gone away, and then there is nobody to tell.
    let _ = write_error(&mut anstream::stderr().lock(), error);
}

fn write_error(out: &mut impl Write, error: &anyhow::Error) -> io::Result<()> {
    // Names from files are part of it, and a terminal acts on some characters.
    writeln!(out, "{BAD}error{BAD:#}: {}", sanitized(&error.to_string()))?;
    for cause in error.chain().skip(1) {
        writeln!(out, "  because: {}", sanitized(&cause.to_string()))?;
    }
    if let Some(hint) = hint(error) {
        writeln!(out, "{SOFT}hint{SOFT:#}: {hint}")?;
    }
    Ok(())
}

/// Whether the error is the value of a flag that means nothing, whatever the files hold.
fn is_bad_flag(error: &anyhow::Error) -> bool {
    use nanoscope_runtime::RuntimeError;

    use nanoscope_train::ConfigError;

    let config = error.downcast_ref::<ConfigError>();
    if config.is_some_and(|e| !matches!(e, ConfigError::Io { .. } | ConfigError::Changed { .. })) {
        return true;
    }
    let sampling = error.downcast_ref::<RuntimeError>();
    matches!(sampling, Some(RuntimeError::Sampling { .. }))
        || error.is::<nanoscope_device::DeviceError>()
}

/// What a person can do about an error, if that is more than its text says.
fn hint(error: &anyhow::Error) -> Option<&'static str> {
    use nanoscope_checkpoint::CheckpointError;
    use nanoscope_runtime::RuntimeError;

    if let Some(hint) = error.downcast_ref::<Hint>() {
        return Some(hint.hint);
    }
    if let Some(error) = error.chain().find_map(|cause| cause.downcast_ref::<CheckpointError>()) {
        return match error {
            CheckpointError::NoModel { .. } => Some(
                "--model takes nanochat's base folder, base_checkpoints/d20, or a model_<step>.pt",
            ),
            CheckpointError::NoConfig { .. } => {
                Some("nanochat writes meta_<step>.json beside model_<step>.pt; copy both")
            }
            CheckpointError::TwoSaes { .. } => Some("give the one you mean with --sae FILE"),
            CheckpointError::SeveralSaes { .. } => Some("give the file or folder of one of them"),
            CheckpointError::NoHook { .. } => {
                Some("say it: --sae HOOK=PATH, or --hook HOOK of `nanoscope convert`")
            }
            CheckpointError::Hook { .. } => Some(
                "say which point of this model is meant: --sae HOOK=PATH, or --hook HOOK of `nanoscope convert`",
            ),
            CheckpointError::WhichTensor { .. } => {
                Some("name it after the file: --activations FILE:KEY")
            }
            CheckpointError::PythonObject { .. } => {
                Some("nothing was executed; save the tensors and plain values only, and try again")
            }
            _ => None,
        };
    }
    if let Some(hint) = training_hint(error) {
        return Some(hint);
    }
    match error.chain().find_map(|cause| cause.downcast_ref::<RuntimeError>())? {
        RuntimeError::NoSae { .. } => {
            Some("load one with --sae PATH; `nanoscope hooks` lists hook points and SAEs")
        }
        RuntimeError::NoSuchHook { .. } => Some("`nanoscope hooks` lists the model's hook points"),
        RuntimeError::MixedSplice { .. } => {
            Some("`--splice reconstruct` applies to all --steer flags, `with reconstruct` to one")
        }
        _ => None,
    }
}

/// What a person can do about a training that could not begin or go on.
fn training_hint(error: &anyhow::Error) -> Option<&'static str> {
    use nanoscope_train::{ConfigError, RunError, TrainError};

    if is_full_disk(error) {
        return Some("make room, and go on with nanoscope train --resume DIR");
    }
    match error.downcast_ref::<ConfigError>() {
        Some(ConfigError::UnknownKey { .. }) => {
            return Some("nanoscope train --print-config prints every key");
        }
        Some(ConfigError::Changed { .. }) => {
            return Some(
                "a run goes on as it began: leave the flags out, or begin a new one with --out",
            );
        }
        _ => {}
    }
    match error.downcast_ref::<RunError>()? {
        RunError::Train { source, .. } if matches!(**source, TrainError::Diverged { .. }) => {
            Some("try a lower --lr in a new folder; what was saved before it diverged is whole")
        }
        RunError::NotEmpty { is_run: true, .. } => {
            Some("go on with that run by nanoscope train --resume DIR, or name another folder")
        }
        RunError::NotEmpty { .. } => Some("name a folder that is empty, or not there yet"),
        RunError::NothingLeft { .. } => Some("give more text, or hold out less with --hold-out"),
        RunError::NoRun { .. } => {
            Some("without --resume a new run begins; it needs --hook, a source and --out")
        }
        _ => None,
    }
}

/// Whether a run could not write because there is no room.
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

/// Prints a remark that is no part of the result.
pub(crate) fn note(text: &str) {
    anstream::eprintln!("{SOFT}note{SOFT:#}: {text}");
}

/// Commands to begin with.
pub(crate) fn welcome() -> anyhow::Result<()> {
    writeln!(
        anstream::stdout(),
        "\
{BOLD}nanoscope{BOLD:#}: a microscope for small language models

Which features of a sparse autoencoder fire on each token while a nanochat model generates, and what
happens when you turn them. A small model is built in; try

  {SOFT}nanoscope generate{SOFT:#}
      a story, with the features that fire on each token
  {SOFT}nanoscope generate --prompt \"Once upon a time, there was a\" --steer blocks.3.hook_resid_post:1909:add:27{SOFT:#}
      the same model with one feature turned up
  {SOFT}nanoscope features --text \"The dog barked.\" --against \"The cake was sweet.\"{SOFT:#}
      the features to turn
  {SOFT}nanoscope generate --model ~/.cache/nanochat --sae sae_outputs{SOFT:#}
      your own model and SAEs
  {SOFT}nanoscope chat{SOFT:#}
      all of it live: write, steer and look at the features of each token
  {SOFT}nanoscope serve{SOFT:#}
      the same in a browser, and for any client of OpenAI's

nanoscope help lists all commands, nanoscope help generate its flags."
    )?;
    Ok(())
}
