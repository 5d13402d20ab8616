//! ReLU, JumpReLU and gated SAEs, feature by feature, for the pass in closed form.
#![allow(clippy::inline_always, reason = "compiled for the registers of the caller, as in simd.rs")]

use nanoscope_kernels::to_host;

use crate::parameters::{Parameters, Weight};
use crate::pass::encoder::Input;
use crate::pass::entries::BLOCK;
use crate::pass::rule::{Along, Rule, Sums};
use crate::simd::square;

/// A method by whose rule the entries of the pre-activations say which features are active.
pub(super) trait Method: Rule {
    const INPUT: Input;

    /// Returns whether an entry adds to the loss or to a gradient.
    #[inline(always)]
    fn counts(&self, _feature: usize, pre: f32) -> bool {
        pre > 0.0
    }

    /// A number that every entry that counts, of a block of [`BLOCK`] features, reaches.
    fn floor(&self, _block: usize) -> f32 {
        0.0
    }

    /// The weighted sparsity loss.
    fn sparsity(&self, sums: &[Sums]) -> f64;

    /// The factor by which the feature's row of the decoder is added to its gradient, besides what
    /// comes from the reconstruction.
    fn along_decoder(&self, _feature: usize, _sums: &Sums) -> f32 {
        0.0
    }

    /// The gradients of the weights with one number per feature.
    fn vectors(&self, sums: &[Sums]) -> Vec<(Weight, Vec<f32>)>;
}

/// The loss `l1 · v · ‖W_dec‖`, averaged over the rows, on positive numbers `v` of the features.
#[derive(Debug)]
struct L1 {
    /// `l1 / rows`
    weight: f32,
    /// Norms of the decoder's rows, `[d_sae]`.
    norms: Vec<f32>,
}

impl L1 {
    /// # Shapes
    /// - `decoder`: `[d_sae, d_in]`
    fn new(l1: f64, rows: usize, decoder: &[f32], d_in: usize) -> Self {
        let norms = decoder.chunks_exact(d_in).map(|row| square(row).sqrt()).collect();
        Self { weight: (l1 / rows as f64) as f32, norms }
    }

    /// The gradient of a positive number of the feature.
    #[inline(always)]
    fn gradient(&self, feature: usize) -> f32 {
        self.weight * self.norms[feature]
    }

    /// The loss, where `own[0]` are the sums of the numbers.
    fn loss(&self, sums: &[Sums]) -> f64 {
        let each = self.norms.iter().zip(sums);
        let sum: f64 = each.map(|(norm, sums)| f64::from(*norm) * f64::from(sums.own[0])).sum();
        f64::from(self.weight) * sum
    }
}

/// `l1 · f · ‖W_dec‖` on the features.
#[derive(Debug)]
pub(super) struct Relu {
    l1: L1,
}

impl Relu {
    /// # Shapes
    /// - `decoder`: `[d_sae, d_in]`
    pub(super) fn new(l1: f64, rows: usize, decoder: &[f32], d_in: usize) -> Self {
        Self { l1: L1::new(l1, rows, decoder, d_in) }
    }
}

/// `own[0]` is the sum of the values.
impl Rule for Relu {
    #[inline(always)]
    fn value(&self, _feature: usize, pre: f32) -> f32 {
        pre.max(0.0)
    }

    #[inline(always)]
    fn back(&self, feature: usize, pre: f32, along: Along, sums: &mut Sums) -> f32 {
        let open = pre > 0.0;
        let gradient = if open { along.value + self.l1.gradient(feature) } else { 0.0 };
        sums.pre += gradient;
        sums.fired += u32::from(open);
        sums.own[0] += pre.max(0.0);
        gradient
    }
}

impl Method for Relu {
    const INPUT: Input = Input::WithoutDecoderBias;

    fn sparsity(&self, sums: &[Sums]) -> f64 {
        self.l1.loss(sums)
    }

    fn along_decoder(&self, feature: usize, sums: &Sums) -> f32 {
        let norm = self.l1.norms[feature];
        // The norm of a row of zeros has no derivative.
        if norm > 0.0 { self.l1.weight * sums.own[0] / norm } else { 0.0 }
    }

    fn vectors(&self, sums: &[Sums]) -> Vec<(Weight, Vec<f32>)> {
        vec![(Weight::EncoderBias, sums.iter().map(|sums| sums.pre).collect())]
    }
}

/// Features above a threshold, which a straight-through estimate trains.
#[derive(Debug)]
pub(super) struct JumpRelu {
    weight: f64,
    target_l0: f64,
    bandwidth: f64,
    rows: usize,
    /// `[d_sae]`
    thresholds: Vec<f32>,
    /// For each block of [`BLOCK`] features, a number below all that are near the threshold.
    floors: Vec<f32>,
}

impl JumpRelu {
    pub(super) fn new(
        weight: f64,
        target_l0: f64,
        bandwidth: f64,
        rows: usize,
        parameters: &Parameters,
    ) -> Self {
        let thresholds = to_host(parameters.get(Weight::LogThreshold).exp());
        let half = (bandwidth / 2.0) as f32;
        // Lowered by more than the rounding of `pre − threshold`.
        let floor = |threshold: &f32| threshold - half - 1e-5 * (threshold + half);
        let blocks = thresholds.chunks(BLOCK);
        let floors = blocks.map(|of| of.iter().map(floor).fold(f32::INFINITY, f32::min)).collect();
        Self { weight, target_l0, bandwidth, rows, thresholds, floors }
    }

    /// Returns whether the estimate's rectangle of the width `bandwidth` covers the pre-activation.
    #[inline(always)]
    fn near(&self, feature: usize, pre: f32) -> bool {
        (pre - self.thresholds[feature]).abs() <= (self.bandwidth / 2.0) as f32
    }

    /// `L0 / target − 1`
    fn excess(&self, sums: &[Sums]) -> f64 {
        let open: f64 = sums.iter().map(|sums| f64::from(sums.fired)).sum();
        open / self.rows as f64 / self.target_l0 - 1.0
    }
}

/// `own[0]` is the sum of the gradients of values near the threshold, `own[1]` their number.
impl Rule for JumpRelu {
    #[inline(always)]
    fn value(&self, feature: usize, pre: f32) -> f32 {
        // A threshold is not negative, so that the value is above 0.
        if pre > self.thresholds[feature] { pre } else { 0.0 }
    }

    #[inline(always)]
    fn back(&self, feature: usize, pre: f32, along: Along, sums: &mut Sums) -> f32 {
        let (open, near) = (pre > self.thresholds[feature], self.near(feature, pre));
        let gradient = if open { along.value } else { 0.0 };
        sums.pre += gradient;
        sums.fired += u32::from(open);
        sums.own[0] += if near { along.value } else { 0.0 };
        sums.own[1] += if near { 1.0 } else { 0.0 };
        gradient
    }
}

impl Method for JumpRelu {
    const INPUT: Input = Input::Whole;

    #[inline(always)]
    fn counts(&self, feature: usize, pre: f32) -> bool {
        pre > self.thresholds[feature] || self.near(feature, pre)
    }

    #[inline(always)]
    fn floor(&self, block: usize) -> f32 {
        self.floors[block]
    }

    fn sparsity(&self, sums: &[Sums]) -> f64 {
        self.weight * self.excess(sums).powi(2)
    }

    fn vectors(&self, sums: &[Sums]) -> Vec<(Weight, Vec<f32>)> {
        let by_count = 2.0 * self.weight * self.excess(sums) / (self.target_l0 * self.rows as f64);
        let threshold = |(sums, &threshold): (&Sums, &f32)| {
            let threshold = f64::from(threshold);
            let by_value = threshold * f64::from(sums.own[0]);
            let gradient = -(by_value + by_count * f64::from(sums.own[1])) / self.bandwidth;
            // The gradient of the logarithm.
            (gradient * threshold) as f32
        };
        vec![
            (Weight::EncoderBias, sums.iter().map(|sums| sums.pre).collect()),
            (Weight::LogThreshold, sums.iter().zip(&self.thresholds).map(threshold).collect()),
        ]
    }
}

/// Values and gates from one product, and `l1 · relu(π) · ‖W_dec‖` on the gates, where the norms are
/// constants.
#[derive(Debug)]
pub(super) struct Gated {
    l1: L1,
    /// The gate's bias, `[d_sae]`.
    bias: Vec<f32>,
    /// `exp(r_mag)`, `[d_sae]`
    factor: Vec<f32>,
    /// `b_mag`, `[d_sae]`
    magnitude_bias: Vec<f32>,
}

impl Gated {
    /// # Shapes
    /// - `decoder`: `[d_sae, d_in]`
    pub(super) fn new(
        l1: f64,
        rows: usize,
        decoder: &[f32],
        d_in: usize,
        parameters: &Parameters,
    ) -> Self {
        Self {
            l1: L1::new(l1, rows, decoder, d_in),
            bias: to_host(parameters.get(Weight::EncoderBias)),
            factor: to_host(parameters.get(Weight::Magnitude).exp()),
            magnitude_bias: to_host(parameters.get(Weight::MagnitudeBias)),
        }
    }
}

/// `own` are the sums of the open gates, of the magnitudes' gradients, and of these times the
/// product with the encoder.
impl Rule for Gated {
    const GATED: bool = true;

    #[inline(always)]
    fn value(&self, feature: usize, pre: f32) -> f32 {
        let product = pre - self.bias[feature];
        let magnitude = product * self.factor[feature] + self.magnitude_bias[feature];
        if pre > 0.0 { magnitude.max(0.0) } else { 0.0 }
    }

    #[inline(always)]
    fn gate(&self, _feature: usize, pre: f32) -> f32 {
        pre.max(0.0)
    }

    #[inline(always)]
    fn back(&self, feature: usize, pre: f32, along: Along, sums: &mut Sums) -> f32 {
        let active = self.value(feature, pre) > 0.0;
        let by_value = if active { along.value } else { 0.0 };
        let by_gate = if pre > 0.0 { along.gate + self.l1.gradient(feature) } else { 0.0 };
        let gradient = by_gate + by_value * self.factor[feature];
        sums.pre += gradient;
        sums.fired += u32::from(active);
        sums.own[0] += pre.max(0.0);
        sums.own[1] += by_value;
        sums.own[2] += by_value * (pre - self.bias[feature]);
        gradient
    }
}

impl Method for Gated {
    const INPUT: Input = Input::WithoutDecoderBias;

    fn sparsity(&self, sums: &[Sums]) -> f64 {
        self.l1.loss(sums)
    }

    fn vectors(&self, sums: &[Sums]) -> Vec<(Weight, Vec<f32>)> {
        let times = |of: fn(&Sums, f32) -> f32| {
            sums.iter().zip(&self.factor).map(|(sums, factor)| of(sums, *factor)).collect()
        };
        vec![
            // The product with the encoder does not contain the gate's bias.
            (Weight::EncoderBias, times(|sums, factor| sums.pre - factor * sums.own[1])),
            (Weight::Magnitude, times(|sums, factor| factor * sums.own[2])),
            (Weight::MagnitudeBias, times(|sums, _| sums.own[1])),
        ]
    }
}
