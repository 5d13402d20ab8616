//! An SAE of any format: what it computes, and where in its files the weights are.

use std::path::Path;

use burn::tensor::{DType, Device, Tensor, TensorData};
use nanoscope_hooks::HookPoint;
use nanoscope_sae::{GateWeights, MagnitudeWeights, Sae, SaeConfig, SaeError, SaeWeights};
use serde_json::Value;

use crate::container::{Order, TensorFile, WeightDtype};
use crate::error::CheckpointError;

/// An SAE whose configuration is understood and whose weights are not read yet.
#[derive(Debug)]
pub(crate) struct SaeFile {
    pub(crate) file: TensorFile,
    /// The tool that wrote it, for people.
    pub(crate) format: &'static str,
    pub(crate) config: SaeConfig,
    pub(crate) place: Place,
    /// Where each weight of the configuration comes from.
    pub(crate) sources: Vec<(Weight, Source)>,
    /// What stands before the names of its tensors; others in the file are not its own.
    pub(crate) scope: &'static str,
    /// Tensors in its scope that are no weights; `*` at the end stands for anything.
    pub(crate) ignored: &'static [&'static str],
    pub(crate) finish: Finish,
    /// The configuration as the files have it.
    #[cfg_attr(not(feature = "gpt"), expect(dead_code, reason = "only `inspect` shows it"))]
    pub(crate) description: Option<Value>,
    /// What else people should know: (what, how).
    #[cfg_attr(not(feature = "gpt"), expect(dead_code, reason = "only `inspect` shows it"))]
    pub(crate) notes: Vec<(&'static str, String)>,
}

/// Where in a model an SAE belongs, as far as its files say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The name of the activation that it reads.
    pub hook: Option<String>,
    /// The name of the activation that it writes, of a transcoder.
    pub hook_out: Option<String>,
}

/// A weight of an SAE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    WEnc,
    BEnc,
    WDec,
    BDec,
    Threshold,
    RMag,
    BMag,
    WGate,
    BGate,
    WSkip,
}

/// Where a weight comes from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Source {
    /// A tensor, times a number.
    Tensor { name: String, order: Order, times: f32 },
    /// `exp` of a tensor.
    Exp { name: String },
    /// A tensor of one number, which all entries have, times a number.
    One { name: String, times: f32 },
    /// The same number in all entries.
    Fill(f32),
}

/// What is done to weights that are read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Finish {
    /// Nothing.
    #[default]
    AsRead,
    /// The encoder is multiplied by the decoder's norms and the decoder divided by them, thresholds
    /// and all else left: what SAELens does as it makes a JumpReLU SAE of a batch-top-k one.
    RescaleByDecoderNorm,
    /// Thresholds are divided by the decoder's norms: they were compared with pre-activations that
    /// are multiplied by them.
    ThresholdOverDecoderNorm,
    /// If the decoder's rows are not of norm 1, they are brought to it, features and thresholds
    /// multiplied by what it was: what dictionary_learning does to an `AutoEncoder`.
    FoldDecoderNorm,
    /// The decoder's rows are multiplied by the numbers of this tensor.
    ScaleDecoderRows(String),
}

impl Source {
    pub(crate) fn tensor(name: impl Into<String>) -> Self {
        Self::Tensor { name: name.into(), order: Order::AsStored, times: 1.0 }
    }

    pub(crate) fn transposed(name: impl Into<String>) -> Self {
        Self::Tensor { name: name.into(), order: Order::Transposed, times: 1.0 }
    }

    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Tensor { name, .. } | Self::Exp { name } | Self::One { name, .. } => Some(name),
            Self::Fill(_) => None,
        }
    }
}

impl Weight {
    pub(crate) fn shape(self, config: &SaeConfig) -> Vec<usize> {
        let (d_in, d_sae, d_out) = (config.d_in(), config.d_sae(), config.d_out());
        match self {
            Self::WEnc | Self::WGate => vec![d_in, d_sae],
            Self::WDec => vec![d_sae, d_out],
            Self::WSkip => vec![d_in, d_out],
            Self::BDec => vec![d_out],
            Self::BEnc | Self::Threshold | Self::RMag | Self::BMag | Self::BGate => vec![d_sae],
        }
    }
}

/// How far from 1 a norm is 1, by `torch.allclose`.
const CLOSE: f32 = 1e-5 + 1e-8;

/// The weights that every SAE has, under the field's usual names, `x · W` being how they are used.
pub(crate) fn usual_sources() -> Vec<(Weight, Source)> {
    vec![
        (Weight::WEnc, Source::tensor("W_enc")),
        (Weight::BEnc, Source::tensor("b_enc")),
        (Weight::WDec, Source::tensor("W_dec")),
        (Weight::BDec, Source::tensor("b_dec")),
    ]
}

/// Those of an SAE made of two linear layers of PyTorch, `[d_out, d_in]`.
pub(crate) fn linear_sources(encoder: &str, decoder: &str) -> Vec<(Weight, Source)> {
    vec![
        (Weight::WEnc, Source::transposed(format!("{encoder}.weight"))),
        (Weight::BEnc, Source::tensor(format!("{encoder}.bias"))),
        (Weight::WDec, Source::transposed(format!("{decoder}.weight"))),
        (Weight::BDec, Source::tensor(format!("{decoder}.bias"))),
    ]
}

impl Place {
    /// The place of a hook point, and of the one that is written if that is another.
    pub fn of(hook: HookPoint, hook_out: Option<HookPoint>) -> Self {
        Self { hook: Some(hook.to_string()), hook_out: hook_out.map(|hook| hook.to_string()) }
    }

    /// A place that one activation has.
    pub(crate) fn at(hook: impl Into<String>) -> Self {
        Self { hook: Some(hook.into()), hook_out: None }
    }

    /// A transcoder's place.
    pub(crate) fn between(hook: impl Into<String>, hook_out: impl Into<String>) -> Self {
        Self { hook: Some(hook.into()), hook_out: Some(hook_out.into()) }
    }
}

impl SaeFile {
    /// The tensors in `file`, before anything is known of them.
    pub(crate) fn of(file: TensorFile, format: &'static str, config: SaeConfig) -> Self {
        Self {
            file,
            format,
            config,
            place: Place::default(),
            sources: usual_sources(),
            scope: "",
            ignored: &[],
            finish: Finish::AsRead,
            description: None,
            notes: Vec::new(),
        }
    }

    /// Checks that all weights are there, in the right shapes, and no tensor that is none of them.
    pub(crate) fn checked(self) -> Result<Self, CheckpointError> {
        for (weight, source) in &self.sources {
            let shape = weight.shape(&self.config);
            match source {
                Source::Tensor { name, order: Order::AsStored, .. } | Source::Exp { name } => {
                    self.file.info_of_shape(name, &shape)?;
                }
                Source::Tensor { name, order: Order::Transposed, .. } => {
                    let in_file: Vec<usize> = shape.iter().rev().copied().collect();
                    self.file.info_of_shape(name, &in_file)?;
                }
                Source::One { name, .. } => {
                    if self.file.info(name)?.len() != 1 {
                        self.file.info_of_shape(name, &[])?;
                    }
                }
                Source::Fill(_) => {}
            }
        }
        if let Finish::ScaleDecoderRows(name) = &self.finish {
            self.file.info_of_shape(name, &[self.config.d_sae()])?;
        }
        let mut names = self.file.tensors().map(|(name, _)| name);
        let unknown = names.find(|name| name.starts_with(self.scope) && !self.knows(name));
        if let Some(name) = unknown {
            return Err(CheckpointError::UnexpectedSaeTensor {
                path: self.path().to_owned(),
                tensor: name.strip_prefix(self.scope).unwrap_or(name).to_owned(),
                architecture: self.config.architecture().name(),
            });
        }
        drop(names);
        Ok(self)
    }

    fn knows(&self, tensor: &str) -> bool {
        let is_ignored = |pattern: &&str| match pattern.strip_suffix('*') {
            Some(start) => tensor.starts_with(start),
            None => tensor == *pattern,
        };
        let scales = matches!(&self.finish, Finish::ScaleDecoderRows(name) if name == tensor);
        scales
            || self.sources.iter().any(|(_, source)| source.name() == Some(tensor))
            || self.ignored.iter().any(is_ignored)
    }

    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Reads the weights onto `device`, one at a time, the matrices as `dtype`.
    pub(crate) fn load(&self, device: &Device, dtype: WeightDtype) -> Result<Sae, CheckpointError> {
        let has = |weight| self.sources.iter().any(|(known, _)| *known == weight);
        let vector = |weight| self.vector(weight, device);
        let matrix = |weight| self.matrix(weight, device, dtype);
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
        self.finish(weights, dtype)
    }

    fn matrix(
        &self,
        weight: Weight,
        device: &Device,
        dtype: WeightDtype,
    ) -> Result<Tensor<2>, CheckpointError> {
        let shape = weight.shape(&self.config);
        match self.source(weight) {
            Source::Tensor { name, order, times } => {
                let data = self.file.read_as(name, &shape, *order, dtype)?;
                // Said, or it would become the device's usual type.
                let matrix = Tensor::from_data(data, (device, dtype.burn()));
                Ok(if *times == 1.0 { matrix } else { matrix * *times })
            }
            other => unreachable!("a matrix is made of a tensor, not of {other:?}"),
        }
    }

    fn vector(&self, weight: Weight, device: &Device) -> Result<Tensor<1>, CheckpointError> {
        let shape = weight.shape(&self.config);
        Ok(match self.source(weight) {
            Source::Tensor { name, order, times } => {
                let vector =
                    Tensor::from_data(self.file.read(name, &shape, *order)?, (device, DType::F32));
                if *times == 1.0 { vector } else { vector * *times }
            }
            Source::Exp { name } => {
                let data = self.file.read(name, &shape, Order::AsStored)?;
                let values: Vec<f32> = data.iter::<f32>().map(f32::exp).collect();
                if let Some(at) = values.iter().position(|value| !value.is_finite()) {
                    let (path, tensor) = (self.path().to_owned(), name.clone());
                    return Err(CheckpointError::NotFinite { path, tensor, at });
                }
                Tensor::from_data(TensorData::new(values, shape), (device, DType::F32))
            }
            Source::One { name, times } => {
                let one = self.file.read_scalar(name)? * times;
                Tensor::full(shape, one, (device, DType::F32))
            }
            Source::Fill(value) => Tensor::full(shape, *value, (device, DType::F32)),
        })
    }

    fn source(&self, weight: Weight) -> &Source {
        let found = self.sources.iter().find(|(known, _)| *known == weight);
        &found.expect("a format gives a source for each weight of its architecture").1
    }

    fn finish(&self, weights: SaeWeights, dtype: WeightDtype) -> Result<Sae, CheckpointError> {
        let new = |weights| Sae::new(self.config.clone(), weights);
        let sae = match &self.finish {
            Finish::AsRead => new(weights),
            Finish::FoldDecoderNorm => new(weights).and_then(|sae| {
                let off = (sae.decoder_norms() - 1.0).abs().max().into_scalar::<f32>();
                if off <= CLOSE { Ok(sae) } else { sae.fold_w_dec_norm() }
            }),
            Finish::RescaleByDecoderNorm => {
                let threshold = weights.threshold.clone();
                let folded = new(weights).and_then(|sae| sae.fold_w_dec_norm());
                folded.and_then(|sae| new(SaeWeights { threshold, ..sae.weights() }))
            }
            Finish::ThresholdOverDecoderNorm => new(weights).and_then(|sae| {
                let norms = sae.decoder_norms().clamp_min(f32::MIN_POSITIVE);
                let weights = sae.weights();
                let threshold = weights.threshold.map(|threshold| threshold / norms);
                new(SaeWeights { threshold, ..weights })
            }),
            Finish::ScaleDecoderRows(name) => {
                let shape = [self.config.d_sae()];
                let data = self.file.read(name, &shape, Order::AsStored)?;
                let device = weights.w_dec.device();
                let scale = Tensor::<1>::from_data(data, (&device, DType::F32));
                let w_dec = weights.w_dec.cast(DType::F32) * scale.unsqueeze_dim(1);
                new(SaeWeights { w_dec, ..weights })
            }
        };
        let sae = sae.map_err(|source| self.unusable(source))?;
        // Whatever was computed was computed in float32.
        Ok(sae.with_matrices_as(dtype.burn()))
    }

    fn unusable(&self, source: SaeError) -> CheckpointError {
        CheckpointError::Sae { path: self.path().to_owned(), source }
    }
}
