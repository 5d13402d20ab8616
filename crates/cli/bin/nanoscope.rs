//! The binary `nanoscope`.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// Keeps large buffers for a while, where glibc's allocator asks the system for fresh pages in every operation
/// on a prompt, and gives them back after a burst, where that one stays at its largest size.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    nanoscope_cli::keep_freed_memory();
    nanoscope_cli::run_from(std::env::args_os())
}
