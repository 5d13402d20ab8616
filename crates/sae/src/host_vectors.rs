use nanoscope_kernels::read_together;

use crate::Sae;

/// The vectors of an SAE that the selection of features reads, in the host's memory.
#[derive(Debug, Clone, Default)]
pub(crate) struct HostVectors {
    pub(crate) b_enc: Vec<f32>,
    /// The thresholds of a JumpReLU SAE, else empty.
    pub(crate) threshold: Vec<f32>,
    /// The norms of the decoder's rows, if features are rescaled by them, else empty.
    pub(crate) dec_norm: Vec<f32>,
    /// `exp(r_mag)` of a gated SAE, else empty.
    pub(crate) magnitude_scale: Vec<f32>,
    /// `b_mag` of a gated SAE, else empty.
    pub(crate) b_mag: Vec<f32>,
    /// `b_gate` of a signed gated SAE, else empty.
    pub(crate) b_gate: Vec<f32>,
}

impl HostVectors {
    /// Reads the vectors of `sae` to the host. Waits for the device once.
    pub(crate) fn read(sae: &Sae) -> Self {
        let magnitude = sae.magnitude.as_ref();
        let vectors = [
            Some(sae.b_enc.clone()),
            sae.threshold.clone(),
            sae.dec_norm.clone(),
            magnitude.map(|magnitude| magnitude.r_mag.clone().exp()),
            magnitude.map(|magnitude| magnitude.b_mag.clone()),
            sae.gate.as_ref().map(|gate| gate.b_gate.clone()),
        ];
        let is_present = vectors.each_ref().map(Option::is_some);
        let mut found = read_together(vectors.into_iter().flatten().collect()).into_iter();
        let mut next =
            is_present.map(
                |is_present| {
                    if is_present { found.next().unwrap_or_default() } else { Vec::new() }
                },
            );
        let [b_enc, threshold, dec_norm, magnitude_scale, b_mag, b_gate] =
            next.each_mut().map(std::mem::take);
        Self { b_enc, threshold, dec_norm, magnitude_scale, b_mag, b_gate }
    }
}
