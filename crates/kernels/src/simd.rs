//! Vector instructions of the machine at hand.

/// Work that is compiled for several sets of vector instructions.
pub(crate) trait Kernel {
    type Output;

    /// Does the work. `FUSED` is true if the instructions include a fused multiply-add.
    ///
    /// Implementations are `#[inline(always)]`, so that they are compiled for the instructions of the caller.
    fn run<const FUSED: bool>(self) -> Self::Output;
}

/// Runs `kernel` with the widest vector instructions of the machine.
pub(crate) fn run<K: Kernel>(kernel: K) -> K::Output {
    let arch = pulp::Arch::new();
    // WebAssembly's vectors have none.
    let has_fused = cfg!(any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64"));
    if has_fused && !matches!(arch, pulp::Arch::Scalar) {
        arch.dispatch(Compiled::<K, true>(kernel))
    } else {
        arch.dispatch(Compiled::<K, false>(kernel))
    }
}

/// Computes `a · b + c`, rounded once if `FUSED`.
#[inline(always)]
pub(crate) fn multiply_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    // Without the instruction, `mul_add` is a call of a slow function.
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// A kernel for instructions with or without a fused multiply-add.
struct Compiled<K, const FUSED: bool>(K);

impl<K: Kernel, const FUSED: bool> pulp::NullaryFnOnce for Compiled<K, FUSED> {
    type Output = K::Output;

    #[inline(always)]
    fn call(self) -> K::Output {
        self.0.run::<FUSED>()
    }
}
