//! Corpora of text, their tokens, and a model's activations on them.
//!
//! A [`Corpus`] is a list of text files. A [`TokenizedCorpus`] holds its tokens in contexts of
//! equal length, and [`ModelActivations`] computes a model's activations on them on demand. An
//! [`ActivationStoreWriter`] writes these to a folder, which an [`ActivationStore`] reads. Both
//! sources implement [`ActivationSource`], so an SAE can be trained on either.
//!
//! ```
//! use nanoscope_corpus::{ActivationSource, Corpus, CorpusOptions, InMemoryActivations};
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
//! let activations = vec![1., 2., 3., 4., 5., 6.];
//! let mut segments = InMemoryActivations::new(HookPoint::ResidPost(0), 2, activations, 2);
//! assert_eq!((segments.len(), segments.rows(1)), (2, 1));
//! assert_eq!(segments.segment(1)?.at[0], [5.0, 6.0]);
//! # Ok(())
//! # }
//! ```
//!
//! Everything is streamed: a corpus may be larger than memory, and a store is read one shard at a
//! time. This crate does not use the activations for anything.

mod activations;
mod digest;
mod error;
mod text;
mod tokens;

pub use activations::{
    ActivationBatch, ActivationSource, ActivationStore, ActivationStoreWriter, CollectedFrom,
    FileActivations, HookWidth, InMemoryActivations, ModelActivations, Origins, SourceText,
    StorePart, StoreSettings, StoredFrom, TextFileInfo, TextInfo, collected_from_name,
    contexts_within, free_space, hook_widths, is_store_file, manifest_names, shard_names,
};
pub use digest::{file_sha256, files_sha256, text_sha256};
pub use error::CorpusError;
pub use text::{
    Corpus, CorpusOptions, Document, Documents, MAX_TEXT_BYTES, PassedOver, TextFile, is_text_name,
};
pub use tokens::{Context, SpecialTokens, TokenizeOptions, TokenizeProgress, TokenizedCorpus};
