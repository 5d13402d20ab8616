use std::collections::BTreeMap;

use burn::tensor::{Tensor, TensorData};
use nanoscope_hooks::HookPoint;
use nanoscope_kernels::to_host;
use nanoscope_sae::{Sae, SparseFeatures};

use crate::error::AttributeError;

/// An SAE whose features are the causes looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'m> {
    /// The hook point that it reads.
    pub(crate) hook: HookPoint,
    /// The hook point that its features move; another one than `hook` if it is a transcoder.
    pub(crate) write: HookPoint,
    pub(crate) sae: &'m Sae,
}

/// An SAE's decomposition of the activations of one text: features, bias and error sum to the activation.
#[derive(Debug)]
pub(crate) struct Decomposed<'m> {
    pub(crate) source: Source<'m>,
    /// A row for each position.
    pub(crate) features: SparseFeatures,
    /// The factor of every direction at each position; `None` stands for 1.
    pub(crate) factors: Option<Vec<f32>>,
    /// The activation that is reconstructed, `[seq, d_out]`.
    pub(crate) activation: Tensor<2>,
    /// The part of the reconstruction that comes from features, `[seq, d_out]`.
    pub(crate) from_features: Tensor<2>,
    /// The reconstruction without any feature, `[seq, d_out]`: `b_dec`, what a normalisation by the activation
    /// itself adds, and a skip connection.
    pub(crate) bias: Tensor<2>,
    /// The error term, `[seq, d_out]`.
    pub(crate) error: Tensor<2>,
}

/// The largest number of values of a matrix of products or directions that is made at once (16 MB of float32).
pub(crate) const AT_ONCE: usize = 1 << 22;

impl<'m> Decomposed<'m> {
    /// Decomposes the activations at the SAE's hook points.
    ///
    /// # Shapes
    /// - `read`: `[seq, d_in]`, `written`: `[seq, d_out]`
    pub(crate) fn new(
        source: Source<'m>,
        read: Tensor<2>,
        written: Tensor<2>,
    ) -> Result<Self, AttributeError> {
        let Source { hook, sae, .. } = source;
        let features = sae.encode_sparse(read.clone());
        let features = features.map_err(|source| AttributeError::Encode { hook, source })?;
        let mut none = SparseFeatures::new(sae.config().d_sae());
        (0..features.rows()).for_each(|_| none.push_row([]));
        let reconstruction = sae.decode_sparse(&features, read.clone());
        let bias = sae.decode_sparse(&none, read.clone());
        let from_features = reconstruction.clone() - bias.clone();
        let lengths = to_host(from_features.clone().square().sum_dim(1).sqrt());
        lengths.into_iter().try_for_each(|length| check_length(f64::from(length), source.write))?;
        Ok(Self {
            factors: sae.output_scale(read).map(to_host),
            error: written.clone() - reconstruction,
            from_features,
            activation: written,
            features,
            bias,
            source,
        })
    }

    /// The derivative of a metric by each active feature, in the order of the features.
    ///
    /// # Shapes
    /// - `gradient`: `[seq, d_out]`, by the activation
    /// - output: `[active features]`
    pub(crate) fn by_feature(&self, gradient: &Tensor<2>) -> Vec<f32> {
        let [seq, d_out] = gradient.dims();
        let mut columns: BTreeMap<u32, Vec<(usize, usize)>> = BTreeMap::new();
        let (_, indices, _) = self.features.csr();
        for (at, (position, (feature, _))) in self.active().enumerate() {
            columns.entry(feature).or_default().push((at, position));
        }
        let mut derivatives = vec![0.0; indices.len()];
        let used: Vec<_> = columns.into_iter().collect();
        for part in used.chunks((AT_ONCE / seq.max(d_out)).max(1)) {
            let features: Vec<usize> = part.iter().map(|(feature, _)| *feature as usize).collect();
            let products = to_host(self.directions(&features).matmul(gradient.clone().transpose()));
            for ((_, places), products) in part.iter().zip(products.chunks_exact(seq)) {
                for &(at, position) in places {
                    derivatives[at] = self.factor(position) * products[position];
                }
            }
        }
        derivatives
    }

    /// The directions of features that the SAE has, `[features, d_out]`.
    pub(crate) fn directions(&self, features: &[usize]) -> Tensor<2> {
        self.source.sae.directions(features).expect("these features were active")
    }

    /// The active features as `(position, (feature, activation))`.
    pub(crate) fn active(&self) -> impl Iterator<Item = (usize, (u32, f32))> {
        let of_row = |row| self.features.row(row).map(move |pair| (row, pair));
        (0..self.features.rows()).flat_map(of_row)
    }

    /// The factor of every direction at `position`.
    pub(crate) fn factor(&self, position: usize) -> f32 {
        self.factors.as_ref().map_or(1.0, |factors| factors[position])
    }
}

/// The largest length of what is added to an activation. Norms square it: the square root of the largest float32 is
/// 1.8e19, and the rest is room for the weights after the hook point.
const MAX_LENGTH: f64 = 1e18;

/// Checks the length of what is added to the activation at `hook`.
pub(crate) fn check_length(length: f64, hook: HookPoint) -> Result<(), AttributeError> {
    if length < MAX_LENGTH { Ok(()) } else { Err(AttributeError::TooLong { hook }) }
}

/// Computes the inner product of each row of `a` with the same row of `b`.
///
/// # Shapes
/// - `a`, `b`: `[rows, width]`
/// - output: `[rows]`
pub(crate) fn row_products(a: &Tensor<2>, b: &Tensor<2>) -> Vec<f32> {
    to_host((a.clone() * b.clone()).sum_dim(1))
}

/// A matrix on the device of `like`.
pub(crate) fn matrix(values: Vec<f32>, [rows, columns]: [usize; 2], like: &Tensor<2>) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values, [rows, columns]), &like.device())
}
