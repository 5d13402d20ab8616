//! Text into tokens, tokens into activations: corpora, contexts, activation stores.
//!
//! A [`Corpus`] is files of text, [`TokenizedCorpus`] are its tokens in contexts of equal length, and
//! [`ModelActivations`] a model's activations on them as they are asked for. A [`ActivationStoreWriter`] writes
//! these to a folder, which an [`ActivationStore`] reads. Both are [`ActivationSource`], so that training on
//! the one is training on the other.
//!
//! ```
//! use nanoscope_corpus::{Corpus, CorpusOptions, InMemoryActivations, ActivationSource};
//! use nanoscope_hooks::HookPoint;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let dir = tempfile::tempdir()?;
//! let path = dir.path().join("stories.txt");
//! std::fs::write(&path, "Once upon a time.\n<|endoftext|>\nThe end.")?;
//! let corpus = Corpus::open(&[path], &CorpusOptions::default())?;
//! assert_eq!(corpus.bytes(), 40);
//!
//! // Three activations of two numbers, in segments of two.
//! let mut segments = InMemoryActivations::new(HookPoint::ResidPost(0), 2, vec![1., 2., 3., 4., 5., 6.], 2);
//! assert_eq!((segments.len(), segments.rows(1)), (2, 1));
//! assert_eq!(segments.segment(1)?.at[0], [5.0, 6.0]);
//! # Ok(())
//! # }
//! ```
//!
//! All of it streams: a corpus may be larger than memory, and of a store one shard is read at a
//! time. What the activations are used for is others' business.

mod activations;
mod digest;
mod error;
mod text;
mod tokens;

pub use activations::{
    ActivationBatch, ActivationSource, ActivationStore, ActivationStoreWriter, FileActivations,
    HookWidth, InMemoryActivations, ModelActivations, Origins, StorePart, StoreSettings,
    TextFileInfo, TextInfo, contexts_within, free_space, hook_widths,
};
pub use digest::{file_sha256, files_sha256, text_sha256};
pub use error::CorpusError;
pub use text::{Corpus, CorpusOptions, Document, Documents, MAX_TEXT_BYTES, TextFile};
pub use tokens::{Context, SpecialTokens, TokenizeOptions, TokenizeProgress, TokenizedCorpus};
