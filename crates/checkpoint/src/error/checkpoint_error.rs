//! The error of reading and writing files.

use std::io;
use std::path::{Path, PathBuf};

#[cfg(feature = "gpt")]
use nanoscope_tokenizer::{MergeError, TokenizerError};
#[cfg(feature = "gpt")]
use nanoscope_transformer::{ConfigError, Era};
use thiserror::Error;

use crate::container::{Dtype, MatrixDtype, WeightDtype};
#[cfg(feature = "sae")]
use crate::error::SaeFileError;
#[cfg(feature = "gpt")]
use crate::error::message::eras;
use crate::error::message::{asked_for, at_folder, paths, some_of};
#[cfg(feature = "gpt")]
use crate::model::ModelKind;
use crate::pickle::PickleError;

/// An error from reading or writing a checkpoint, or a file that belongs to one.
///
/// In every variant `path` is the file or folder, `tensor` the name of a tensor in it, `key` the key
/// of a configuration, and `source` the cause.
#[derive(Debug, Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "these fields are the same in every variant")]
pub enum CheckpointError {
    /// The operating system refused.
    #[error("could not read or write {}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// The device cannot hold weights of this type.
    #[error("the device cannot hold the weights of {} as {dtype}", path.display())]
    DeviceDtype {
        /// The path of the weights.
        path: PathBuf,
        /// The type.
        dtype: MatrixDtype,
    },
    /// An output folder has content that is not of the kind to be written.
    #[error("{} contains `{found}` and is not a folder that was written in this format", path.display())]
    ForeignFolder {
        path: PathBuf,
        /// One of the names in it.
        found: String,
    },
    /// A file or folder does not exist.
    #[error("{}: no such file or directory", path.display())]
    NoSuchPath { path: PathBuf },
    /// A file is much larger than any of its kind.
    #[error("{} has more than {max} bytes", path.display())]
    FileTooLarge {
        path: PathBuf,
        /// Maximum size in bytes.
        max: u64,
    },
    /// A pickle is damaged, or refers to something that is not allowed.
    #[error("could not read the pickle {}", path.display())]
    Pickle { path: PathBuf, source: PickleError },
    /// A file is not valid JSON, or does not have the expected structure.
    #[error("could not read the JSON of {}", path.display())]
    Json { path: PathBuf, source: serde_json::Error },
    /// A directory has neither of the two tokenizer files.
    #[error("{} has no tokenizer.pkl and no tokenizer.json", dir.display())]
    NoTokenizer {
        /// The directory.
        dir: PathBuf,
    },
    /// A `tokenizer.json` is neither our own nor Hugging Face's.
    #[error(
        "{} is neither nanoscope's own tokenizer, which has a `format`, nor Hugging Face's, which \
         has a `model`",
        path.display()
    )]
    ForeignTokenizer { path: PathBuf },
    /// A Hugging Face tokenizer has an added token that is not special, and so is searched for in every
    /// text. None of nanochat's are.
    #[error("{}: the added token `{token}` is not special, which is not supported", path.display())]
    AddedToken {
        path: PathBuf,
        /// The token.
        token: String,
    },
    /// A Hugging Face tokenizer has a token that is not written in the byte-level alphabet.
    #[error("{}: the token `{token}` has a character outside the byte-level alphabet", path.display())]
    ForeignLetter {
        path: PathBuf,
        /// The token.
        token: String,
    },
    /// The merges of a Hugging Face tokenizer are invalid, or give other ids than nanochat would.
    #[cfg(feature = "gpt")]
    #[error("the merges in {} cannot be used", path.display())]
    Merges { path: PathBuf, source: MergeError },
    /// A `tokenizer.pkl` is a valid pickle, but not of a tokenizer.
    #[error("{} is not a pickled tokenizer: {what} is {found} instead of {expected}", path.display())]
    NotATokenizer {
        path: PathBuf,
        /// The part that differs.
        what: &'static str,
        expected: &'static str,
        found: String,
    },
    /// A vocabulary is invalid.
    #[cfg(feature = "gpt")]
    #[error("the tokenizer in {} cannot be used", path.display())]
    Tokenizer { path: PathBuf, source: TokenizerError },
    /// A `.pt` file is damaged, or `torch.save` cannot have written it.
    #[error("could not read the PyTorch file {}: {what}", path.display())]
    Pt {
        path: PathBuf,
        /// The cause.
        what: String,
    },
    /// The data of a tensor is missing or damaged.
    #[error("{}: could not read tensor `{tensor}`", path.display())]
    UnreadableTensor { path: PathBuf, tensor: String, source: io::Error },
    /// A file that should have tensors is of another kind.
    #[error("{} is not a safetensors, npz, npy, GGUF or torch.save file: it is {found}", path.display())]
    NotTorch { path: PathBuf, found: String },
    /// A file is the text that Git LFS has in place of one that was not downloaded.
    #[error("{} is a Git LFS pointer, not the file itself, which was not downloaded; get it with `git lfs pull`", path.display())]
    LfsPointer { path: PathBuf },
    /// A tensor has an element type that is not read.
    #[error("{}: tensor `{tensor}` is {dtype}, which is not read", path.display())]
    UnreadDtype {
        path: PathBuf,
        tensor: String,
        /// The element type, by the name that its container has for it.
        dtype: &'static str,
    },
    /// A tensor of 8-bit floats is to be multiplied by another one.
    #[error("{}: tensor `{tensor}` is float8 with the scale `{scale}`, which is not read", path.display())]
    ScaledFloat8 {
        path: PathBuf,
        tensor: String,
        /// The name of the tensor with its scale.
        scale: String,
    },
    /// A `.pt` file is compressed, so that a few bytes could expand without limit.
    #[error("{}: its entry `{entry}` is compressed, which torch.save never does", path.display())]
    Compressed {
        path: PathBuf,
        /// The entry of the zip.
        entry: String,
    },
    /// A `.pt` file mentions a Python object that is not a tensor. It was neither created nor called.
    #[error("{} contains the Python object `{name}`, which is refused: only tensors, numbers, strings, lists and dictionaries are read", path.display())]
    PythonObject {
        path: PathBuf,
        /// The object's class or function.
        name: String,
    },
    /// A tensor that should have integers of 32 or 64 bits has another element type.
    #[error("{}: tensor `{tensor}` has the element type {found}, expected i32 or i64", path.display())]
    NotIntegers { path: PathBuf, tensor: String, found: Dtype },
    /// A weight does not have floating-point numbers, as in quantized models.
    #[cfg(feature = "gpt")]
    #[error("{}: tensor `{tensor}` has the element type {found}, expected a floating-point type: quantized models are not supported", path.display())]
    NotFloats { path: PathBuf, tensor: String, found: Dtype },
    /// A safetensors file is damaged.
    #[error("could not read or write the safetensors file {}: {reason}", path.display())]
    Safetensors {
        path: PathBuf,
        /// The cause. Not a `source`, because its text repeats its own source.
        reason: safetensors::SafeTensorError,
    },
    /// A `.npz` file is damaged, or numpy's `savez` cannot have written it.
    #[error("could not read the npz file {}: {what}", path.display())]
    Npz {
        path: PathBuf,
        /// The cause, with the array.
        what: String,
    },
    /// A `.npy` file is damaged, or numpy cannot have written it.
    #[error("could not read the npy file {}: {what}", path.display())]
    Npy {
        path: PathBuf,
        /// The cause.
        what: String,
    },
    /// A GGUF file is damaged.
    #[error("could not read the GGUF file {}: {what}", path.display())]
    Gguf {
        path: PathBuf,
        /// The cause, with its place.
        what: String,
    },
    /// A file is not valid YAML, or uses features that no configuration needs.
    #[error("could not read the YAML of {}: {what}", path.display())]
    Yaml {
        path: PathBuf,
        /// The cause, with its place.
        what: String,
    },
    /// A tensor claims more bytes than its file has.
    #[error("{}: tensor `{tensor}` claims {claimed} bytes, but the file has {file_len}", path.display())]
    Oversized {
        path: PathBuf,
        tensor: String,
        /// Bytes that its shape requires.
        claimed: u64,
        /// Size of the file in bytes.
        file_len: u64,
    },
    /// A required tensor is missing.
    #[error("{} has no tensor `{tensor}`", path.display())]
    MissingTensor { path: PathBuf, tensor: String },
    /// A file does not have exactly one tensor, and no key selects one.
    #[cfg(feature = "sae")]
    #[error("{} has several tensors or none, and no key selects one; it has {}", path.display(), some_of(.tensors))]
    WhichTensor {
        path: PathBuf,
        /// The names of its tensors.
        tensors: Vec<String>,
    },
    /// A tensor does not have the shape that the configuration implies.
    #[error("{}: tensor `{tensor}` has shape {found:?}, expected {expected:?}", path.display())]
    ShapeMismatch { path: PathBuf, tensor: String, expected: Vec<usize>, found: Vec<usize> },
    /// A weight is NaN or infinite.
    #[error("{}: tensor `{tensor}` has a number that is not finite, at index {at}", path.display())]
    NotFinite {
        path: PathBuf,
        tensor: String,
        /// The index of the number in the tensor, row-major.
        at: usize,
    },
    /// A weight is beyond the largest number of the type that was asked for.
    #[error(
        "{}: tensor `{tensor}` has {value} at index {at}, and {dtype} ends at {}; {} it",
        path.display(),
        dtype.max(),
        if *dtype == WeightDtype::F16 { "bf16 and f32 hold" } else { "f32 holds" }
    )]
    TooLarge {
        path: PathBuf,
        tensor: String,
        /// The index of the number in the tensor, row-major.
        at: usize,
        /// The number.
        value: f32,
        /// The type.
        dtype: WeightDtype,
    },
    /// The path does not have a model.
    #[error("{} has no model: no model_<step>.pt, no folder of them, no model.safetensors, no model.safetensors.index.json", path.display())]
    NoModel { path: PathBuf },
    /// A repository is not in Hugging Face's cache.
    #[error(
        "{}: no such file or directory, and no {repository} in Hugging Face's cache{}; nothing is downloaded",
        name.display(), at_folder(.cache.as_deref())
    )]
    NotInCache {
        /// The path or the repository's name, as given.
        name: PathBuf,
        /// The name of the repository's folder in a cache.
        repository: String,
        /// The folder of the cache; `None` if the user has no home folder.
        cache: Option<PathBuf>,
    },
    /// The path has several models, and nothing says which one is meant.
    #[error("{} has several models; name one of {}", path.display(), paths(.folders))]
    SeveralModels {
        path: PathBuf,
        /// The folder of each.
        folders: Vec<PathBuf>,
    },
    /// The weights have names with an unknown prefix.
    #[error("{}: its weights are named `{prefix}…`, a prefix that is not known; expected any of {known}", path.display())]
    UnknownPrefix {
        path: PathBuf,
        prefix: String,
        /// The known parts of prefixes.
        known: String,
    },
    /// The file has the weights of several models.
    #[error("{} has the weights of several models, under {}", path.display(), some_of(.prefixes))]
    SeveralPrefixes {
        path: PathBuf,
        /// The prefixes of their names.
        prefixes: Vec<String>,
    },
    /// The configuration of the weights is missing.
    #[error("{} has no configuration, neither inside nor beside it", path.display())]
    NoConfig { path: PathBuf },
    /// A configuration was written by another program.
    #[error("{} is not a nanoscope configuration: it has {found}", path.display())]
    ForeignConfig { path: PathBuf, found: String },
    /// A model's configuration is invalid.
    #[cfg(feature = "gpt")]
    #[error("the configuration in {} is invalid", path.display())]
    Config { path: PathBuf, source: ConfigError },
    /// The weights belong to an architecture that was never released.
    #[cfg(feature = "gpt")]
    #[error("{} belongs to era {what}, an experiment of a few hours that is not supported", path.display())]
    UnsupportedEra {
        path: PathBuf,
        /// The era, and how it was recognised.
        what: &'static str,
    },
    /// The weights do not fit the requested era.
    #[cfg(feature = "gpt")]
    #[error("{} does not fit era {asked}: {}", path.display(), eras(.fits))]
    EraMismatch {
        path: PathBuf,
        /// The requested era.
        asked: Era,
        /// The eras that the weights fit.
        fits: Vec<Era>,
    },
    /// There is a tensor that a model of the kind does not have.
    #[cfg(feature = "gpt")]
    #[error("{}: tensor `{tensor}` is not a weight of {kind} of this size", path.display())]
    UnexpectedTensor {
        path: PathBuf,
        tensor: String,
        /// The kind of the other weights.
        kind: ModelKind,
    },
    /// The files of an SAE cannot be read or written.
    #[cfg(feature = "sae")]
    #[error(transparent)]
    SaeFile(#[from] SaeFileError),
    /// A configuration has a key whose effect is unknown.
    #[error("{} has the unknown key `{key}`", path.display())]
    UnknownKey { path: PathBuf, key: String },
    /// A configuration contradicts the weights beside it.
    #[error("{}: {key} is {found}, but the weights have {expected}", path.display())]
    Contradicted { path: PathBuf, key: &'static str, found: String, expected: String },
    /// The path of a file lacks information that is nowhere else.
    #[error("the path {} does not give {what}, as `{example}` would", path.display())]
    NotInPath {
        path: PathBuf,
        /// The missing information.
        what: &'static str,
        /// A name that gives it.
        example: &'static str,
    },
    /// A file does not have the requested tensor, or has several where none was requested.
    #[error("{}: {}; it has {}", path.display(), asked_for(.key.as_deref()), some_of(.known))]
    NoSuchVector {
        path: PathBuf,
        key: Option<String>,
        /// The names of its tensors.
        known: Vec<String>,
    },
    /// A tensor is not a matrix.
    #[error("{}: tensor `{tensor}` has shape {found:?}, expected a matrix", path.display())]
    NotAMatrix { path: PathBuf, tensor: String, found: Vec<usize> },
    /// A tensor is not a vector.
    #[error("{}: tensor `{tensor}` has shape {found:?}, expected a vector", path.display())]
    NotAVector { path: PathBuf, tensor: String, found: Vec<usize> },
    /// Activations have another width than the SAE.
    #[error(
        "{}: tensor `{tensor}` has shape {found:?}; the SAE reads activations of {d_in} numbers, [..., {d_in}]",
        path.display()
    )]
    ActivationWidth { path: PathBuf, tensor: String, found: Vec<usize>, d_in: usize },
    /// The last two dimensions of activations multiply to the width of the SAE, and only heads are
    /// concatenated like this.
    #[error(
        "{}: tensor `{tensor}` has shape {found:?}: its rows have {} numbers, and only its last two dimensions together have the {d_in} of the SAE",
        path.display(), found.last().unwrap_or(&0)
    )]
    Heads { path: PathBuf, tensor: String, found: Vec<usize>, d_in: usize },
    /// A configuration lacks a required key.
    #[error("{} has no key `{key}`", path.display())]
    MissingKey { path: PathBuf, key: &'static str },
    /// A file is of a known kind that is not supported.
    #[error("{}: {what} is not supported", path.display())]
    Unsupported {
        path: PathBuf,
        /// The kind.
        what: String,
    },
    /// A key has an unknown value.
    #[error("{}: {key} is `{found}` (expected {known})", path.display())]
    UnknownValue {
        path: PathBuf,
        key: &'static str,
        found: String,
        /// The known values.
        known: &'static str,
    },
    /// An index names a file outside its own folder.
    #[cfg(feature = "gpt")]
    #[error("{} names the shard `{shard}`, which is not the name of a file beside it", path.display())]
    ShardOutside {
        path: PathBuf,
        /// The name in the index.
        shard: String,
    },
    /// A file that an index names is missing.
    #[cfg(feature = "gpt")]
    #[error("{} names the shard `{shard}`, which does not exist", path.display())]
    MissingShard {
        path: PathBuf,
        /// The file's name.
        shard: String,
    },
    /// A shard has a tensor that the index does not assign to it.
    #[cfg(feature = "gpt")]
    #[error("{}: the index does not assign tensor `{tensor}` to this shard", path.display())]
    NotInIndex { path: PathBuf, tensor: String },
    /// A label belongs to a feature that the SAE does not have.
    #[cfg(feature = "sae")]
    #[error("{} has a label for `{key}`, which is not a feature index from 0 to {}", path.display(), .d_sae - 1)]
    LabelOfNoFeature {
        path: PathBuf,
        key: String,
        /// The number of features.
        d_sae: usize,
    },
    /// A line of an explanations file is invalid.
    #[cfg(feature = "sae")]
    #[error("{}, line {line}: {what}", path.display())]
    Explanation {
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        what: String,
    },
    /// There is neither a model nor an SAE at the path.
    #[error("{} has neither a model nor an SAE", path.display())]
    NothingKnown { path: PathBuf },
}

impl CheckpointError {
    /// An IO error at `path`.
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::NoSuchPath { path },
            _ => Self::Io { path, source },
        }
    }

    /// The error of the number `value` at `at` of a tensor, which `dtype` cannot hold.
    pub(crate) fn cannot_hold(
        path: &Path,
        tensor: &str,
        at: usize,
        (value, dtype): (f32, WeightDtype),
    ) -> Self {
        let (path, tensor) = (path.to_owned(), tensor.to_owned());
        if value.is_finite() {
            Self::TooLarge { path, tensor, at, value, dtype }
        } else {
            Self::NotFinite { path, tensor, at }
        }
    }
}
