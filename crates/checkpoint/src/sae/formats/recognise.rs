//! Recognising the format of a file.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use nanoscope_hooks::did_you_mean;
use thiserror::Error;

use crate::container::TensorFile;
use crate::error::{CheckpointError, SaeFileError};
use crate::sae::formats::sae_format::{Claim, Layout, SaeFormat};
use crate::sae::formats::{
    circuit_tracer, dictionary_learning, gemma_scope, gemma_scope_2, goodfire, llama_scope,
    nanochat_sae, nanoscope, openai, qwen_scope, saelens, sparsify,
};
use crate::sae::sae_file::SaeFile;

/// All known formats. In a folder with files of several formats the first one wins.
pub(super) const FORMATS: [&SaeFormat; 12] = [
    &nanochat_sae::FORMAT,
    &nanoscope::FORMAT,
    &saelens::FORMAT,
    &gemma_scope::FORMAT,
    &gemma_scope_2::FORMAT,
    &sparsify::FORMAT,
    &dictionary_learning::FORMAT,
    &llama_scope::FORMAT,
    &circuit_tracer::FORMAT,
    &qwen_scope::FORMAT,
    &openai::FORMAT,
    &goodfire::FORMAT,
];

/// Iterates over the layouts of all formats that have one.
pub(crate) fn layouts() -> impl Iterator<Item = &'static Layout> {
    FORMATS.into_iter().filter_map(|format| format.layout.as_ref())
}

/// Returns whether `file` has an SAE: by evidence, or because it can have the `stated` format.
pub(crate) fn is_sae(file: &TensorFile, stated: Option<SaeFormatName>) -> bool {
    FORMATS.iter().any(|format| match (format.claims)(file) {
        Claim::Evidence => true,
        Claim::Guess => stated.is_some_and(|stated| stated.0 == format.name),
        Claim::None => false,
    })
}

/// Returns the formats that `file` can have although nothing identifies it as one of them.
#[cfg(feature = "gpt")]
pub(crate) fn guesses(file: &TensorFile) -> Vec<SaeFormatName> {
    with_claim(file, Claim::Guess).into_iter().map(|format| SaeFormatName(format.name)).collect()
}

/// Keys under which training frameworks and people save the weights of an SAE, outermost first.
const WEIGHTS_KEYS: [&str; 8] = [
    "state_dict",
    "model_state_dict",
    "sae_state_dict",
    "model",
    "sae",
    "autoencoder",
    "ae",
    "dictionary",
];

/// Removes from the names of the tensors what does not come from a format: the parts of module wrappers,
/// and, if no format claims the file, the keys of the dictionaries around the weights. Returns the file,
/// and a sentence for people about what was removed.
pub(crate) fn unwrapped(file: TensorFile) -> (TensorFile, Option<String>) {
    let (file, is_wrapped) = file.without_wrappers();
    let (file, keys) = claimed_within(&file).unwrap_or((file, Vec::new()));
    let mut notes = Vec::new();
    if !keys.is_empty() {
        notes.push(format!("those in {}", keys.join(".")));
    }
    if is_wrapped {
        notes.push("without the parts _orig_mod and module".to_owned());
    }
    (file, (!notes.is_empty()).then(|| notes.join(", ")))
}

/// Enters the dictionaries in `file` until a format claims the rest. Returns it and the keys that lead
/// to it; none if no format does.
fn claimed_within(file: &TensorFile) -> Option<(TensorFile, Vec<&'static str>)> {
    let (mut file, mut keys) = (file.clone(), Vec::new());
    while FORMATS.iter().all(|format| (format.claims)(&file) == Claim::None) {
        let (key, inner) =
            WEIGHTS_KEYS.into_iter().find_map(|key| Some((key, file.within(key)?)))?;
        file = inner;
        keys.push(key);
    }
    Some((file, keys))
}

/// Opens the SAE in the file at `path`, in the `stated` format if the file can have it.
pub(crate) fn open_sae(
    path: &Path,
    stated: Option<SaeFormatName>,
) -> Result<SaeFile, CheckpointError> {
    open_sae_in(TensorFile::open(path)?, stated)
}

/// Opens the SAE in `file`, in the `stated` format if the file can have it.
pub(crate) fn open_sae_in(
    file: TensorFile,
    stated: Option<SaeFormatName>,
) -> Result<SaeFile, CheckpointError> {
    let (file, note) = unwrapped(file);
    let mut sae = (format_of(&file, stated)?.open)(file)?;
    sae.notes.extend(note.map(|note| ("names", note)));
    Ok(sae)
}

fn format_of(
    file: &TensorFile,
    stated: Option<SaeFormatName>,
) -> Result<&'static SaeFormat, CheckpointError> {
    let is_stated = |format: &&&SaeFormat| stated.is_some_and(|stated| stated.0 == format.name);
    if let Some(format) = FORMATS.iter().find(is_stated)
        && (format.claims)(file) != Claim::None
    {
        return Ok(format);
    }
    let path = || file.path().to_owned();
    let names = |formats: &[&SaeFormat]| formats.iter().map(|f| SaeFormatName(f.name)).collect();
    match with_claim(file, Claim::Evidence).as_slice() {
        [format] => return Ok(format),
        [] => {}
        several => {
            return Err(
                SaeFileError::SeveralFormats { path: path(), formats: names(several) }.into()
            );
        }
    }
    match with_claim(file, Claim::Guess).as_slice() {
        [] => Err(SaeFileError::NotAnSae {
            path: path(),
            formats: FORMATS.map(|format| format.name).to_vec(),
            tensors: file.tensors().map(|(name, _)| name.to_owned()).collect(),
        }
        .into()),
        guesses => {
            Err(SaeFileError::GuessedFormat { path: path(), formats: names(guesses) }.into())
        }
    }
}

/// Returns the formats that make this claim on `file`.
fn with_claim(file: &TensorFile, claim: Claim) -> Vec<&'static SaeFormat> {
    FORMATS.into_iter().filter(|format| (format.claims)(file) == claim).collect()
}

/// The name of a format of SAE files, such as `goodfire`.
///
/// ```
/// use nanoscope_checkpoint::SaeFormatName;
///
/// let format: SaeFormatName = "gemma-scope-2".parse()?;
/// assert_eq!(format.to_string(), "gemma-scope-2");
/// # Ok::<(), nanoscope_checkpoint::UnknownSaeFormat>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaeFormatName(&'static str);

impl SaeFormatName {
    /// Every format, in the order in which a folder with files of several is read.
    pub fn all() -> impl Iterator<Item = Self> {
        FORMATS.into_iter().map(|format| Self(format.name))
    }

    /// The name of the tool, for people, as in [`LoadedSae::format`](crate::LoadedSae::format).
    pub fn tool(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for SaeFormatName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_lowercase().replace([' ', '_'], "-"))
    }
}

impl FromStr for SaeFormatName {
    type Err = UnknownSaeFormat;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let names = Self::all;
        let wanted = text.to_lowercase().replace('_', "-");
        names().find(|name| name.to_string() == wanted).ok_or_else(|| {
            let known = names().map(|name| name.to_string()).collect::<Vec<_>>().join(", ");
            let similar = did_you_mean(text, names().map(|name| name.to_string()));
            UnknownSaeFormat { found: text.to_owned(), known, similar }
        })
    }
}

/// A name that is not the name of a format of SAE files.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown SAE format `{found}` (expected {known}){similar}")]
pub struct UnknownSaeFormat {
    found: String,
    known: String,
    similar: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_is_named_as_it_is_written() {
        for format in FORMATS {
            let name = SaeFormatName(format.name);
            assert_eq!(name.to_string().parse(), Ok(name));
            assert!(name.to_string().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
        }
        assert_eq!(
            "Dictionary_Learning".parse::<SaeFormatName>().unwrap().0,
            "dictionary_learning"
        );
        let error = "goodfir".parse::<SaeFormatName>().unwrap_err().to_string();
        assert!(error.ends_with("goodfire); did you mean `goodfire`?"), "{error}");
        let error = "vae".parse::<SaeFormatName>().unwrap_err().to_string();
        assert!(error.starts_with("unknown SAE format `vae` (expected nanochat-sae, "), "{error}");
    }
}
