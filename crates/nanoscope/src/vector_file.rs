use std::collections::BTreeSet;
use std::path::PathBuf;

use nanoscope_checkpoint::load_vector;
use nanoscope_runtime::{Intervention, Target, VectorName};

use crate::error::{Error, Result};

/// A steering vector in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VectorFile {
    /// The name by which interventions call it.
    pub name: VectorName,
    /// The file: safetensors, `.pt`, `.npz`, or a control vector in GGUF.
    pub path: PathBuf,
    /// The tensor in the file, where it has several.
    pub key: Option<String>,
}

impl VectorFile {
    /// Reads the vector as `interventions` use it. A control vector has one direction per layer; the
    /// layer follows from the hook points at which it is used.
    ///
    /// # Errors
    /// [`Error::UnusedVector`], [`Error::VectorInSeveralLayers`], and [`Error::Checkpoint`] if the file
    /// cannot be read.
    pub fn load(&self, interventions: &[Intervention]) -> Result<(VectorName, Vec<f32>)> {
        let Self { name, path, key } = self;
        let uses = interventions.iter().filter(|used| used.target == Target::Vector(name.clone()));
        let layers: BTreeSet<_> = uses.map(|used| used.hook.layer()).collect();
        if layers.is_empty() {
            return Err(Error::UnusedVector { name: name.to_string() });
        }
        if key.is_none() && layers.len() > 1 && path.extension().is_some_and(|ext| ext == "gguf") {
            return Err(Error::VectorInSeveralLayers { name: name.to_string() });
        }
        let layer = layers.first().copied().flatten();
        Ok((name.clone(), load_vector(path, key.as_deref(), layer)?))
    }
}
