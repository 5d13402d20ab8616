//! Rendering of a compiled template, which other people wrote.

use std::sync::Arc;

use minijinja::{Environment, Error};
use serde_json::{Map, Value as Json};

/// Renders the template `name` in a thread of its own. Some operations of the engine overflow, and some take
/// no fuel but time without end: adding a list to itself some forty times. That thread goes on alone.
#[cfg(not(target_arch = "wasm32"))]
pub(super) fn rendered(
    environment: &Arc<Environment<'static>>,
    name: &'static str,
    context: Map<String, Json>,
) -> Result<String, Error> {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use crate::catch_panic::catch_panic;

    /// As much as a main thread has.
    const STACK_BYTES: usize = 8 << 20;

    /// A rendering takes milliseconds.
    const MAX_TIME: Duration = Duration::from_secs(5);

    let failed = |detail: String| Error::new(minijinja::ErrorKind::InvalidOperation, detail);
    let environment = Arc::clone(environment);
    let (sender, receiver) = mpsc::channel();
    let work = move || {
        let context = minijinja::value::Serde(&context);
        let render = || environment.get_template(name)?.render(context);
        // Nobody listens any more if it took too long.
        let _ = sender.send(catch_panic(render));
    };
    thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(work)
        .map_err(|error| failed(format!("no thread for it: {error}")))?;
    match receiver.recv_timeout(MAX_TIME) {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(panic)) => Err(failed(panic)),
        Err(_) => Err(failed(format!("it does not end in {} seconds", MAX_TIME.as_secs()))),
    }
}

/// Renders the template `name`. A browser's worker has no second thread, and its page can end it.
#[cfg(target_arch = "wasm32")]
pub(super) fn rendered(
    environment: &Arc<Environment<'static>>,
    name: &'static str,
    context: Map<String, Json>,
) -> Result<String, Error> {
    environment.get_template(name)?.render(minijinja::value::Serde(&context))
}
