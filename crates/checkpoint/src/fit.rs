//! Compares an SAE with a model.

use std::path::{Path, PathBuf};

use nanoscope_hooks::HookPoint;
use nanoscope_sae::SaeConfig;
use nanoscope_transformer::GptConfig;
use serde::Serialize;

use crate::container::TensorFile;
use crate::error::CheckpointError;
use crate::inspect::InspectOptions;
use crate::model::{Family, ModelFiles, ModelKind};
use crate::sae::{Metadata, SaeHooks, SaePath, WeightProcessing, find_saes, open_sae_in};

/// The fit of an SAE and a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fit {
    /// The SAE's file.
    pub path: PathBuf,
    /// The hook point whose activation it reads, where it is tracked; `None` if it is not known.
    pub hook: Option<HookPoint>,
    /// The hook point that a transcoder writes.
    pub hook_out: Option<HookPoint>,
    /// True if the model's residual stream is centred for it.
    pub centred: bool,
    /// The reasons for which the model cannot run it.
    pub problems: Vec<String>,
    /// Signs that it was trained on another model.
    pub warnings: Vec<String>,
}

/// A model, for comparison with SAEs.
#[derive(Debug, Clone)]
pub struct FitModel<'a> {
    /// The configuration.
    pub config: &'a GptConfig,
    /// The program whose function it computes.
    pub kind: ModelKind,
    /// Its published name, if its files state one.
    pub name: Option<String>,
}

/// Compares each SAE at `saes` with the model at `model`, without loading weights.
///
/// # Errors
/// [`CheckpointError`] if there is no model or no SAE, or a file is damaged.
pub fn fits(
    model: &Path,
    saes: impl IntoIterator<Item = impl Into<SaePath>>,
    options: &InspectOptions,
) -> Result<Vec<Fit>, CheckpointError> {
    let files = ModelFiles::find(model)?;
    let description = files.describe(options.era)?;
    let model =
        FitModel { config: &description.config, kind: description.kind, name: files.name() };
    let mut fits = Vec::new();
    for path in saes {
        let SaePath { path, at } = path.into();
        let found = find_saes(&path, options.format)?;
        if found.is_empty() {
            return Err(CheckpointError::NothingKnown { path });
        }
        for file in found {
            let sae = open_sae_in(TensorFile::open(&file)?, options.format)?;
            let sae = match at {
                Some(at) => sae.placed(at, Some(description.config.post_norms)),
                None => sae,
            };
            fits.push(model.fit(file, &sae.hooks, &sae.config, &sae.metadata));
        }
    }
    Ok(fits)
}

impl FitModel<'_> {
    /// Compares the SAE in the file at `path` with the model.
    pub fn fit(
        &self,
        path: PathBuf,
        hooks: &SaeHooks,
        sae: &SaeConfig,
        metadata: &Metadata,
    ) -> Fit {
        let mut problems = Vec::new();
        let mut place = |name: Option<&str>, width: usize| {
            let name = name?;
            let Some(point) = hooks_point(name, self.config) else {
                problems.push(format!("`{name}` is not a hook point"));
                return None;
            };
            if let Some(problem) = self.problem(point, width) {
                problems.push(problem);
            }
            Some(point)
        };
        let hook = place(hooks.hook.as_deref(), sae.d_in());
        let hook_out = place(hooks.hook_out.as_deref(), sae.d_out());
        if hooks.hook.is_none() {
            problems.push("its files do not name its hook point; state it as HOOK=PATH".to_owned());
        }
        let mut centred = false;
        match WeightProcessing::of(metadata) {
            Ok(processing) => {
                let points = hook.into_iter().chain(hook_out);
                for point in points {
                    centred |= processing.centred && point.is_in_stream();
                    let refused = processing.check_at(point).err();
                    problems.extend(refused.map(|refused| refused.to_string()));
                }
                if centred && !self.config.can_be_centred() {
                    problems.push(
                        "it was trained with `center_writing_weights: true`, and the norms of the \
                         model do not subtract the mean"
                            .to_owned(),
                    );
                }
            }
            Err(error) => problems.push(error.to_string()),
        }
        Fit { path, hook, hook_out, centred, problems, warnings: self.warnings(metadata) }
    }

    fn problem(&self, point: HookPoint, width: usize) -> Option<String> {
        let layers = self.config.shape.n_layer;
        if point.layer().is_some_and(|layer| layer >= layers) {
            return Some(format!(
                "{point} is in a layer that the model, of {layers}, does not have"
            ));
        }
        if let Some(reason) = self.config.missing(point) {
            return Some(format!("the model does not have {point}: {reason}"));
        }
        match self.config.hook_shape(point).width() {
            None => Some(format!("{point} is a pattern, whose width grows with the text")),
            Some(found) if found != width => {
                Some(format!("its width is {width}, and that of {point} {found}"))
            }
            Some(_) => None,
        }
    }

    /// Compares the names of models.
    fn warnings(&self, metadata: &Metadata) -> Vec<String> {
        let stated = metadata.get("model_name").and_then(|name| name.as_str());
        let Some(stated) = stated.filter(|name| !name.trim().is_empty()) else {
            return Vec::new();
        };
        let differs = match (&self.name, self.kind, family(stated)) {
            (Some(name), ..) => (!is_same_name(name, stated)).then(|| name.clone()),
            // A folder's own name can be anything; the family cannot.
            (None, ModelKind::Family(own), Some(of_sae)) => {
                (own != of_sae).then(|| format!("a {own}"))
            }
            (None, ModelKind::Nanochat(_), Some(_)) => Some("a nanochat".to_owned()),
            (None, _, None) => None,
        };
        let warning =
            |model: String| format!("it was trained on {stated}, and the model is {model}");
        differs.map(warning).into_iter().collect()
    }
}

/// The hook point that the name in an SAE's files stands for in this model.
fn hooks_point(name: &str, config: &GptConfig) -> Option<HookPoint> {
    crate::sae::Site::of(name).point(Some(config.post_norms))
}

/// Returns whether both are names of one model: owners, case and punctuation differ from place to place.
fn is_same_name(one: &str, other: &str) -> bool {
    plain_name(one) == plain_name(other)
}

fn plain_name(name: &str) -> String {
    let name = name.trim().trim_end_matches('/');
    // A path into Hugging Face's cache has the name in that of a folder.
    let repository = name.split('/').find_map(|part| part.strip_prefix("models--"));
    let name = match repository {
        Some(repository) => repository.rsplit("--").next(),
        None => name.rsplit('/').next(),
    };
    let name = name.unwrap_or_default().to_lowercase();
    let name: String =
        name.chars().map(|c| if matches!(c, '_' | '.' | ' ') { '-' } else { c }).collect();
    let name = name.strip_prefix("meta-").unwrap_or(&name);
    // TransformerLens's names of published models.
    match name {
        "gpt2-small" => "gpt2".to_owned(),
        name => name.to_owned(),
    }
}

/// The family of a published model's name.
fn family(name: &str) -> Option<Family> {
    let name = plain_name(name);
    let is = |start: &str| name.starts_with(start);
    Some(match () {
        () if is("gpt2") => Family::Gpt2,
        () if is("pythia") || is("gpt-neox") => Family::GptNeoX,
        () if is("llama") => Family::Llama,
        () if is("mistral") => Family::Mistral,
        () if is("gemma-2-") => Family::Gemma2,
        () if is("gemma-3-") => Family::Gemma3,
        () if is("gemma-2b") || is("gemma-7b") => Family::Gemma,
        () if is("qwen2") => Family::Qwen2,
        () if is("qwen3") => Family::Qwen3,
        () => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_model_are_recognised_as_such() {
        for (one, other) in [
            ("google/gemma-2-2b", "gemma-2-2b"),
            ("openai-community/gpt2", "gpt2-small"),
            ("meta-llama/Llama-3.1-8B", "meta-llama/Meta-Llama-3.1-8B"),
            ("EleutherAI/pythia-70m-deduped", "pythia-70m-deduped"),
            ("/home/me/.cache/huggingface/hub/models--google--gemma-2-2b", "google/gemma-2-2b"),
            ("hub/models--google--gemma-2-2b/snapshots/0123abc", "gemma-2-2b"),
        ] {
            assert!(is_same_name(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("google/gemma-2-2b", "gemma-2b"),
            ("google/gemma-2-2b", "gemma-2-2b-it"),
            ("EleutherAI/pythia-70m", "pythia-70m-deduped"),
            ("gpt2", "gpt2-medium"),
        ] {
            assert!(!is_same_name(one, other), "{one} {other}");
        }
    }

    #[test]
    fn a_published_name_tells_the_family() {
        assert_eq!(family("google/gemma-2-2b"), Some(Family::Gemma2));
        assert_eq!(family("gemma-2b-it"), Some(Family::Gemma));
        assert_eq!(family("gpt2-small"), Some(Family::Gpt2));
        assert_eq!(family("meta-llama/Llama-3.2-1B"), Some(Family::Llama));
        assert_eq!(family("d20"), None);
    }
}
