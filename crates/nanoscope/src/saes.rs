use nanoscope_checkpoint::{LoadedSae, SaeOptions, SaePath, load_saes_with};
use nanoscope_hooks::HookPoint;

use crate::error::{Error, Result};
use crate::microscope::Microscope;

impl Microscope {
    /// Adds every SAE at `paths`, files or folders, at the hook points that their files name.
    ///
    /// # Errors
    /// As [`add_saes`](Self::add_saes), which keeps the model if an SAE does not fit.
    pub fn with_saes(
        mut self,
        paths: impl IntoIterator<Item = impl Into<SaePath>>,
    ) -> Result<Self> {
        self.add_saes(paths, &SaeOptions::default())?;
        Ok(self)
    }

    /// Adds the SAEs at `paths` that `options` select, with their labels: all of them, or none if one
    /// fails.
    ///
    /// ```no_run
    /// use nanoscope::{HookPoint, Microscope, SaeOptions, WeightDtype, device};
    ///
    /// # fn main() -> nanoscope::Result<()> {
    /// let mut scope = Microscope::open("base_checkpoints/d20", &device("auto")?)?;
    /// let options = SaeOptions {
    ///     dtype: WeightDtype::BF16,
    ///     hooks: Some(vec![HookPoint::ResidPost(12)]),
    ///     ..SaeOptions::default()
    /// };
    /// scope.add_saes(["sae_outputs"], &options)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if a path has no SAE or a file is broken, [`Error::SaeMismatch`] if an SAE
    /// does not fit the model or its hook point has one already.
    pub fn add_saes(
        &mut self,
        paths: impl IntoIterator<Item = impl Into<SaePath>>,
        options: &SaeOptions,
    ) -> Result<()> {
        let device = self.model.gpt().device().clone();
        let mut added = Vec::new();
        for loaded in load_saes_with(paths, &device, options)? {
            match self.add_loaded(loaded) {
                Ok(hook) => added.push(hook),
                Err(error) => {
                    for hook in added {
                        self.model.remove_sae(hook);
                        self.labels.remove(&hook);
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn add_loaded(&mut self, loaded: LoadedSae) -> Result<HookPoint> {
        let (hook, hook_out) = (loaded.hook()?, loaded.hook_out()?);
        let LoadedSae { sae, path, labels, .. } = loaded;
        let put = match hook_out {
            Some(write) if write != hook => self.model.add_transcoder(hook, write, sae),
            _ => self.model.add_sae(hook, sae),
        };
        put.map_err(|source| Error::SaeMismatch { path, source: Box::new(source) })?;
        self.labels.insert(hook, labels);
        Ok(hook)
    }
}
