//! Automatic names for the features of an SAE, an index of them, a search by a word, and the strength at
//! which steering keeps a text fluent.
//!
//! A [`FeatureIndex`] is a small file beside an SAE: for each feature the tokens on which it fires most
//! strongly, those that it promotes and suppresses, its frequency, and three examples. It is made on a
//! text by `nanoscope train` or `nanoscope index`. [`FeatureNames`] gives every feature an automatic name,
//! from its index or, without one, from its weights. [`Search`] ranks features by their effect on the
//! probability of a word, and [`SteeringShares`] measures the strength at which they break a text.
//! [`FeatureIndex::measure_writing`] adds the words that the model writes with each feature.

mod automatic_name;
mod continuations;
mod entry;
mod error;
mod feature_index;
mod file;
mod fingerprint;
mod names;
mod promoted;
mod search;
mod shared_text;
mod shares;
mod token_text;
mod writing;
mod writing_options;

pub use automatic_name::{Firing, automatic_name};
pub use continuations::{Continuation, Continuations};
pub use entry::{FeatureEntry, IndexedExample};
pub use error::IndexError;
pub use feature_index::FeatureIndex;
pub use file::IndexFile;
pub use fingerprint::{fingerprint, mix};
pub use names::FeatureNames;
pub use promoted::promoted;
pub use search::{Evidence, Hit, Search, SearchOptions};
pub use shared_text::SharedText;
pub use shares::{SharesOptions, SteeringShares};
pub use token_text::{shown_token, token_text, visible};
pub use writing_options::{Writing, WritingOptions};
