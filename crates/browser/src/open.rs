//! From the bytes of files to a model that is served.

use nanoscope::{Microscope, SaeOptions};
use nanoscope_checkpoint::CheckpointError;
use nanoscope_checkpoint::files::MemoryFolder;
use nanoscope_server::ServedModel;

use crate::error::OpenError;
use crate::files::{Files, find_model};

/// Opens the model in `model` with the SAEs in `saes`, or with those beside it.
pub(crate) fn open(
    model: &Files,
    saes: Option<&Files>,
    name: String,
    topics: Option<&str>,
) -> Result<ServedModel, OpenError> {
    let device = nanoscope::device("auto")?;
    let folder = model.folder()?;
    let (path, found) = find_model(folder.path())?;
    let mut scope = Microscope::open(path, &device)?;
    // The files stay until the indexes have been read.
    let saes: MemoryFolder = match saes {
        Some(saes) => {
            let saes = saes.folder()?;
            scope.add_saes([saes.path()], &SaeOptions::default())?;
            saes
        }
        None => {
            let beside = model.without(&found, folder.path()).folder()?;
            match scope.add_saes([beside.path()], &SaeOptions::default()) {
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

/// Returns whether the error is that there are no SAEs.
fn is_none(error: &CheckpointError) -> bool {
    matches!(error, CheckpointError::NoSae { .. })
}
