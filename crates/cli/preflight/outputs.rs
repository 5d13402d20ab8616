//! Checks that outputs replace nothing that is read.

use std::path::{Path, PathBuf};

use anyhow::Result;
use nanoscope_checkpoint::{check_writable, is_stdout};

use crate::args::ModelArgs;
use crate::terminal::messages::Hint;

/// Extensions of files that models, SAEs and activations are read from.
const READ: [&str; 8] = ["safetensors", "pt", "pth", "bin", "npz", "npy", "pkl", "json"];

/// The files and folders that a command reads, with their flags.
#[derive(Debug, Default)]
pub(crate) struct Inputs<'a>(Vec<(&'static str, &'a Path)>);

impl<'a> Inputs<'a> {
    /// Those of a model and its SAEs.
    pub(crate) fn of_model(args: &'a ModelArgs) -> Self {
        let saes = args.sae.iter().map(|sae| ("--sae", sae.path.as_path()));
        Self::default()
            .and("--model", args.gpt.model.as_deref())
            .and("--tokenizer", args.gpt.tokenizer.as_deref())
            .with(saes)
    }

    /// Adds the files of a flag.
    pub(crate) fn and(
        self,
        flag: &'static str,
        paths: impl IntoIterator<Item = &'a (impl AsRef<Path> + ?Sized + 'a)>,
    ) -> Self {
        self.with(paths.into_iter().map(|path| (flag, path.as_ref())))
    }

    fn with(mut self, more: impl IntoIterator<Item = (&'static str, &'a Path)>) -> Self {
        self.0.extend(more);
        self
    }
}

/// Checks, before the model is loaded, that each output can be written, that no two are one file, and that none
/// would replace a file of the inputs. Outputs are flags with their paths.
///
/// # Errors
/// A [`Hint`] that names the flags; that of a path that cannot be written.
pub(crate) fn check_outputs(outputs: &[(&str, Option<&Path>)], inputs: &Inputs<'_>) -> Result<()> {
    let files = outputs.iter().filter_map(|&(flag, path)| Some((flag, path?)));
    let files: Vec<_> = files.filter(|(_, path)| !is_stdout(path)).collect();
    for (at, &(flag, path)) in files.iter().enumerate() {
        let real = real_path(path);
        if let Some((other, _)) = files[..at].iter().find(|(_, path)| real_path(path) == real) {
            let error = format!("{other} and {flag} name the same file");
            return Err(Hint::new(error, "name two files").into());
        }
        if let Some((input, _)) = inputs.0.iter().find(|(_, input)| is_part(&real, input)) {
            let error = format!("{flag} {} would replace a file of {input}", path.display());
            return Err(Hint::new(error, "name a file that does not exist").into());
        }
        check_writable(path)?;
    }
    Ok(())
}

/// Returns whether the file at `real` exists, and is `input` or one that a loader may read in the folder `input`.
fn is_part(real: &Path, input: &Path) -> bool {
    let Ok(input) = input.canonicalize() else { return false };
    let is_read = || real.extension().is_some_and(|found| READ.iter().any(|&read| found == read));
    real.is_file() && (real == input || input.is_dir() && real.starts_with(&input) && is_read())
}

/// The path at the end of links, also of a file that does not exist yet.
pub(crate) fn real_path(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.canonicalize().unwrap_or_else(|_| match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => {
            parent.canonicalize().unwrap_or_else(|_| parent.to_owned()).join(name)
        }
        _ => absolute.clone(),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn outputs_that_are_inputs_or_each_other_are_refused_with_their_flags() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("model")).unwrap();
        for file in ["model/model.safetensors", "model/notes.csv", "text.jsonl"] {
            fs::write(at(file), "").unwrap();
        }
        let (model, text) = (at("model"), at("text.jsonl"));
        let inputs = Inputs::default().and("--model", Some(&model)).and("--text", Some(&text));
        let error = |outputs: &[(&str, &str)]| {
            let paths: Vec<_> = outputs.iter().map(|(flag, name)| (*flag, at(name))).collect();
            let outputs: Vec<_> =
                paths.iter().map(|(flag, path)| (*flag, Some(path.as_path()))).collect();
            let found = check_outputs(&outputs, &inputs).err();
            found.map(|error| error.to_string().replace(&format!("{}/", dir.path().display()), ""))
        };

        let refused = |flags: &str| Some(flags.to_owned());
        let found = error(&[("--out", "model/model.safetensors")]);
        assert_eq!(found, refused("--out model/model.safetensors would replace a file of --model"));
        let found = error(&[("--out", "model/../text.jsonl")]);
        assert_eq!(found, refused("--out model/../text.jsonl would replace a file of --text"));
        let found = error(&[("--out", "new"), ("--table", "model/../new")]);
        assert_eq!(found, refused("--out and --table name the same file"));
        // A result in the model's folder can be written, and replaced.
        assert_eq!(error(&[("--out", "new"), ("--table", "model/notes.csv")]), None);
    }
}
