//! An SAE of any format, opened but not loaded.

use std::path::Path;

use burn::tensor::{DType, Device, Tensor, TensorData};
use nanoscope_hooks::HookPoint;
use nanoscope_kernels::{is_host, to_host};
use nanoscope_sae::{
    GateWeights, MagnitudeWeights, Normalization, Sae, SaeConfig, SaeError, SaeWeights,
};
use serde_json::Value;

use crate::container::finite::first_not_finite;
use crate::container::{MatrixDtype, Order, TensorFile, WeightDtype};
use crate::error::{CheckpointError, SaeFileError};
use crate::sae::activation_scale::ActivationScale;
use crate::sae::metadata::Metadata;
use crate::sae::sae_hooks::SaeHooks;
use crate::sae::stored_weight::{StoredWeight, Weight, usual_weights};
use crate::sae::whitening::{COVARIANCE_WHITENING, Whitening};

/// An SAE whose configuration was parsed and whose weights are not read yet.
#[derive(Debug)]
pub(crate) struct SaeFile {
    pub(crate) file: TensorFile,
    /// The name of the format, for people.
    pub(crate) format: &'static str,
    pub(crate) config: SaeConfig,
    pub(crate) hooks: SaeHooks,
    /// The hooks by its files, if it was placed at others.
    pub(crate) overruled: Option<SaeHooks>,
    /// The weights that its architecture has, and how the file stores each.
    pub(crate) weights: Vec<(Weight, StoredWeight)>,
    /// The prefix of the names of its tensors; other tensors in the file are ignored.
    pub(crate) prefix: &'static str,
    /// Tensors with that prefix that are not weights; a trailing `*` matches anything.
    pub(crate) ignored: &'static [&'static str],
    pub(crate) postprocess: Postprocess,
    /// The configuration exactly as stored in the files.
    #[cfg_attr(not(feature = "gpt"), expect(dead_code, reason = "only `inspect` shows it"))]
    pub(crate) description: Option<Value>,
    /// Further facts for people: a name and a value.
    pub(crate) notes: Vec<(&'static str, String)>,
    /// Further entries of its checkpoint.
    pub(crate) metadata: Metadata,
    /// A normalisation in training that the weights may or may not contain, by SAELens's name.
    pub(crate) unsettled: Option<&'static str>,
    /// An affine map of the activations in training, which is folded into the weights at the end.
    pub(crate) whitening: Option<Whitening>,
    /// Gemma's factor of the embedding, for files that do not name the SAE's place. It applies if the
    /// SAE is placed at the embedding: its activations were multiplied in training, and those at our
    /// hook point are not.
    pub(crate) embedding_scale: Option<f32>,
}

/// A step applied to the weights after reading.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Postprocess {
    /// No step.
    #[default]
    None,
    /// Multiplies the encoder by the decoder's norms and divides the decoder by them, but keeps
    /// the thresholds: SAELens does this to convert a batch-top-k SAE to JumpReLU.
    RescaleByDecoderNorm,
    /// Divides thresholds by the decoder's norms, because the tool compares them with
    /// pre-activations multiplied by those norms.
    ThresholdOverDecoderNorm,
    /// Normalises the decoder's rows unless their norm is 1 already, and multiplies features and
    /// thresholds by the old norms: dictionary_learning does this to an `AutoEncoder`.
    FoldDecoderNorm,
    /// Multiplies the decoder's rows by the numbers of this tensor.
    ScaleDecoderRows(String),
}

/// The tolerance of `torch.allclose` for a norm of 1.
const NORM_TOLERANCE: f32 = 1e-5 + 1e-8;

impl SaeFile {
    /// An SAE in `file` with the usual weights and without hooks; formats override the fields.
    pub(crate) fn new(file: TensorFile, format: &'static str, config: SaeConfig) -> Self {
        Self {
            file,
            format,
            config,
            hooks: SaeHooks::default(),
            overruled: None,
            weights: usual_weights(),
            prefix: "",
            ignored: &[],
            postprocess: Postprocess::None,
            description: None,
            notes: Vec::new(),
            metadata: Metadata::new(),
            unsettled: None,
            whitening: None,
            embedding_scale: None,
        }
    }

    /// Places the SAE at `hook` and, for a transcoder, `hook_out`, whatever its files name. `post_norms` is
    /// [`SaeOptions::post_norms`](crate::SaeOptions::post_norms).
    pub(crate) fn placed(
        self,
        (hook, hook_out): (HookPoint, Option<HookPoint>),
        post_norms: Option<bool>,
    ) -> Self {
        let hooks = SaeHooks::new(hook, hook_out);
        let overruled = self.hooks.clone().named_as_ours(post_norms).overruled_by(&hooks);
        let sae = match self.embedding_scale {
            Some(scale) if hook == HookPoint::Embed => self.scaled_for_embedding(scale),
            _ => self,
        };
        Self { hooks, overruled, ..sae }
    }

    /// Divides the encoder and multiplies the decoder by `scale`.
    pub(crate) fn scaled_for_embedding(mut self, scale: f32) -> Self {
        for (weight, source) in &mut self.weights {
            match (weight, source) {
                (Weight::WEnc, StoredWeight::Tensor { times, .. }) => *times /= scale,
                (Weight::WDec, StoredWeight::Tensor { times, .. }) => *times *= scale,
                _ => {}
            }
        }
        self.notes.push(("embedding", format!("W_enc divided and W_dec multiplied by {scale}")));
        self
    }

    /// Settles the normalisation in training by what is `stated`, where the files leave it open.
    /// Returns the SAE, and whether the statement was needed.
    pub(crate) fn settled(
        mut self,
        stated: Option<ActivationScale>,
    ) -> Result<(Self, bool), CheckpointError> {
        let Some(name) = self.unsettled else { return Ok((self, false)) };
        let path = || self.path().to_owned();
        match stated {
            None => {
                return Err(SaeFileError::UnknownActivationScale { path: path(), name }.into());
            }
            Some(ActivationScale::Folded) => {}
            Some(ActivationScale::Factor(_)) if name == COVARIANCE_WHITENING => {
                let what = format!("a factor for `{name}`");
                return Err(CheckpointError::Unsupported { path: path(), what });
            }
            Some(ActivationScale::Factor(scale)) => {
                let normalization = Normalization::ExpectedAverageOnlyIn { scale };
                self.config = self
                    .config
                    .clone()
                    .with_normalization(normalization)
                    .map_err(|source| self.unusable(source))?;
            }
        }
        self.unsettled = None;
        Ok((self, true))
    }

    /// Checks that all weights are present in the right shapes, and that there are no other tensors.
    /// An SAE whose files name another activation for its output is marked as a transcoder.
    pub(crate) fn checked(mut self) -> Result<Self, CheckpointError> {
        if self.hooks.hook_out.is_some() && self.hooks.hook_out != self.hooks.hook {
            self.config = self.config.into_transcoder();
        }
        for (weight, source) in &self.weights {
            let shape = weight.shape(&self.config);
            match source {
                StoredWeight::Tensor { name, order: Order::AsStored, .. }
                | StoredWeight::Log { name } => {
                    self.file.info_of_shape(name, &shape)?;
                }
                StoredWeight::Tensor { name, order: Order::Transposed, .. } => {
                    let in_file: Vec<usize> = shape.iter().rev().copied().collect();
                    self.file.info_of_shape(name, &in_file)?;
                }
                StoredWeight::Scalar { name, .. } => {
                    if self.file.info(name)?.len() != 1 {
                        self.file.info_of_shape(name, &[])?;
                    }
                }
                StoredWeight::Constant(_) => {}
            }
        }
        if let Postprocess::ScaleDecoderRows(name) = &self.postprocess {
            self.file.info_of_shape(name, &[self.config.d_sae()])?;
        }
        let mut names = self.file.tensors().map(|(name, _)| name);
        let unknown = names.find(|name| name.starts_with(self.prefix) && !self.is_known(name));
        if let Some(name) = unknown {
            return Err(SaeFileError::UnexpectedSaeTensor {
                path: self.path().to_owned(),
                tensor: name.strip_prefix(self.prefix).unwrap_or(name).to_owned(),
                architecture: self.config.architecture().name(),
            }
            .into());
        }
        drop(names);
        Ok(self)
    }

    fn is_known(&self, tensor: &str) -> bool {
        let is_ignored = |pattern: &&str| match pattern.strip_suffix('*') {
            Some(start) => tensor.starts_with(start),
            None => tensor == *pattern,
        };
        let scales =
            matches!(&self.postprocess, Postprocess::ScaleDecoderRows(name) if name == tensor);
        scales
            || self.weights.iter().any(|(_, source)| source.name() == Some(tensor))
            || self.ignored.iter().any(is_ignored)
    }

    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// The 16-bit type in which the file has the matrices, if they are used as they are there and `device` is the
    /// host; otherwise float32.
    pub(crate) fn stored_dtype(&self, device: &Device) -> MatrixDtype {
        let is_changed = self.postprocess != Postprocess::None || self.whitening.is_some();
        let of = |weight| match self.stored(weight) {
            StoredWeight::Tensor { name, times, .. } if *times == 1.0 => {
                self.file.info(name).ok()?.dtype.weight()
            }
            _ => None,
        };
        let stored = of(Weight::WEnc).filter(|&dtype| {
            !is_changed
                && of(Weight::WDec) == Some(dtype)
                && is_host(device)
                && device.supports_dtype(dtype.burn())
        });
        stored.unwrap_or(WeightDtype::F32).into()
    }

    /// Loads the weights onto `device`, one at a time, with matrices as `dtype`.
    pub(crate) fn load(&self, device: &Device, dtype: MatrixDtype) -> Result<Sae, CheckpointError> {
        match dtype {
            MatrixDtype::Int8 if !is_host(device) => {
                Err(CheckpointError::DeviceDtype { path: self.path().to_owned(), dtype })
            }
            MatrixDtype::Int8 => {
                Ok(self.load_as(device, WeightDtype::F32)?.with_matrices_as(DType::I8))
            }
            // The landmarks are those of weights rounded once, to bfloat16; these would be rounded twice.
            MatrixDtype::Float(WeightDtype::F16) if self.stored_dtype(device) != dtype => {
                let landmarks = self.load_as(device, WeightDtype::F32)?.landmarks();
                Ok(self.load_as(device, WeightDtype::F16)?.with_landmarks(landmarks))
            }
            MatrixDtype::Float(dtype) => self.load_as(device, dtype),
        }
    }

    fn load_as(&self, device: &Device, dtype: WeightDtype) -> Result<Sae, CheckpointError> {
        // Rounded once only, after the last step.
        let read_as = if self.whitening.is_some() { WeightDtype::F32 } else { dtype };
        let has = |weight| self.weights.iter().any(|(known, _)| *known == weight);
        let vector = |weight| self.vector(weight, device);
        let matrix = |weight| self.matrix(weight, device, read_as);
        let weights = SaeWeights {
            threshold: has(Weight::Threshold).then(|| vector(Weight::Threshold)).transpose()?,
            magnitude: if has(Weight::RMag) {
                let (r_mag, b_mag) = (vector(Weight::RMag)?, vector(Weight::BMag)?);
                Some(MagnitudeWeights { r_mag, b_mag })
            } else {
                None
            },
            gate: if has(Weight::WGate) {
                let (w_gate, b_gate) = (matrix(Weight::WGate)?, vector(Weight::BGate)?);
                Some(GateWeights { w_gate, b_gate })
            } else {
                None
            },
            w_skip: has(Weight::WSkip).then(|| matrix(Weight::WSkip)).transpose()?,
            ..SaeWeights::new(
                matrix(Weight::WEnc)?,
                vector(Weight::BEnc)?,
                matrix(Weight::WDec)?,
                vector(Weight::BDec)?,
            )
        };
        self.build(weights, dtype)
    }

    fn matrix(
        &self,
        weight: Weight,
        device: &Device,
        dtype: WeightDtype,
    ) -> Result<Tensor<2>, CheckpointError> {
        let shape = weight.shape(&self.config);
        match self.stored(weight) {
            StoredWeight::Tensor { name, order, times } => {
                // Without an explicit type it would become the default type of the device.
                let tensor = |data| Tensor::from_data(data, (device, dtype.burn()));
                // The decoder's rows are read one by one; the other matrices are multiplied in either order.
                let is_turned = *order == Order::Transposed && weight != Weight::WDec;
                if is_turned && is_host(device) {
                    let in_file = [shape[1], shape[0]];
                    let read = self.file.read_times(name, &in_file, Order::AsStored, dtype, *times);
                    return Ok(tensor(read?).transpose());
                }
                Ok(tensor(self.file.read_times(name, &shape, *order, dtype, *times)?))
            }
            other => unreachable!("a matrix is stored as a tensor, not as {other:?}"),
        }
    }

    fn vector(&self, weight: Weight, device: &Device) -> Result<Tensor<1>, CheckpointError> {
        let shape = weight.shape(&self.config);
        Ok(match self.stored(weight) {
            StoredWeight::Tensor { name, order, times } => {
                let data = self.file.read_times(name, &shape, *order, WeightDtype::F32, *times)?;
                Tensor::from_data(data, (device, DType::F32))
            }
            StoredWeight::Log { name } => {
                let data = self.file.read(name, &shape, Order::AsStored)?;
                let values: Vec<f32> = data.iter::<f32>().map(f32::exp).collect();
                if let Some(at) = first_not_finite(&values) {
                    return Err(self.file.not_finite(name, at));
                }
                Tensor::from_data(TensorData::new(values, shape), (device, DType::F32))
            }
            StoredWeight::Scalar { name, times } => {
                let one = self.file.read_scalar(name)? * times;
                if !one.is_finite() {
                    return Err(self.file.not_finite(name, 0));
                }
                Tensor::full(shape, one, (device, DType::F32))
            }
            StoredWeight::Constant(value) => Tensor::full(shape, *value, (device, DType::F32)),
        })
    }

    fn stored(&self, weight: Weight) -> &StoredWeight {
        let found = self.weights.iter().find(|(known, _)| *known == weight);
        &found.expect("a format lists each weight of its architecture").1
    }

    fn build(&self, weights: SaeWeights, dtype: WeightDtype) -> Result<Sae, CheckpointError> {
        let new = |weights| Sae::new(self.config.clone(), weights);
        let sae = match &self.postprocess {
            Postprocess::None => new(weights),
            Postprocess::FoldDecoderNorm => new(weights).and_then(|sae| {
                let off = to_host((sae.decoder_norms() - 1.0).abs().max())[0];
                if off <= NORM_TOLERANCE { Ok(sae) } else { sae.fold_w_dec_norm() }
            }),
            Postprocess::RescaleByDecoderNorm => {
                let threshold = weights.threshold.clone();
                let folded = new(weights).and_then(|sae| sae.fold_w_dec_norm());
                folded.and_then(|sae| new(SaeWeights { threshold, ..sae.weights() }))
            }
            Postprocess::ThresholdOverDecoderNorm => new(weights).and_then(|sae| {
                let norms = sae.decoder_norms().clamp_min(f32::MIN_POSITIVE);
                let weights = sae.weights();
                let threshold = weights.threshold.map(|threshold| threshold / norms);
                new(SaeWeights { threshold, ..weights })
            }),
            Postprocess::ScaleDecoderRows(name) => {
                let shape = [self.config.d_sae()];
                let data = self.file.read(name, &shape, Order::AsStored)?;
                let device = weights.w_dec.device();
                let scale = Tensor::<1>::from_data(data, (&device, DType::F32));
                let w_dec = weights.w_dec.cast(DType::F32) * scale.unsqueeze_dim(1);
                new(SaeWeights { w_dec, ..weights })
            }
        };
        let mut sae = sae.map_err(|source| self.unusable(source))?;
        if let Some(whitening) = &self.whitening {
            sae = whitening.fold_into(&sae)?;
        }
        if self.postprocess != Postprocess::None || self.whitening.is_some() {
            self.check_fits(&sae, dtype)?;
        }
        // Computation is in float32.
        Ok(sae.with_matrices_as(dtype.burn()))
    }

    /// Checks the weights that a postprocess step changes: that all are finite, and the matrices in
    /// `dtype` as well.
    fn check_fits(&self, sae: &Sae, dtype: WeightDtype) -> Result<(), CheckpointError> {
        let SaeWeights { w_enc, b_enc, w_dec, threshold, .. } = sae.weights();
        let changed = [
            (Weight::WEnc, to_host(w_enc), dtype),
            (Weight::BEnc, to_host(b_enc), WeightDtype::F32),
            (Weight::WDec, to_host(w_dec), dtype),
            (Weight::Threshold, threshold.map(to_host).unwrap_or_default(), WeightDtype::F32),
        ];
        for (weight, values, dtype) in changed {
            if let Some(at) = dtype.first_not_finite(&values) {
                let name = self.stored(weight).name().unwrap_or("threshold");
                return Err(self.file.cannot_hold(name, at, (values[at], dtype)));
            }
        }
        Ok(())
    }

    fn unusable(&self, source: SaeError) -> CheckpointError {
        CheckpointError::SaeFile(SaeFileError::Sae { path: self.path().to_owned(), source })
    }
}
