use wasm_bindgen::JsValue;

/// Errors from opening a model in the browser.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The model, its tokenizer or an SAE cannot be read.
    #[error(transparent)]
    Model(#[from] nanoscope::Error),
    /// A file cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] nanoscope_checkpoint::CheckpointError),
    /// The names of the files are not those of a folder.
    #[error(transparent)]
    Files(#[from] nanoscope_checkpoint::files::MemoryFolderError),
    /// The backend is not available.
    #[error(transparent)]
    Device(#[from] nanoscope::DeviceError),
    /// An index cannot be read.
    #[error(transparent)]
    Runtime(#[from] nanoscope::RuntimeError),
    /// The model cannot be served.
    #[error(transparent)]
    Serve(#[from] nanoscope_server::ServeError),
    /// The topics are not in their format.
    #[error("the topics are damaged")]
    Topics(#[from] serde_json::Error),
}

impl From<OpenError> for JsValue {
    /// An `Error` with the text and its causes, in which the folder in memory is not named.
    fn from(error: OpenError) -> Self {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        js_sys::Error::new(&without_memory(&text)).into()
    }
}

/// Removes `memory:N/` before the names of files.
fn without_memory(text: &str) -> String {
    let mut parts = text.split("memory:");
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        let inside = rest.strip_prefix('/');
        if inside.is_none() {
            kept.push_str("the folder");
        }
        kept.push_str(inside.unwrap_or(rest));
    }
    kept
}
