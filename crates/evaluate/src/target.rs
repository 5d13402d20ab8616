use nanoscope_hooks::HookPoint;
use nanoscope_runtime::InterpretableModel;
use nanoscope_sae::Sae;

use crate::EvaluateError;

/// An SAE that is to be evaluated, and where in the model it belongs.
///
/// Several may belong to the same hook point, as when SAEs of different sparsity are compared.
#[derive(Debug, Clone)]
pub struct EvalTarget {
    name: String,
    read: HookPoint,
    write: HookPoint,
    sae: Sae,
}

impl EvalTarget {
    /// `sae` at the point that it reads and, of a transcoder, the one that it writes.
    ///
    /// # Errors
    /// [`EvaluateError::Target`] if the model has no such points, they have another width than the
    /// SAE, or a transcoder writes before it reads.
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

    /// How it is called in tables.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The point that it reads.
    pub fn read(&self) -> HookPoint {
        self.read
    }

    /// The point that it writes: [`read`](Self::read), unless it is a transcoder.
    pub fn write(&self) -> HookPoint {
        self.write
    }

    /// The SAE.
    pub fn sae(&self) -> &Sae {
        &self.sae
    }
}
