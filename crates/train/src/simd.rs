//! Inner loops over `d_in` values, written to auto-vectorise.
//!
//! They must be called inside [`pulp::Arch::dispatch`], which compiles the caller for the widest
//! registers of the machine. A loop that is not inlined there is compiled for the narrowest.
#![allow(clippy::inline_always)]

/// Number of partial sums: the compiler does not reorder sums of floats.
const LANES: usize = 16;

/// `a · b`.
#[inline(always)]
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let (a_whole, a_rest) = a.as_chunks::<LANES>();
    let (b_whole, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_whole.iter().zip(b_whole) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

/// `to += by · x`.
#[inline(always)]
pub(crate) fn add_scaled(to: &mut [f32], by: f32, x: &[f32]) {
    for (to, x) in to.iter_mut().zip(x) {
        *to += by * x;
    }
}

/// `to += Σ by · x`. The sum is read and written once for all `N`, and equals that of `N` calls of
/// [`add_scaled`] bit for bit.
#[inline(always)]
pub(crate) fn add_scaled_rows<const N: usize>(to: &mut [f32], by: [f32; N], x: [&[f32]; N]) {
    let x = x.map(|x| &x[..to.len()]);
    for (at, to) in to.iter_mut().enumerate() {
        let mut sum = *to;
        for row in 0..N {
            sum += by[row] * x[row][at];
        }
        *to = sum;
    }
}

/// Sum of squares of `a`.
#[inline(always)]
pub(crate) fn square(a: &[f32]) -> f32 {
    dot(a, a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_counts_what_does_not_fill_a_register() {
        let a: Vec<f32> = (0..37).map(|n| n as f32).collect();
        let expected: f32 = (0..37).map(|n| (n * n) as f32).sum();

        assert_eq!(dot(&a, &a), expected);

        let mut to = a.clone();
        add_scaled(&mut to, 2.0, &a);
        assert_eq!(to[36], 108.0);
    }
}
