//! Activations in segments: of a model as it runs, of a store on disk, of one file, in memory.

mod file_activations;
mod manifest;
mod model_activations;
mod origins;
mod source;
mod store;
mod store_writer;

pub use file_activations::ActivationSegments;
pub use manifest::{HookWidth, StorePart, StoreSettings, TextFileInfo, TextInfo};
pub use model_activations::{LiveSegments, contexts_in, widths};
pub use origins::Origins;
pub use source::{InMemory, Rows, Segments};
pub use store::ActivationStore;
pub use store_writer::{ActivationStoreWriter, free_space};
