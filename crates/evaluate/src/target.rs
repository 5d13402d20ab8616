use nanoscope_hooks::HookPoint;
use nanoscope_runtime::InterpretableModel;
use nanoscope_sae::Sae;

use crate::EvaluateError;

/// An SAE to evaluate, with its hook points.
///
/// Several targets may share a hook point, for example to compare SAEs of different sparsity.
#[derive(Debug, Clone)]
pub struct EvalTarget {
    name: String,
    read: HookPoint,
    write: HookPoint,
    sae: Sae,
}

impl EvalTarget {
    /// Creates a target from `sae`, the hook point it reads and, for a transcoder, the one it
    /// writes.
    ///
    /// # Errors
    /// [`EvaluateError::Target`] if the model lacks a hook point, a width differs from the SAE's,
    /// or a transcoder writes before it reads.
    pub fn new(
        model: &InterpretableModel,
        name: impl Into<String>,
        (read, write): (HookPoint, Option<HookPoint>),
        sae: Sae,
    ) -> Result<Self, EvaluateError> {
        let name = name.into();
        let write = write.unwrap_or(read);
        let alone = InterpretableModel::new(model.gpt().clone());
        let fits = if write == read {
            alone.with_sae(read, sae.clone())
        } else {
            alone.with_transcoder(read, write, sae.clone())
        };
        match fits {
            Ok(_) => Ok(Self { name, read, write, sae }),
            Err(source) => Err(EvaluateError::Target { name, source: Box::new(source) }),
        }
    }

    /// Name in tables.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The hook point that the SAE reads.
    pub fn read(&self) -> HookPoint {
        self.read
    }

    /// The hook point that the SAE writes: [`read`](Self::read), unless it is a transcoder.
    pub fn write(&self) -> HookPoint {
        self.write
    }

    /// The SAE.
    pub fn sae(&self) -> &Sae {
        &self.sae
    }
}
