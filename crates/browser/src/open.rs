//! From the bytes of files to a model that is served.

use nanoscope::burn::tensor::Device;
use nanoscope::{Microscope, SaeOptions, WeightDtype};
use nanoscope_checkpoint::files::MemoryFolder;
use nanoscope_checkpoint::{CheckpointError, SaeFileError};
use nanoscope_server::ServedModel;

use crate::error::OpenError;
use crate::files::{Files, find_model};

/// The size in bytes up to which SAEs are held in float32. WebAssembly has no instruction that converts float16,
/// and a third of the time for a token of the demo went into converting its SAEs.
const SMALL: usize = 64 << 20;

/// Opens the model in `model` on `device` with the SAEs in `saes`, or with those beside it.
pub(crate) fn open(
    device: &Device,
    model: &Files,
    saes: Option<&Files>,
    name: String,
    topics: Option<&str>,
) -> Result<ServedModel, OpenError> {
    let folder = model.folder()?;
    let (path, found) = find_model(folder.path())?;
    let mut scope = Microscope::open(path, device)?;
    // The files stay until the indexes have been read.
    let saes: MemoryFolder = match saes {
        Some(saes) => {
            let (options, saes) = (options(saes), saes.folder()?);
            scope.add_saes([saes.path()], &options)?;
            saes
        }
        None => {
            let beside = model.without(&found, folder.path());
            let (options, beside) = (options(&beside), beside.folder()?);
            match scope.add_saes([beside.path()], &options) {
                Err(nanoscope::Error::Checkpoint(error)) if is_none(&error) => {}
                added => added?,
            }
            beside
        }
    };
    scope.names().read_all();
    drop(saes);
    let mut served = ServedModel::new(scope, name);
    if let Some(topics) = topics {
        served.topics = serde_json::from_str(topics)?;
    }
    Ok(served)
}

/// The options for the SAEs in `files`.
fn options(files: &Files) -> SaeOptions {
    let dtype = (files.size() <= SMALL).then(|| WeightDtype::F32.into());
    SaeOptions { dtype, ..SaeOptions::default() }
}

/// Returns whether the error is that there are no SAEs.
fn is_none(error: &CheckpointError) -> bool {
    matches!(error, CheckpointError::SaeFile(SaeFileError::NoSae { .. }))
}
