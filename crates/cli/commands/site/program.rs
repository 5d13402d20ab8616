//! The program for browsers: in the binary, or in the folder that wasm-bindgen wrote.

use std::borrow::Cow;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::terminal::messages::Hint;

const WASM: &str = "nanoscope_browser_bg.wasm";
const GLUE: &str = "nanoscope_browser.js";

/// The program for browsers.
pub(super) struct Program {
    /// The WebAssembly module.
    pub(super) wasm: Cow<'static, [u8]>,
    /// The script that loads it.
    pub(super) glue: Cow<'static, str>,
}

/// The program in `folder`, or else the one in the binary.
pub(super) fn program(folder: Option<&Path>) -> Result<Program> {
    let Some(folder) = folder else {
        return built_in().ok_or_else(|| {
            let error = "this binary does not contain the program for browsers";
            let hint =
                "build it as `nanoscope site --help` says, and name its folder with --browser";
            Hint::new(error, hint).into()
        });
    };
    let unreadable = |path: &Path| {
        format!(
            "could not read {}; --browser is the folder that wasm-bindgen wrote",
            path.display()
        )
    };
    let path = folder.join(WASM);
    let wasm = fs::read(&path).with_context(|| unreadable(&path))?;
    if !wasm.starts_with(b"\0asm") {
        anyhow::bail!("{} is not a WebAssembly module", path.display());
    }
    let path = folder.join(GLUE);
    let glue = fs::read_to_string(&path).with_context(|| unreadable(&path))?;
    Ok(Program { wasm: wasm.into(), glue: glue.into() })
}

#[cfg(feature = "site")]
fn built_in() -> Option<Program> {
    macro_rules! folder {
        () => {
            env!(
                "NANOSCOPE_BROWSER",
                "the feature `site` takes the program from the folder NANOSCOPE_BROWSER"
            )
        };
    }
    Some(Program {
        wasm: include_bytes!(concat!(folder!(), "/nanoscope_browser_bg.wasm")).into(),
        glue: include_str!(concat!(folder!(), "/nanoscope_browser.js")).into(),
    })
}

#[cfg(not(feature = "site"))]
fn built_in() -> Option<Program> {
    None
}
