use nanoscope_hooks::HookPoint;
use nanoscope_runtime::InterpretableModel;
use serde::{Deserialize, Serialize};

use crate::continuations::{is_share, multiplications};
use crate::error::IndexError;

/// The sizes of a measurement of the words that features write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WritingOptions {
    /// The number of texts per feature. Default: 4.
    pub texts: usize,
    /// The maximum number of generated tokens per text. Default: 32.
    pub tokens: usize,
    /// The seed of the sampling. Default: 42.
    pub seed: u64,
}

impl Default for WritingOptions {
    fn default() -> Self {
        Self { texts: 4, tokens: 32, seed: 42 }
    }
}

impl WritingOptions {
    /// Returns whether the measurement for the SAE at `hook` takes minutes on a CPU, not hours.
    ///
    /// # Errors
    /// [`IndexError::Runtime`] if the model has no SAE there.
    pub fn is_quick(
        &self,
        model: &InterpretableModel,
        hook: HookPoint,
    ) -> Result<bool, IndexError> {
        /// Multiplications: about five minutes on two cores.
        const PRODUCT: f64 = 3e12;

        let tokens = model.sae(hook)?.config().d_sae() * self.texts * self.tokens;
        Ok(multiplications(model) as f64 * tokens as f64 <= PRODUCT)
    }
}

/// A measurement of the words that features write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Writing {
    /// The number of texts per feature.
    pub texts: u32,
    /// The maximum number of tokens per text.
    pub tokens: u32,
    /// The share of the norm with which features without one of their own were added.
    pub share: f32,
}

impl Writing {
    pub(crate) fn is_valid(&self) -> bool {
        self.texts > 0 && is_share(self.share)
    }
}
