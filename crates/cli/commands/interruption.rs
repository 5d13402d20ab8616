use std::process::ExitCode;

use nanoscope_corpus::CorpusError;
use nanoscope_dashboard::DashboardError;
use nanoscope_index::IndexError;
use nanoscope_label::LabelError;

use crate::terminal::messages::note;
use crate::terminal::signals::exit_code;

/// Returns whether `error` says that a signal ended the work.
pub(crate) fn is_interruption(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(CorpusError::Interrupted))
        || matches!(error.downcast_ref(), Some(DashboardError::Interrupted))
        || matches!(error.downcast_ref(), Some(IndexError::Interrupted))
        || matches!(error.downcast_ref(), Some(LabelError::Interrupted))
        || is_interrupted_download(error)
}

/// Says that a signal ended the download of texts, and returns the code to exit with.
pub(crate) fn end_of_download() -> ExitCode {
    note("interrupted while downloading the texts; the same command continues");
    exit_code()
}

#[cfg(feature = "remote")]
fn is_interrupted_download(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(nanoscope_remote::RemoteError::Interrupted))
}

#[cfg(not(feature = "remote"))]
fn is_interrupted_download(_: &anyhow::Error) -> bool {
    false
}
