//! Loss and gradients of ReLU, JumpReLU and gated SAEs in closed form, on the host.
//!
//! The gradients that automatic differentiation finds ([`autodiff`](super::autodiff)) can be written
//! down. An entry whose feature is neither active nor near its threshold adds nothing to any of
//! them. Where few are, only the product with the encoder is dense; where many are, four others are
//! too, and six in a gated SAE.

use burn::tensor::Tensor;
use nanoscope_kernels::to_host;
use rayon::prelude::*;

use crate::parameters::{Parameters, Weight, upload};
use crate::pass::dense_products;
use crate::pass::encoder::{Input, decoder_bias_gradient, pre_activations};
use crate::pass::entries::Entries;
use crate::pass::losses::{Dense, Losses, Pass};
use crate::pass::rules::{Gated, JumpRelu, Method, Relu};
use crate::pass::sparse_products::{
    FeatureGradients, Size, Upstream, mean_square, reconstruct, row_squares, scale, sum_of_rows,
};

/// Largest share of entries that count up to which [`Form::Sparse`] is faster: 0.25 for a ReLU SAE, on one
/// thread and on two, at 4,096 rows, `d_in` 256 and `d_sae` 2,048.
pub(super) const SPARSE_SHARE: f64 = 0.24;

/// Of so many rows one is looked at for the share of entries that count.
const SAMPLE: usize = 8;

/// Computes the loss of the activations `x` and its gradients. `None` if a pre-activation is not
/// finite.
///
/// Where at most a share `sparse_share` of the entries count, only they are touched.
///
/// # Shapes
/// - `x`: `[rows, d_in]` row-major
pub(super) fn closed_form(
    loss: Dense,
    parameters: &Parameters,
    x: &[f32],
    sparse_share: f64,
) -> Option<Pass> {
    let [d_sae, d_in] = parameters.get(Weight::Decoder).dims();
    let size = Size { rows: x.len() / d_in, d_in, d_sae };
    let decoder = to_host(parameters.get(Weight::Decoder));
    let batch = Batch { parameters, decoder: &decoder, x, size, sparse_share };
    match loss {
        Dense::Relu { l1 } => batch.pass(&Relu::new(l1, size.rows, &decoder, d_in)),
        Dense::JumpRelu { weight, target_l0, bandwidth } => {
            batch.pass(&JumpRelu::new(weight, target_l0, bandwidth, size.rows, parameters))
        }
        Dense::Gated { l1 } => batch.pass(&Gated::new(l1, size.rows, &decoder, d_in, parameters)),
    }
}

struct Batch<'a> {
    parameters: &'a Parameters,
    /// `[d_sae, d_in]`
    decoder: &'a [f32],
    /// `[rows, d_in]`
    x: &'a [f32],
    size: Size,
    sparse_share: f64,
}

/// The entries of a batch, in the form in which they are multiplied.
#[expect(clippy::large_enum_variant, reason = "there is one in a step")]
enum Form {
    Sparse(Entries),
    Dense {
        /// `[rows, d_sae]`
        pre: Vec<f32>,
        /// Values of the features, `[rows, d_sae]`.
        values: Tensor<2>,
    },
}

impl Batch<'_> {
    fn pass<M: Method>(&self, method: &M) -> Option<Pass> {
        let &Self { parameters, size: Size { rows, d_in, d_sae }, .. } = self;
        let device = parameters.get(Weight::Decoder).device();
        let x = upload(self.x.to_vec(), [rows, d_in], &device);
        let pre = pre_activations(parameters, x.clone(), M::INPUT);
        if !all_finite(&pre) {
            return None;
        }
        let form = self.form(method, pre);

        let b_dec = to_host(parameters.get(Weight::DecoderBias));
        let mut errors = self.errors(method, &form, &b_dec);
        let (mse, row_errors) = (mean_square(&errors, rows), row_squares(&errors, d_in));
        let by_row = (2.0 / rows as f64) as f32;
        scale(&mut errors, by_row);
        let mut gates = self.gate_errors(method, &form, &b_dec);
        let aux = mean_square(&gates, rows);
        scale(&mut gates, by_row);

        let direct = sum_of_rows(&errors, d_in);
        let mut gradient = self.gradients(method, form, errors, gates, x);
        if M::INPUT == Input::WithoutDecoderBias {
            gradient.take_off(&b_dec);
        }
        gradient.add_decoder(self.decoder, |feature, sums| method.along_decoder(feature, sums));
        let sums = gradient.sums;
        let by_pre = sums.iter().map(|sums| sums.pre).collect();
        let b_dec_gradient = decoder_bias_gradient(parameters, direct, by_pre, M::INPUT);
        let matrices = [
            (Weight::Encoder, upload(gradient.encoder, [d_sae, d_in], &device)),
            (Weight::Decoder, upload(gradient.decoder, [d_sae, d_in], &device)),
            (Weight::DecoderBias, b_dec_gradient),
        ];
        let vectors = method.vectors(&sums).into_iter();
        let vectors = vectors.map(|(part, of)| (part, upload(of, [1, d_sae], &device)));
        let sparsity = method.sparsity(&sums);
        Some(Pass {
            losses: Losses { total: mse + sparsity + aux, mse, sparsity, aux },
            fired: sums.iter().map(|sums| sums.fired).collect(),
            smallest: None,
            errors: row_errors,
            gradients: Parameters::new(matrices.into_iter().chain(vectors)),
        })
    }

    /// Chooses the form by the share of entries that count, in some of the rows.
    fn form<M: Method>(&self, method: &M, pre: Vec<f32>) -> Form {
        let Size { rows, d_sae, .. } = self.size;
        let counts = |feature: usize, pre: f32| method.counts(feature, pre);
        let some: Vec<&[f32]> = pre.chunks_exact(d_sae).step_by(SAMPLE).collect();
        let counted = |row: &&[f32]| {
            row.iter().enumerate().filter(|&(feature, &pre)| counts(feature, pre)).count()
        };
        let count: usize = some.par_iter().map(counted).sum();
        if count as f64 <= self.sparse_share * (some.len() * d_sae) as f64 {
            return Form::Sparse(Entries::above(&pre, d_sae, |block| method.floor(block), counts));
        }
        let device = self.parameters.get(Weight::Decoder).device();
        let values = dense_products::values(&pre, d_sae, |at, pre| method.value(at, pre));
        Form::Dense { values: upload(values, [rows, d_sae], &device), pre }
    }

    /// Computes `x̂ − x`, `[rows, d_in]`.
    fn errors<M: Method>(&self, method: &M, form: &Form, b_dec: &[f32]) -> Vec<f32> {
        match form {
            Form::Sparse(entries) => {
                self.reconstruct(entries, |at, pre| method.value(at, pre), b_dec)
            }
            Form::Dense { values, .. } => {
                let decoder = self.parameters.get(Weight::Decoder);
                dense_products::errors(values.clone(), decoder, b_dec, self.x)
            }
        }
    }

    /// Computes `x̂ − x` with the gates as features, `[rows, d_in]`; nothing without gates.
    fn gate_errors<M: Method>(&self, method: &M, form: &Form, b_dec: &[f32]) -> Vec<f32> {
        let Size { rows, d_sae, .. } = self.size;
        match form {
            _ if !M::GATED => Vec::new(),
            Form::Sparse(entries) => {
                self.reconstruct(entries, |at, pre| method.gate(at, pre), b_dec)
            }
            Form::Dense { pre, .. } => {
                let decoder = self.parameters.get(Weight::Decoder);
                let gates = dense_products::values(pre, d_sae, |at, pre| method.gate(at, pre));
                let gates = upload(gates, [rows, d_sae], &decoder.device());
                dense_products::errors(gates, decoder, b_dec, self.x)
            }
        }
    }

    fn reconstruct(
        &self,
        entries: &Entries,
        value: impl Fn(usize, f32) -> f32 + Sync + Send,
        b_dec: &[f32],
    ) -> Vec<f32> {
        let groups = [self.size.d_sae];
        let mut of = reconstruct(entries, value, &groups, self.decoder, b_dec, self.x, self.size);
        of.pop().expect("there is one group")
    }

    /// Computes the gradients of each feature's weights from those of the reconstructions,
    /// `[rows, d_in]`, for an encoder of `x`.
    fn gradients<M: Method>(
        &self,
        method: &M,
        form: Form,
        upstream: Vec<f32>,
        gates: Vec<f32>,
        x: Tensor<2>,
    ) -> FeatureGradients {
        let Size { rows, d_in, d_sae } = self.size;
        match form {
            Form::Sparse(entries) => {
                let by_group = [upstream];
                let upstream = Upstream { by_group: &by_group, groups: &[d_sae], gates: &gates };
                let mut gradient = FeatureGradients::zeros(self.size);
                let columns = entries.by_feature();
                gradient.add(method, &columns, upstream, self.decoder, self.x, self.size);
                gradient
            }
            Form::Dense { pre, values } => {
                let decoder = self.parameters.get(Weight::Decoder);
                let tensor = |of| upload(of, [rows, d_in], &decoder.device());
                let gates = M::GATED.then(|| tensor(gates));
                let upstream = tensor(upstream);
                dense_products::gradients(method, &pre, values, upstream, gates, &decoder, x)
            }
        }
    }
}

fn all_finite(numbers: &[f32]) -> bool {
    // Without an early exit within a chunk this becomes vector instructions.
    numbers
        .par_chunks(1 << 14)
        .all(|numbers| numbers.iter().fold(true, |all, number| all & number.is_finite()))
}
