//! The errors of reading and writing SAEs.

use std::path::PathBuf;

use nanoscope_hooks::{HookError, HookPoint};
use nanoscope_sae::SaeError;
use thiserror::Error;

use crate::error::message::{all_of, some_of};
use crate::pickle::PickleError;
use crate::sae::{SaeFormatName, SaveForm};

/// An error from reading or writing an SAE.
///
/// In every variant `path` is the file or folder, `tensor` the name of a tensor in it, `key` the key
/// of its configuration, and `source` the cause.
#[derive(Debug, Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "these fields are the same in every variant")]
pub enum SaeFileError {
    /// The path does not have an SAE.
    #[error(
        "{} has no SAE of a known format: no {}, or other .pt, .pth, .bin or .ckpt",
        path.display(),
        names.join(", ")
    )]
    NoSae {
        path: PathBuf,
        /// The file names that were looked for.
        names: Vec<&'static str>,
    },
    /// None of the SAEs belongs to a hook point that was asked for.
    #[error("no SAE belongs to hook point {hook}; there are SAEs for {}", some_of(.found))]
    NoSaeForHook { hook: HookPoint, found: Vec<String> },
    /// Metadata with so many entries that the checkpoint could not be read back.
    #[error("{} cannot be written: its metadata is too large", path.display())]
    MetadataTooLarge { path: PathBuf, source: PickleError },
    /// Metadata that cannot be written to a checkpoint and read back.
    #[error("{} cannot be written: metadata `{key}`: {reason}", path.display())]
    Metadata {
        path: PathBuf,
        key: String,
        /// The reason.
        reason: String,
    },
    /// A file does not have an SAE.
    #[error(
        "{} is not an SAE of a known format ({}); its tensors are {}",
        path.display(),
        formats.join(", "),
        some_of(.tensors)
    )]
    NotAnSae {
        path: PathBuf,
        /// The known formats.
        formats: Vec<&'static str>,
        /// The names of its tensors.
        tensors: Vec<String>,
    },
    /// Two formats of SAEs claim a file.
    #[error("{} can be an SAE of the formats {}; the format must be given", path.display(), all_of(.formats, " and "))]
    SeveralFormats {
        path: PathBuf,
        /// The formats.
        formats: Vec<SaeFormatName>,
    },
    /// A file looks like an SAE of a format, but also like files of other kinds.
    #[error(
        "{} could be an SAE of the format {}, but also something else: nothing in it or in its name \
         identifies it; the format must be given",
        path.display(),
        all_of(.formats, " or ")
    )]
    GuessedFormat {
        path: PathBuf,
        /// The formats that it could have.
        formats: Vec<SaeFormatName>,
    },
    /// No SAE has the format that was given.
    #[error("{} is an SAE of {found} and cannot have the given format {format}", path.display())]
    FormatNotUsed {
        path: PathBuf,
        /// The format that was given.
        format: SaeFormatName,
        /// The tool that wrote the file.
        found: &'static str,
    },
    /// An SAE was trained on normalised activations, and its files leave open whether its weights
    /// take them normalised.
    #[error(
        "{} was trained on activations normalised by `{name}`, and it is not known whether that is \
         folded into the weights",
        path.display()
    )]
    UnknownActivationScale {
        path: PathBuf,
        /// SAELens's name of the normalisation.
        name: &'static str,
    },
    /// An activation scale was given, and no SAE leaves it open.
    #[error("an activation scale was given, but the files of the SAE in {} leave none open", path.display())]
    ActivationScaleNotUsed { path: PathBuf },
    /// The files of an SAE do not name its hook point.
    #[error("the files of the SAE in {} do not name its hook point", path.display())]
    NoHook { path: PathBuf },
    /// An SAE's files name an activation that is another one from family to family.
    #[error(
        "{}: `{name}` is {} or {}, depending on the model; state the hook point before the path \
         (`{}=PATH`)",
        path.display(), points[0], points[1], points[0]
    )]
    AmbiguousHook {
        /// The SAE's file.
        path: PathBuf,
        /// The name in its files.
        name: String,
        /// The activation in models that norm the outputs of their sublayers, and in others.
        points: [HookPoint; 2],
    },
    /// Two SAEs belong to the same hook point.
    #[error("two SAEs for {hook}: {} and {}", first.display(), second.display())]
    TwoSaes {
        hook: HookPoint,
        /// One file.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// A folder has several SAEs where one is expected.
    #[error("{} has more than one SAE, such as {} and {}", path.display(), first.display(), second.display())]
    SeveralSaes {
        path: PathBuf,
        /// One file.
        first: PathBuf,
        /// Another.
        second: PathBuf,
    },
    /// The configuration or the weights of an SAE are invalid.
    #[error("the SAE in {} cannot be used", path.display())]
    Sae { path: PathBuf, source: SaeError },
    /// An SAE's configuration names an activation that is not a hook point.
    #[error("the hook point in {} cannot be used", path.display())]
    Hook { path: PathBuf, source: HookError },
    /// nanochat-SAE has no name for the hook point, and would mistake ours for another one.
    #[error(
        "{} cannot be written: nanochat-SAE does not have the hook point {hook}, only \
         blocks.N.hook_resid_post, hook_attn_out and hook_mlp_out; the form `{instead}` can hold it",
        path.display()
    )]
    HookNotInReference {
        path: PathBuf,
        hook: HookPoint,
        /// A form that can hold the SAE.
        instead: SaveForm,
    },
    /// A transcoder is to be saved, and the hook point that it writes is not given.
    #[error(
        "{} cannot be written: the SAE is a transcoder, and it is not known which point it writes",
        path.display()
    )]
    NoOutputHook { path: PathBuf },
    /// A tool's format has no SAE that computes the same.
    #[error(
        "{} cannot be written for {format}: {reason}; the form `{instead}` can hold it",
        path.display()
    )]
    NotExpressible {
        path: PathBuf,
        /// The tool.
        format: &'static str,
        /// The difference.
        reason: String,
        /// A form that can hold the SAE.
        instead: SaveForm,
    },
    /// An SAE has a tensor that is not a weight of its architecture.
    #[error("{}: tensor `{tensor}` is not a weight of a {architecture} SAE", path.display())]
    UnexpectedSaeTensor {
        path: PathBuf,
        tensor: String,
        /// The architecture.
        architecture: &'static str,
    },
}
