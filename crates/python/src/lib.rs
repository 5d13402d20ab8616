//! The extension module `nanoscope._nanoscope` of the Python package `nanoscope`.
//!
//! It is a thin layer on the crate `nanoscope`: arguments are parsed, the GIL is released, the library computes, and
//! results become NumPy arrays. nanochat-SAE's names and their state are Python, in `python/nanoscope`.

mod arrays;
mod errors;
mod features;
mod generation;
mod given;
mod heatmap;
mod load;
mod metadata;
mod model;
mod plan;
mod run;
mod sae;
mod table;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use mimalloc::MiMalloc;
use pyo3::prelude::*;

/// The program's allocator, for what Rust allocates.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Python allocates objects at multiples of 16 bytes, whatever alignment their content asks for.
const _: () = {
    const fn fits<T>() -> bool {
        align_of::<T>() <= 16
    }
    assert!(fits::<features::Features>() && fits::<generation::Generation>());
    assert!(fits::<generation::Step>() && fits::<model::Model>());
    assert!(fits::<run::Run>() && fits::<sae::Sae>());
};

#[pymodule]
mod _nanoscope {
    use super::{Bound, PyModule, PyResult};

    #[pymodule_export]
    use super::features::Features;
    #[pymodule_export]
    use super::generation::{Generation, Step};
    #[pymodule_export]
    use super::load::{load, load_sae, load_saes};
    #[pymodule_export]
    use super::model::Model;
    #[pymodule_export]
    use super::run::Run;
    #[pymodule_export]
    use super::sae::Sae;
    #[pymodule_export]
    use super::{available_devices, hook_point, run_program};

    /// Runs when the module is imported, before anything of it runs.
    #[pymodule_init]
    #[allow(clippy::unnecessary_wraps, reason = "the form that pyo3 asks for")]
    fn start(_module: &Bound<'_, PyModule>) -> PyResult<()> {
        nanoscope_cli::keep_freed_memory();
        Ok(())
    }

    #[pymodule_export]
    #[allow(non_upper_case_globals, reason = "the name that Python gives it")]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}

/// Runs the command line `args`, the program's name first, and returns its exit code.
#[pyfunction]
fn run_program(py: Python<'_>, args: Vec<OsString>) -> u8 {
    let code = py.detach(|| {
        let code = nanoscope_cli::run_from(args);
        // The end of a Rust program does this, and Python's does not. A pipe may be closed.
        let _ = std::io::stdout().flush();
        code
    });
    // The standard library gives no way to ask for the number.
    (0..=u8::MAX).find(|&number| ExitCode::from(number) == code).expect("a code is a byte")
}

/// The canonical name of a hook point: `blocks.2.hook_attn_out` for nanochat-SAE's `blocks.2.hook_attn`.
#[pyfunction]
fn hook_point(py: Python<'_>, name: &str) -> PyResult<String> {
    Ok(plan::hook(py, name)?.to_string())
}

/// The devices that this build can compute on.
#[pyfunction]
fn available_devices() -> Vec<&'static str> {
    nanoscope::available_devices()
}
