//! The programs for browsers: in the binary, or in the folder that wasm-bindgen wrote.

use std::borrow::Cow;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

#[cfg(not(feature = "site"))]
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

/// The programs for CPUs and for GPUs: those in `folder`, where the second may be missing, or else those in the
/// binary.
pub(super) fn programs(folder: Option<&Path>) -> Result<(Program, Option<Program>)> {
    let Some(folder) = folder else {
        return built_in();
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
fn built_in() -> Result<(Program, Option<Program>)> {
    macro_rules! file {
        ($name:literal) => {
            concat!(
                env!(
                    "NANOSCOPE_BROWSER",
                    "the feature `site` takes the programs from the folder NANOSCOPE_BROWSER"
                ),
                "/",
                $name
            )
        };
    }
    let cpu = unpacked(
        include_bytes!(file!("nanoscope_browser_bg.wasm.gz")),
        include_str!(file!("nanoscope_browser.js")),
    )?;
    let gpu = unpacked(
        include_bytes!(file!("nanoscope_browser_gpu_bg.wasm.gz")),
        include_str!(file!("nanoscope_browser_gpu.js")),
    )?;
    Ok((cpu, Some(gpu)))
}

#[cfg(feature = "site")]
fn unpacked(wasm: &[u8], glue: &'static str) -> Result<Program> {
    let mut module = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(wasm), &mut module)
        .context("the program for browsers in this binary is damaged")?;
    Ok(Program { wasm: module.into(), glue: glue.into() })
}

#[cfg(not(feature = "site"))]
fn built_in() -> Result<(Program, Option<Program>)> {
    let error = "this binary does not contain the program for browsers";
    let hint = "build it as `nanoscope site --help` says, and name its folder with --browser";
    Err(Hint::new(error, hint).into())
}
