//! SAEs as arguments.

use std::path::PathBuf;

use nanoscope::{Microscope, SaeOptions, SaePath};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::plan::hook;
use crate::sae::Sae;

/// SAEs to add to a model.
#[derive(Default)]
pub(crate) struct Given {
    pub(crate) paths: Vec<SaePath>,
    pub(crate) loaded: Vec<nanoscope::LoadedSae>,
}

impl Given {
    /// A path, an `Sae`, a list of these, or a dict of them by hook point.
    pub(crate) fn of(saes: &Bound<'_, PyAny>) -> PyResult<Self> {
        let mut given = Self::default();
        if let Ok(by_hook) = saes.cast::<PyDict>() {
            for (name, sae) in by_hook {
                let at = hook(saes.py(), name.extract()?)?;
                match sae.cast::<Sae>() {
                    Ok(sae) => given.loaded.push(sae.get().copy_at(Some(at))),
                    Err(_) => {
                        given.paths.push(SaePath { path: sae.extract()?, at: Some((at, None)) });
                    }
                }
            }
            return Ok(given);
        }
        let several = match saes.extract::<PathBuf>() {
            Ok(_) => vec![saes.clone()],
            Err(_) if saes.cast::<Sae>().is_ok() => vec![saes.clone()],
            Err(_) => saes.try_iter()?.collect::<PyResult<_>>()?,
        };
        for sae in several {
            match sae.cast::<Sae>() {
                Ok(sae) => given.loaded.push(sae.get().copy_at(None)),
                Err(_) => given.paths.push(sae.extract::<PathBuf>()?.into()),
            }
        }
        Ok(given)
    }

    /// `scope` with these SAEs.
    pub(crate) fn add_to(
        self,
        mut scope: Microscope,
        options: &SaeOptions,
    ) -> Result<Microscope, nanoscope::Error> {
        if !self.paths.is_empty() {
            scope.add_saes(self.paths, options)?;
        }
        for loaded in self.loaded {
            scope.add_loaded(loaded)?;
        }
        Ok(scope)
    }
}
