use nanoscope_checkpoint::files::canonicalize;
use nanoscope_checkpoint::{
    FitModel, LoadedSae, Metadata, SaeHooks, SaeOptions, SaePath, WeightProcessing, load_saes_with,
};
use nanoscope_hooks::HookPoint;
use nanoscope_index::FeatureIndex;
use nanoscope_sae::Sae;
use nanoscope_transformer::Gpt;

use crate::error::{Error, ProcessingError, Result};
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
    ///     dtype: Some(WeightDtype::BF16.into()),
    ///     hooks: Some(vec![HookPoint::ResidPost(12)]),
    ///     ..SaeOptions::default()
    /// };
    /// scope.add_saes(["sae_outputs"], &options)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if a path has no SAE or a file is broken, and as
    /// [`add_loaded`](Self::add_loaded).
    pub fn add_saes(
        &mut self,
        paths: impl IntoIterator<Item = impl Into<SaePath>>,
        options: &SaeOptions,
    ) -> Result<()> {
        let device = self.model.gpt().device().clone();
        let post_norms = options.post_norms.or(Some(self.model.gpt().config().post_norms));
        let options = &SaeOptions { post_norms, ..options.clone() };
        let before = (self.model.gpt().clone(), self.centred, self.warnings.len());
        let mut added = Vec::new();
        for loaded in load_saes_with(paths, &device, options)? {
            match self.add(loaded) {
                Ok((hook, true)) => added.push(hook),
                Ok((_, false)) => {}
                Err(error) => {
                    for hook in added {
                        self.model.remove_sae(hook);
                        self.labels.remove(&hook);
                        self.sae_files.remove(&hook);
                    }
                    let (gpt, centred, warnings) = before;
                    self.model.set_gpt(gpt);
                    self.centred = centred;
                    self.warnings.truncate(warnings);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Adds an SAE or transcoder where it belongs, with its labels, and returns the hook point that it
    /// reads. A transcoder writes the hook point that its files, or [`LoadedSae::hooks`], name.
    ///
    /// The same file can be added at several hook points. Adding it a second time at one changes
    /// nothing.
    ///
    /// ```no_run
    /// use nanoscope::{HookPoint, Microscope, SaeHooks, device, load_sae};
    ///
    /// # fn main() -> nanoscope::Result<()> {
    /// let device = device("auto")?;
    /// let mut scope = Microscope::open("base_checkpoints/d20", &device)?;
    /// scope.add_loaded(load_sae("sae_outputs/layer_12".as_ref(), &device)?)?;
    ///
    /// // A transcoder whose files do not name our hook points.
    /// let mut loaded = load_sae("transcoders/layer_3.safetensors".as_ref(), &device)?;
    /// loaded.hooks = SaeHooks::new(HookPoint::Ln2Normalized(3), Some(HookPoint::MlpOut(3)));
    /// scope.add_loaded(loaded)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if its hook point is not known, [`Error::SaeMismatch`] if it does not fit
    /// the model, it is a transcoder and the hook point that it writes is not known, or the hook point
    /// has another SAE already. The model is then unchanged.
    pub fn add_loaded(&mut self, loaded: LoadedSae) -> Result<HookPoint> {
        Ok(self.add(loaded)?.0)
    }

    /// As [`add_loaded`](Self::add_loaded), and returns the microscope.
    ///
    /// # Errors
    /// As [`add_loaded`](Self::add_loaded).
    pub fn with_loaded(mut self, loaded: LoadedSae) -> Result<Self> {
        self.add_loaded(loaded)?;
        Ok(self)
    }

    /// Adds an SAE; false if it is there already.
    fn add(&mut self, loaded: LoadedSae) -> Result<(HookPoint, bool)> {
        let (hook, hook_out) = (loaded.hook()?, loaded.hook_out()?);
        let warnings = self.warnings_about(&loaded);
        let LoadedSae { sae, path, labels, metadata, .. } = loaded;
        let write = hook_out.unwrap_or(hook);
        let file = canonicalize(&path).unwrap_or_else(|_| path.clone());
        if self.sae_files.get(&hook) == Some(&file)
            && self.model.write_point(hook) == write
            && self.model.saes().get(&hook).is_some_and(|known| is_same(known, &sae))
        {
            return Ok((hook, false));
        }
        let centred = self
            .stream_for(&metadata, [hook, write])
            .map_err(|reason| Error::SaeProcessing { path: path.clone(), reason })?;
        let put = if write == hook {
            self.model.add_sae(hook, sae)
        } else {
            self.model.add_transcoder(hook, write, sae)
        };
        put.map_err(|source| Error::SaeMismatch { path, source: Box::new(source) })?;
        if let Some(centred) = centred {
            self.model.set_gpt(centred);
            self.centred = true;
        }
        self.warnings.extend(warnings);
        self.labels.insert(hook, labels);
        if let Some(index) = FeatureIndex::find(&self.model, hook, &file)? {
            self.names.insert_file(index);
        }
        self.sae_files.insert(hook, file);
        Ok((hook, true))
    }

    /// Gives the model the residual stream that `saes` were trained on, without adding them.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if the hook point of one is not known, [`Error::SaeProcessing`] if the model
    /// cannot have its activation, or if they were trained on different streams.
    pub fn prepare_for(&mut self, saes: &[LoadedSae]) -> Result<()> {
        let mut first: Option<(bool, HookPoint)> = None;
        let mut centred_model = None;
        for loaded in saes {
            let refused = |reason| Error::SaeProcessing { path: loaded.path.clone(), reason };
            let hook = loaded.hook()?;
            let points = [hook, loaded.hook_out()?.unwrap_or(hook)];
            let needed = self.stream_for(&loaded.metadata, points).map_err(refused)?;
            if points.iter().any(|point| point.is_in_stream()) {
                let centred = needed.is_some() || self.centred;
                match first {
                    Some((other_centred, other)) if other_centred != centred => {
                        return Err(refused(ProcessingError::TwoStreams { centred, other }));
                    }
                    _ => first = first.or(Some((centred, hook))),
                }
            }
            centred_model = centred_model.or(needed);
        }
        if let Some(centred) = centred_model {
            self.model.set_gpt(centred);
            self.centred = true;
        }
        for loaded in saes {
            let warnings = self.warnings_about(loaded);
            self.warnings.extend(warnings);
        }
        Ok(())
    }

    /// Checks that the model has the activations at `points` on which an SAE with this metadata was
    /// trained. Returns the model with a centred stream if that is needed for it.
    fn stream_for(
        &self,
        metadata: &Metadata,
        points: [HookPoint; 2],
    ) -> Result<Option<Gpt>, ProcessingError> {
        let processing = WeightProcessing::of(metadata)?;
        for point in points {
            processing.check_at(point)?;
        }
        if processing.centred == self.centred || !points.iter().any(|point| point.is_in_stream()) {
            return Ok(None);
        }
        let mut added = self.model.saes().keys().copied();
        let in_stream =
            |hook: &HookPoint| hook.is_in_stream() || self.model.write_point(*hook).is_in_stream();
        if let Some(other) = added.find(in_stream) {
            return Err(ProcessingError::TwoStreams { centred: processing.centred, other });
        }
        if !processing.centred {
            // It was centred for SAEs that are not added, by `prepare_for`.
            return Err(ProcessingError::Uncentred);
        }
        self.model.gpt().centred().map(Some).map_err(ProcessingError::Centre)
    }

    /// Signs that an SAE was trained on another model, at another place, or on texts that begin in another way.
    /// Those that were given before are left out.
    fn warnings_about(&self, loaded: &LoadedSae) -> Vec<String> {
        let mut warnings = self.signs_of_another_model(loaded);
        warnings.extend(other_hooks(loaded));
        warnings.extend(self.missing_start(&loaded.metadata));
        warnings.retain(|warning| !self.warnings.contains(warning));
        warnings
    }

    /// A warning if the SAE was trained with a token before each text that the tokenizer does not put there,
    /// as TransformerLens does with GPT-2's and Pythia's texts.
    fn missing_start(&self, metadata: &Metadata) -> Option<String> {
        let tokenizer = self.model.tokenizer()?;
        let is_stated = metadata.get("prepend_bos") == Some(&true.into());
        if !is_stated || tokenizer.bos().is_some() {
            return None;
        }
        let start = tokenizer.token_text(tokenizer.document_start()?)?;
        Some(format!(
            "the SAEs were trained with a token before each text (prepend_bos), and this tokenizer puts \
             none there; begin the text with {start} and add --special-tokens for the same features"
        ))
    }

    /// Compares the model that an SAE was trained on with this one, if its files are known.
    fn signs_of_another_model(&self, loaded: &LoadedSae) -> Vec<String> {
        let Some(origin) = &self.origin else { return Vec::new() };
        let gpt = self.model.gpt();
        let model = FitModel { config: gpt.config(), kind: origin.kind, name: origin.files.name() };
        let LoadedSae { path, hooks, sae, metadata, .. } = loaded;
        let fit = model.fit(path.clone(), hooks, sae.config(), metadata);
        let line = |warning: String| format!("{}: {warning}", path.display());
        fit.warnings.into_iter().map(line).collect()
    }
}

/// A warning if the SAE is placed at other hook points than its files name.
fn other_hooks(loaded: &LoadedSae) -> Option<String> {
    let names = |hooks: &SaeHooks| {
        let names = [&hooks.hook, &hooks.hook_out].map(Option::as_deref);
        names.into_iter().flatten().collect::<Vec<_>>().join(":")
    };
    let (stated, named) = (names(&loaded.hooks), names(loaded.overruled.as_ref()?));
    let path = loaded.path.display();
    Some(format!("{path}: its files name {named}, and it is used at {stated} as stated"))
}

/// Returns whether two SAEs of one file were read in the same way.
fn is_same(a: &Sae, b: &Sae) -> bool {
    a.config() == b.config() && a.dtype() == b.dtype()
}
