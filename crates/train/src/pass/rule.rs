//! The elementwise part of a method: a feature's value from its pre-activation, and the gradient on
//! the way back.

use std::ops::AddAssign;

/// A feature's value, and the gradients of its weights from that of the value.
pub(super) trait Rule: Sync {
    /// True if there is a second reconstruction, by the gates.
    const GATED: bool = false;

    /// The feature's value in the reconstruction.
    fn value(&self, feature: usize, pre: f32) -> f32;

    /// The feature's value in the reconstruction by the gates.
    fn gate(&self, _feature: usize, _pre: f32) -> f32 {
        0.0
    }

    /// Returns the gradient of the pre-activation in one row, and adds to the sums over rows.
    fn back(&self, feature: usize, pre: f32, along: Along, sums: &mut Sums) -> f32;
}

/// Gradients of the two reconstructions along the feature's direction in the decoder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Along {
    pub(super) value: f32,
    pub(super) gate: f32,
}

/// Sums over the rows of a batch, for one feature.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sums {
    /// The gradient of the pre-activation.
    pub(super) pre: f32,
    /// The number of rows with a value above 0.
    pub(super) fired: u32,
    /// Further sums of the rule.
    pub(super) own: [f32; 3],
}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        self.pre += other.pre;
        self.fired += other.fired;
        for (sum, other) in self.own.iter_mut().zip(other.own) {
            *sum += other;
        }
    }
}

/// Features that were selected: each has the value of its pre-activation.
#[derive(Debug)]
pub(super) struct Kept;

#[allow(clippy::inline_always, reason = "compiled for the registers of the caller, as in simd.rs")]
impl Rule for Kept {
    #[inline(always)]
    fn value(&self, _feature: usize, pre: f32) -> f32 {
        pre
    }

    #[inline(always)]
    fn back(&self, _feature: usize, _pre: f32, along: Along, sums: &mut Sums) -> f32 {
        sums.pre += along.value;
        along.value
    }
}
