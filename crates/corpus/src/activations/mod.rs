//! Sources of activations (a model, a store on disk, a file, memory), and the writer of stores.

mod collected_from;
mod file_activations;
mod manifest;
mod model_activations;
mod origins;
mod source;
mod store;
mod store_files;
mod store_writer;

pub use collected_from::CollectedFrom;
pub use file_activations::FileActivations;
pub use manifest::{HookWidth, StorePart, StoreSettings, TextFileInfo, TextInfo};
pub use model_activations::{ModelActivations, contexts_within, hook_widths};
pub use origins::Origins;
pub use source::{ActivationBatch, ActivationSource, InMemoryActivations, SourceText, StoredFrom};
pub use store::ActivationStore;
pub use store_files::{collected_from_name, is_store_file, manifest_names, shard_names};
pub use store_writer::{ActivationStoreWriter, free_space};
