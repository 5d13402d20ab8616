//! The formats of SAE files, one module each.
//!
//! A new format is a module with a constant `FORMAT`, and a line in [`FORMATS`].

mod circuit_tracer;
mod dictionary_learning;
mod gemma_scope;
mod gemma_scope_2;
mod goodfire;
mod llama_scope;
pub(crate) mod nanochat_sae;
pub(crate) mod nanoscope;
mod openai;
mod qwen_scope;
mod sae_format;
pub(crate) mod saelens;
mod sparsify;
mod whole_number;

use std::path::Path;

use crate::container::TensorFile;
use crate::error::CheckpointError;
use crate::sae::sae_file::SaeFile;
use sae_format::{Claim, SaeFormat};
pub(crate) use sae_format::{Folder, Layout, file_name};

/// All known formats. In a folder with files of several formats, and among equally strong claims on
/// a file, the first one wins.
const FORMATS: [&SaeFormat; 12] = [
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

/// Returns whether `file` has an SAE of a known format.
pub(crate) fn is_sae(file: &TensorFile) -> bool {
    format_of(file).is_some()
}

/// Opens the SAE in the file at `path`.
pub(crate) fn open_sae(path: &Path) -> Result<SaeFile, CheckpointError> {
    open_sae_in(TensorFile::open(path)?)
}

/// Opens the SAE in `file`.
pub(crate) fn open_sae_in(file: TensorFile) -> Result<SaeFile, CheckpointError> {
    match format_of(&file) {
        Some(format) => (format.open)(file),
        None => Err(CheckpointError::NotAnSae {
            path: file.path().to_owned(),
            formats: FORMATS.map(|format| format.name).to_vec(),
            tensors: file.tensors().map(|(name, _)| name.to_owned()).collect(),
        }),
    }
}

/// Returns the format with the strongest claim on `file`.
fn format_of(file: &TensorFile) -> Option<&'static SaeFormat> {
    let claims = FORMATS.map(|format| ((format.claims)(file), format));
    // `max_by_key` returns the last of equal elements, so the order is reversed.
    let (claim, format) = claims.into_iter().rev().max_by_key(|(claim, _)| *claim)?;
    (claim != Claim::None).then_some(format)
}
