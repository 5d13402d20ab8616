//! The flags of `nanoscope site`.

use std::path::PathBuf;

use clap::Args;

/// Write the server's page with the built-in model as a folder for any web server, which runs the model in
/// the browser
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nanoscope site --out site --browser target/browser
  python3 -m http.server --directory site
      then open http://127.0.0.1:8000/

The folder opens from any web server that serves files, GitHub Pages for example, in any subfolder.
The model runs in the visitor's browser; the server sees nothing but requests for the files. Visitors
can open models and SAEs of their own, which stay on their machine.

The program for browsers is built from the sources, once for each version:
  rustup target add wasm32-unknown-unknown
  cargo install wasm-bindgen-cli --version 0.2.130
  cargo build --profile wasm -p nanoscope-browser --target wasm32-unknown-unknown
  wasm-bindgen --target web --remove-name-section --out-dir target/browser \\
      target/wasm32-unknown-unknown/wasm/nanoscope_browser.wasm
The program that runs on a GPU by WebGPU, where a browser has one, is optional:
  cargo build --profile wasm -p nanoscope-browser --target wasm32-unknown-unknown \\
      --no-default-features --features webgpu
  wasm-bindgen --target web --remove-name-section --out-dir target/browser \\
      --out-name nanoscope_browser_gpu target/wasm32-unknown-unknown/wasm/nanoscope_browser.wasm
The binaries in the archives of a release contain both programs, and need no --browser. A binary of
your own contains them with:
  gzip -9 --keep target/browser/*.wasm
  NANOSCOPE_BROWSER=\"$PWD/target/browser\" cargo build --release --features site")]
pub(crate) struct SiteArgs {
    /// The folder to write: new, empty, or one that this command wrote
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// The folder with the program for browsers, as wasm-bindgen wrote it
    #[arg(long, value_name = "DIR")]
    pub(crate) browser: Option<PathBuf>,
}
