use std::collections::BTreeMap;
#[cfg(not(target_arch = "wasm32"))]
use std::path::Path;

use nanoscope::{Microscope, MicroscopeParts};
use nanoscope_checkpoint::{Labels, UserLabels};
#[cfg(not(target_arch = "wasm32"))]
use nanoscope_dashboard::{DashboardError, DashboardReader};
use nanoscope_hooks::HookPoint;
use nanoscope_index::{FeatureNames, Search};
use nanoscope_runtime::InterpretableModel;
use nanoscope_tokenizer::{Tokenizer, TokenizerError};
use serde::{Deserialize, Serialize};

/// The model that is served, with its SAEs and information about their features.
#[derive(Debug)]
pub struct ServedModel {
    /// The model, with a tokenizer.
    pub model: InterpretableModel,
    /// The name by which clients refer to the model.
    pub name: String,
    /// Information about each SAE, by hook point.
    pub sae_info: BTreeMap<HookPoint, SaeInfo>,
    /// The automatic names of the features, with the indexes of the SAEs.
    pub names: FeatureNames,
    /// The search for features.
    pub search: Search,
    /// Interventions that make texts about a topic, offered by the page.
    pub topics: Vec<Topic>,
}

/// An intervention that makes a text about something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    /// The topic, after «Make it about»: `dogs`.
    pub name: String,
    /// The intervention in its text form.
    pub steer: String,
    /// The prompt to continue.
    pub prompt: String,
    /// Words, one of which a text about the topic contains.
    pub words: Vec<String>,
}

/// Information about an SAE in addition to its weights.
#[derive(Debug, Default)]
pub struct SaeInfo {
    /// The labels that came with it.
    pub labels: Labels,
    /// The files of labels that users edit, unless [`Config::labels`](crate::Config::labels) names a
    /// folder. Default: none, labels are kept in memory only.
    pub user_labels: Option<UserLabels>,
    /// The dashboard of its features, computed on a corpus.
    #[cfg(not(target_arch = "wasm32"))]
    pub dashboard: Option<DashboardReader>,
}

impl SaeInfo {
    /// True if there is a dashboard, which a browser cannot read.
    pub(crate) fn has_dashboard(&self) -> bool {
        #[cfg(not(target_arch = "wasm32"))]
        return self.dashboard.is_some();
        #[cfg(target_arch = "wasm32")]
        return false;
    }
}

impl ServedModel {
    /// Serves the model, the SAEs and the labels of `scope` under `name`.
    pub fn new(scope: Microscope, name: String) -> Self {
        let MicroscopeParts { model, labels, names } = scope.into_parts();
        let info = |(hook, labels)| (hook, SaeInfo { labels, ..SaeInfo::default() });
        let sae_info = labels.into_iter().map(info).collect();
        Self { model, name, sae_info, names, search: Search::default(), topics: Vec::new() }
    }

    /// Adds the dashboard in `dir` to its SAE, which is found by its hook point and checked by its
    /// fingerprint.
    ///
    /// # Errors
    /// [`DashboardError`] if `dir` is not a dashboard written by `nanoscope dashboard`, or belongs to an
    /// SAE that the model does not have.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn with_dashboard(mut self, dir: &Path) -> Result<Self, DashboardError> {
        let dashboard = DashboardReader::open(dir)?;
        dashboard.check(&self.model)?;
        let hook = dashboard.hook();
        self.sae_info.entry(hook).or_default().dashboard = Some(dashboard);
        Ok(self)
    }

    /// True if `name` refers to the model: its own name, or one of the generic names `nanoscope` and
    /// `default`.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        name == self.name || ["nanoscope", "default"].contains(&name)
    }

    /// Finds the SAE with the given id: any name of its hook point, or Neuronpedia's `LAYER-SET`
    /// ([`source_id`](Self::source_id)).
    pub fn find_sae(&self, id: &str) -> Option<HookPoint> {
        let saes = self.model.saes();
        let by_id = || saes.keys().copied().find(|&hook| Self::source_id(hook) == id);
        by_id().or_else(|| id.parse().ok().filter(|hook| saes.contains_key(hook)))
    }

    /// The token ids of a prompt, with one token at its beginning where the tokenizer puts one (`<|bos|>`),
    /// whether the text has it or not. With
    /// `special`, the spellings of other special tokens stand for the tokens; otherwise they are
    /// characters.
    pub(crate) fn encode_prompt(
        &self,
        text: &str,
        special: bool,
    ) -> Result<Vec<u32>, TokenizerError> {
        let Some(tokenizer) = self.model.tokenizer() else { return Ok(Vec::new()) };
        let bos = tokenizer.bos();
        let text = without_bos(tokenizer, text);
        let mut ids: Vec<u32> = bos.into_iter().collect();
        ids.extend(if special {
            tokenizer.encode_with_special_tokens(text)?
        } else {
            tokenizer.encode(text)?
        });
        Ok(ids)
    }

    /// The special tokens whose spellings [`encode_prompt`](Self::encode_prompt) reads as characters.
    pub(crate) fn spelled_special_tokens(&self, text: &str) -> Vec<String> {
        let Some(tokenizer) = self.model.tokenizer() else { return Vec::new() };
        let text = without_bos(tokenizer, text);
        tokenizer.special_tokens_in(text).into_iter().map(str::to_owned).collect()
    }

    /// The maximum length in bytes of a text that fits into the context; 0 without a tokenizer.
    pub(crate) fn max_text_bytes(&self) -> usize {
        let Some(tokenizer) = self.model.tokenizer() else { return 0 };
        let bytes = |id| tokenizer.token_bytes(id).map_or(0, <[u8]>::len);
        let longest = (0..tokenizer.vocab_size() as u32).map(bytes).max().unwrap_or(0);
        longest.saturating_mul(self.model.context_len())
    }

    /// Neuronpedia's name for the SAE at `hook`: `3-resid_post` for `blocks.3.hook_resid_post`.
    pub fn source_id(hook: HookPoint) -> String {
        match hook.layer() {
            Some(layer) => format!("{layer}-{}", Self::source_set(hook)),
            None => hook.to_string(),
        }
    }

    /// Neuronpedia's name for the set of SAEs at the same kind of hook point in all layers: `resid_post`
    /// for `blocks.3.hook_resid_post`.
    pub fn source_set(hook: HookPoint) -> String {
        let name = hook.to_string();
        let last = name.rsplit('.').next().expect("a name has a last part");
        last.trim_start_matches("hook_").to_owned()
    }
}

/// `text` without spellings of the token that is put in front of it anyway.
fn without_bos<'a>(tokenizer: &Tokenizer, text: &'a str) -> &'a str {
    match tokenizer.bos().and_then(|id| tokenizer.token_text(id)) {
        Some(bos) => text.trim_start_matches(&*bos),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server_fixture::{HOOK, served_model};

    #[test]
    fn an_sae_without_further_information_is_found_by_its_names() {
        let served = ServedModel { sae_info: BTreeMap::new(), ..served_model() };

        assert_eq!(served.find_sae("1-resid_post"), Some(HOOK));
        assert_eq!(served.find_sae("blocks.1.hook_resid_post"), Some(HOOK));
        assert_eq!(served.find_sae("0-resid_post"), None);
        assert_eq!(served.find_sae("blocks.0.hook_resid_post"), None);
    }
}
