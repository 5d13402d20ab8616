//! Why a file could not be read or written.

use std::io;
use std::path::{Path, PathBuf};

#[cfg(feature = "sae")]
use nanoscope_hooks::HookError;
#[cfg(feature = "sae")]
use nanoscope_hooks::HookPoint;
#[cfg(feature = "sae")]
use nanoscope_sae::SaeError;
#[cfg(feature = "gpt")]
use nanoscope_tokenizer::{MergeError, TokenizerError};
#[cfg(feature = "gpt")]
use nanoscope_transformer::{ConfigError, Era};
use pytorch_reader::PytorchError;
use thiserror::Error;

use crate::pickle::PickleError;

/// Why a checkpoint, or a file that belongs to one, could not be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The operating system refuses.
    #[error("could not read or write {}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A file is far larger than any of its kind.
    #[error("{} has more than {max} bytes", path.display())]
    FileTooLarge {
        /// The file.
        path: PathBuf,
        /// Most bytes that are read.
        max: u64,
    },
    /// A pickle is broken, or asks for something that is not allowed.
    #[error("could not read the pickle {}", path.display())]
    Pickle {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: PickleError,
    },
    /// A file is not JSON, or not of the expected shape.
    #[error("could not read the JSON of {}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What the parser says, with line and column.
        source: serde_json::Error,
    },
    /// A directory has neither of the two tokenizer files.
    #[error("{} has no tokenizer.pkl and no tokenizer.json", dir.display())]
    NoTokenizer {
        /// The directory.
        dir: PathBuf,
    },
    /// A `tokenizer.json` says nothing that a tokenizer of ours or of Hugging Face's says.
    #[error(
        "{} is neither nanoscope's own tokenizer, which has a `format`, nor Hugging Face's, which \
         has a `model`",
        path.display()
    )]
    ForeignTokenizer {
        /// The file.
        path: PathBuf,
    },
    /// A Hugging Face tokenizer has a token that is looked for in every text, which none of
    /// nanochat's is.
    #[error("{}: the added token `{token}` is not special, which is not supported", path.display())]
    AddedToken {
        /// The file.
        path: PathBuf,
        /// The token.
        token: String,
    },
    /// A Hugging Face tokenizer has a token that is not written in letters for bytes.
    #[error("{}: the token `{token}` has a character that stands for no byte", path.display())]
    ForeignLetter {
        /// The file.
        path: PathBuf,
        /// The token.
        token: String,
    },
    /// The merges of a Hugging Face tokenizer make no sense, or other ids than nanochat would.
    #[cfg(feature = "gpt")]
    #[error("the merges in {} cannot be used", path.display())]
    Merges {
        /// The file.
        path: PathBuf,
        /// What is wrong with them.
        source: MergeError,
    },
    /// A `tokenizer.pkl` is a sound pickle, but not of a tokenizer.
    #[error("{} is not a pickled tokenizer: {what} is {found} instead of {expected}", path.display())]
    NotATokenizer {
        /// The file.
        path: PathBuf,
        /// The part that is different.
        what: &'static str,
        /// What it has to be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// A vocabulary cannot be used.
    #[cfg(feature = "gpt")]
    #[error("the tokenizer in {} cannot be used", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: TokenizerError,
    },
    /// A `.pt` file is damaged, or of a kind that no `torch.save` writes.
    #[error("could not read the PyTorch file {}: {reason}", path.display())]
    Pt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it. Not a `source`: its text repeats its own.
        reason: PytorchError,
    },
    /// A tensor's numbers are not there, or damaged.
    #[error("{}: could not read tensor `{tensor}`", path.display())]
    UnreadableTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What is wrong with it, or what the operating system says.
        source: io::Error,
    },
    /// A file that should hold tensors is of another kind.
    #[error("{} is neither a safetensors file nor npz, GGUF or a zip of torch.save, but {found}", path.display())]
    NotTorch {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: String,
    },
    /// A `.pt` file is compressed, which could make anything of a few bytes.
    #[error("{}: `{entry}` in it is compressed, torch.save compresses nothing", path.display())]
    Compressed {
        /// The file.
        path: PathBuf,
        /// The entry of the zip.
        entry: String,
    },
    /// A `.pt` file mentions a Python object that is no tensor; it was not made or called.
    #[error("{} holds a Python object `{name}`, which is refused: only tensors, numbers, texts, lists and dictionaries are read", path.display())]
    PythonObject {
        /// The file.
        path: PathBuf,
        /// The object's class or function.
        name: String,
    },
    /// A tensor that should hold whole numbers of 32 or 64 bits holds others.
    #[error("tensor `{tensor}` in {} is of {found}, not of i32 or i64", path.display())]
    NotIntegers {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its type.
        found: crate::Dtype,
    },
    /// A safetensors file is damaged.
    #[error("could not read or write the safetensors file {}: {reason}", path.display())]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it. Not a `source`: its text repeats its own.
        reason: safetensors::SafeTensorError,
    },
    /// A `.npz` file is damaged, or of a kind that numpy's `savez` does not write.
    #[error("could not read the npz file {}: {what}", path.display())]
    Npz {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and in which array.
        what: String,
    },
    /// A GGUF file is damaged.
    #[error("could not read the GGUF file {}: {what}", path.display())]
    Gguf {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        what: String,
    },
    /// A file is not YAML, or has in it what no configuration needs.
    #[error("could not read the YAML of {}: {what}", path.display())]
    Yaml {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        what: String,
    },
    /// A tensor claims more bytes than its file has.
    #[error("{}: tensor `{tensor}` claims {claimed} bytes, the file has {file_len}", path.display())]
    Oversized {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Bytes that its shape asks for.
        claimed: u64,
        /// Bytes that the file has.
        file_len: u64,
    },
    /// A tensor that is needed is not there.
    #[error("{} has no tensor `{tensor}`", path.display())]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// A file has not exactly one tensor, and nothing says which is meant.
    #[cfg(feature = "sae")]
    #[error("{} has several tensors or none, and no key says which is meant; there are {}", path.display(), some_of(.tensors))]
    WhichTensor {
        /// The file.
        path: PathBuf,
        /// What is in it.
        tensors: Vec<String>,
    },
    /// A tensor has another shape than the configuration says.
    #[error("{}: tensor `{tensor}` has shape {found:?}, expected {expected:?}", path.display())]
    ShapeMismatch {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shape that follows from the configuration, as files have it.
        expected: Vec<usize>,
        /// The shape in the file.
        found: Vec<usize>,
    },
    /// A weight is NaN or infinite.
    #[error("{}: tensor `{tensor}` has a number that is not finite, at index {at}", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The number's place in the tensor, row-major.
        at: usize,
    },
    /// There is no model at a path.
    #[error("{} has no model: no model_<step>.pt, no folder of them, no model.safetensors", path.display())]
    NoModel {
        /// The folder.
        path: PathBuf,
    },
    /// Nothing says what sizes the weights have.
    #[error("{} has no configuration, neither inside nor beside it", path.display())]
    NoConfig {
        /// The file with the weights.
        path: PathBuf,
    },
    /// A configuration is of another program.
    #[error("{} is not a nanoscope configuration: it says {found}", path.display())]
    ForeignConfig {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: String,
    },
    /// A model's configuration makes no model.
    #[cfg(feature = "gpt")]
    #[error("the configuration in {} makes no model", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ConfigError,
    },
    /// The weights belong to an architecture that was never released.
    #[cfg(feature = "gpt")]
    #[error("{} is of era {what}, an experiment of a few hours that is not supported", path.display())]
    UnsupportedEra {
        /// The file.
        path: PathBuf,
        /// The era, and by what it was recognised.
        what: &'static str,
    },
    /// The weights do not belong to the era that was asked for.
    #[cfg(feature = "gpt")]
    #[error("{} is not of era {asked}: its weights fit {}", path.display(), list(.fits))]
    EraMismatch {
        /// The file.
        path: PathBuf,
        /// The era that was asked for.
        asked: Era,
        /// The eras that the weights fit.
        fits: Vec<Era>,
    },
    /// A tensor is there that the era's model does not have.
    #[cfg(feature = "gpt")]
    #[error("{}: tensor `{tensor}` is no weight of an era {era} model of these sizes", path.display())]
    UnexpectedTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The era that the other weights are of.
        era: Era,
    },
    /// There is no SAE at a path.
    #[cfg(feature = "sae")]
    #[error(
        "{} has no SAE of any known format: no best_model.pt, sae_weights.safetensors, params.npz, \
         params.safetensors, sae.safetensors, checkpoints/final.safetensors with hyperparams.json, \
         layer_<i>.safetensors with config.yaml, ae.pt or other .pt or .pth",
        path.display()
    )]
    NoSae {
        /// The folder.
        path: PathBuf,
    },
    /// A file holds something else than an SAE.
    #[cfg(feature = "sae")]
    #[error("{} is no SAE of a known format: its tensors are {}", path.display(), some_of(.tensors))]
    NotAnSae {
        /// The file.
        path: PathBuf,
        /// What is in it.
        tensors: Vec<String>,
    },
    /// Nothing says which activation an SAE reads.
    #[cfg(feature = "sae")]
    #[error("nothing says at which hook point the SAE in {} belongs", path.display())]
    NoHook {
        /// The file.
        path: PathBuf,
    },
    /// Two SAEs are for one hook point, and nothing says which is meant.
    #[cfg(feature = "sae")]
    #[error("two SAEs for {hook}: {} and {}", first.display(), second.display())]
    TwoSaes {
        /// The hook point.
        hook: HookPoint,
        /// One file.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// A folder has several SAEs where one was asked for.
    #[cfg(feature = "sae")]
    #[error("{} has more than one SAE: {} and {}", path.display(), first.display(), second.display())]
    SeveralSaes {
        /// The folder.
        path: PathBuf,
        /// One file.
        first: PathBuf,
        /// Another.
        second: PathBuf,
    },
    /// An SAE's configuration or weights make no SAE.
    #[cfg(feature = "sae")]
    #[error("the SAE in {} cannot be used", path.display())]
    Sae {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: SaeError,
    },
    /// An SAE's configuration names no hook point.
    #[cfg(feature = "sae")]
    #[error("the hook point in {} cannot be used", path.display())]
    Hook {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: HookError,
    },
    /// nanochat-SAE has no name for a hook point, and would take ours for another.
    #[cfg(feature = "sae")]
    #[error(
        "{} cannot be written: nanochat-SAE has no hook point {hook}, only blocks.N.hook_resid_post, \
         hook_attn_out and hook_mlp_out",
        path.display()
    )]
    HookNotInReference {
        /// The file.
        path: PathBuf,
        /// The hook point.
        hook: HookPoint,
    },
    /// A tool has no form for an SAE in which it would compute the same.
    #[cfg(feature = "sae")]
    #[error("{} cannot be written for {format}: {reason}", path.display())]
    NotExpressible {
        /// The file.
        path: PathBuf,
        /// The tool that is to read it.
        format: &'static str,
        /// What it would do otherwise.
        reason: String,
    },
    /// An SAE has a weight that its architecture does not have.
    #[cfg(feature = "sae")]
    #[error("{}: tensor `{tensor}` is no weight of a {architecture} SAE", path.display())]
    UnexpectedSaeTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The architecture.
        architecture: &'static str,
    },
    /// A configuration has a key that means nothing to us, so what it does is not known.
    #[error("{} has the unknown key `{key}`", path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
    },
    /// A configuration says something else than the weights beside it.
    #[error("{}: {key} is {found}, the weights say {expected}", path.display())]
    Contradicted {
        /// The configuration.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// Its value.
        found: String,
        /// What the weights say.
        expected: String,
    },
    /// The names of a file's folders do not say what nothing else says.
    #[error("nothing in the path {} says {what}, as `{example}` would", path.display())]
    NotInPath {
        /// The file.
        path: PathBuf,
        /// What is not known.
        what: &'static str,
        /// A name that says it.
        example: &'static str,
    },
    /// A file has no tensor of the name that was asked for, or several where none was.
    #[error("{}: {}; it has {}", path.display(), asked_for(.key.as_deref()), some_of(.known))]
    NoSuchVector {
        /// The file.
        path: PathBuf,
        /// The name asked for.
        key: Option<String>,
        /// The tensors that there are.
        known: Vec<String>,
    },
    /// A tensor is no matrix.
    #[error("{}: tensor `{tensor}` has shape {found:?}, expected a matrix", path.display())]
    NotAMatrix {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
    },
    /// A tensor is no vector.
    #[error("{}: tensor `{tensor}` has shape {found:?}, expected a vector", path.display())]
    NotAVector {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
    },
    /// A configuration lacks a key that decides what is computed.
    #[error("{} has no key `{key}`", path.display())]
    MissingKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
    },
    /// A file is of a kind that is known, and that nothing here computes.
    #[error("{}: {what} is not supported", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The kind.
        what: String,
    },
    /// A key has a value that means nothing to us.
    #[error("{}: {key} is `{found}`; known are {known}", path.display())]
    UnknownValue {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// Its value.
        found: String,
        /// The values that are known.
        known: &'static str,
    },
    /// An index names a file that is not one of its own folder.
    #[cfg(feature = "gpt")]
    #[error("{} names the shard `{shard}`, which is no name of a file beside it", path.display())]
    ShardOutside {
        /// The index.
        path: PathBuf,
        /// What it names.
        shard: String,
    },
    /// A file that an index names is not there.
    #[cfg(feature = "gpt")]
    #[error("{} names the shard `{shard}`, which is not there", path.display())]
    MissingShard {
        /// The index.
        path: PathBuf,
        /// The file's name.
        shard: String,
    },
    /// A shard has a tensor that the index does not say is there.
    #[cfg(feature = "gpt")]
    #[error("{}: tensor `{tensor}` is not where the index says", path.display())]
    NotInIndex {
        /// The shard.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// A label is for a feature that the SAE does not have.
    #[cfg(feature = "sae")]
    #[error("{} labels `{key}`, which is no feature of 0 to {}", path.display(), .d_sae - 1)]
    LabelOfNoFeature {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// Features that there are.
        d_sae: usize,
    },
    /// A line of a file of explanations is broken.
    #[cfg(feature = "sae")]
    #[error("{}, line {line}: {what}", path.display())]
    Explanation {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// Neither a model nor an SAE lies at a path.
    #[error("{} has neither a model nor an SAE", path.display())]
    NothingKnown {
        /// The folder.
        path: PathBuf,
    },
}

fn asked_for(key: Option<&str>) -> String {
    key.map_or("which tensor is meant must be said".to_owned(), |key| format!("no tensor `{key}`"))
}

/// The first few of `names`.
fn some_of(names: &[String]) -> String {
    const SHOWN: usize = 8;
    match names {
        [] => "none".to_owned(),
        _ if names.len() <= SHOWN => names.join(", "),
        _ => format!("{}, and {} more", names[..SHOWN].join(", "), names.len() - SHOWN),
    }
}

#[cfg(feature = "gpt")]
fn list(eras: &[Era]) -> String {
    eras.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl CheckpointError {
    /// An IO error with the file it happened on.
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }
}
