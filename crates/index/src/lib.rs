//! What the features of an SAE are: automatic names, an index, a search, and the strength at which steering
//! keeps a text fluent.
//!
//! A [`FeatureIndex`] is a small file beside an SAE: for each feature the tokens on which it fires most
//! strongly, those that it promotes and suppresses, how often it fires, and three examples. It is made on a
//! text by `nanoscope train` or `nanoscope index`. [`FeatureNames`] gives every feature an automatic name,
//! from its index or, without one, from its weights. [`Search`] ranks features by how well they write a
//! word, and [`SteeringShares`] measures how far they can be turned up.

mod automatic_name;
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

pub use automatic_name::{Firing, automatic_name};
pub use entry::{FeatureEntry, IndexedExample};
pub use error::IndexError;
pub use feature_index::FeatureIndex;
pub use fingerprint::{fingerprint, mix};
pub use names::FeatureNames;
pub use promoted::promoted;
pub use search::{Evidence, Hit, Search, SearchOptions};
pub use shared_text::SharedText;
pub use shares::{SharesOptions, SteeringShares};
pub use token_text::{shown_token, token_text, visible};
