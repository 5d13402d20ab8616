//! The programs for browsers: in the binary, or in the folder that wasm-bindgen wrote.

use std::borrow::Cow;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::terminal::messages::Hint;

/// The name of the program that runs on the CPU.
pub(super) const CPU: &str = "nanoscope_browser";
/// The name of the one that runs on a GPU.
pub(super) const GPU: &str = "nanoscope_browser_gpu";

/// A program for browsers.
pub(super) struct Program {
    /// The WebAssembly module.
    pub(super) wasm: Cow<'static, [u8]>,
    /// The script that loads it.
    pub(super) glue: Cow<'static, str>,
}

/// The program in `folder`, or else the one in the binary, and the one for GPUs if `folder` has it.
pub(super) fn programs(folder: Option<&Path>) -> Result<(Program, Option<Program>)> {
    let Some(folder) = folder else {
        let cpu = built_in().ok_or_else(|| {
            let error = "this binary does not contain the program for browsers";
            let hint =
                "build it as `nanoscope site --help` says, and name its folder with --browser";
            Hint::new(error, hint)
        })?;
        return Ok((cpu, None));
    };
    let cpu = read(folder, CPU)?;
    let has_gpu = folder.join(format!("{GPU}_bg.wasm")).exists();
    Ok((cpu, if has_gpu { Some(read(folder, GPU)?) } else { None }))
}

/// The program called `name` in `folder`.
fn read(folder: &Path, name: &str) -> Result<Program> {
    let unreadable = |path: &Path| {
        format!(
            "could not read {}; --browser is the folder that wasm-bindgen wrote",
            path.display()
        )
    };
    let path = folder.join(format!("{name}_bg.wasm"));
    let wasm = fs::read(&path).with_context(|| unreadable(&path))?;
    if !wasm.starts_with(b"\0asm") {
        anyhow::bail!("{} is not a WebAssembly module", path.display());
    }
    let path = folder.join(format!("{name}.js"));
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
