//! Vector instructions of the machine at hand.

pub(crate) use pulp::{Simd, WithSimd};

/// Runs `kernel`, which is compiled for several sets of vector instructions, with the widest of the machine.
///
/// Functions that a kernel calls are `#[inline(always)]`, so that they are compiled for the same instructions.
pub(crate) fn run<K: WithSimd>(kernel: K) -> K::Output {
    pulp::Arch::new().dispatch(kernel)
}

/// Computes `a · b + c`, rounded once if the instructions include a fused multiply-add.
#[inline(always)]
pub(crate) fn multiply_add<S: Simd>(a: f32, b: f32, c: f32) -> f32 {
    // WebAssembly's vectors have none, and without the instruction `mul_add` is a call of a slow function.
    let has_fused = cfg!(any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64"));
    if has_fused && !S::IS_SCALAR { a.mul_add(b, c) } else { a * b + c }
}
