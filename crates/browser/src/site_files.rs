//! The scripts and styles of the site.

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../page/", $name)))),*]
    };
}

/// The files of the site that the server's page does not have, with their paths under `/assets/`; one takes the
/// place of the page's file of the same name. The script that wasm-bindgen writes is not among them.
pub fn site_files() -> &'static [(&'static str, &'static str)] {
    files![
        "client/transport.js",
        "site/engine.js",
        "site/gpu.js",
        "site/loading.js",
        "site/own.js",
        "site/processor.js",
        "site/rest.js",
        "site/site.css",
        "site/store.js",
        "site/worker.js",
    ]
}
