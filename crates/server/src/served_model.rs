use std::collections::BTreeMap;
use std::path::Path;

use nanoscope_checkpoint::Labels;
use nanoscope_dashboard::{DashboardError, ReadDashboard};
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::InterpretableModel;

/// What is served: a model with its SAEs and what is known of their features.
#[derive(Debug)]
pub struct ServedModel {
    /// The model, with a tokenizer.
    pub model: InterpretableModel,
    /// The name that clients call it by.
    pub name: String,
    /// Per SAE what is known beside its weights.
    pub sae_info: BTreeMap<HookPoint, SaeInfo>,
}

/// What is known of an SAE beside its weights.
#[derive(Debug, Default)]
pub struct SaeInfo {
    /// What its features mean.
    pub labels: Labels,
    /// What they do on a text.
    pub dashboard: Option<ReadDashboard>,
}

impl ServedModel {
    /// The same with what the dashboard in `dir` knows of the SAE that it is of, which is found by
    /// its hook point and known by its fingerprint.
    ///
    /// # Errors
    /// [`DashboardError`] if it is no dashboard that `nanoscope dashboard` wrote, or of an SAE that is
    /// not here.
    pub fn with_dashboard(mut self, dir: &Path) -> Result<Self, DashboardError> {
        let dashboard = ReadDashboard::open(dir)?;
        dashboard.check(&self.model)?;
        let hook = dashboard.hook();
        self.sae_info.entry(hook).or_default().dashboard = Some(dashboard);
        Ok(self)
    }

    /// Whether `name` means the model: its own name, or one that means it whatever it is called.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        name == self.name || ["nanoscope", "default"].contains(&name)
    }

    /// The SAE that a client calls `id`: its hook point in any of its names, or Neuronpedia's
    /// `LAYER-SET` ([`source_id`](Self::source_id)).
    pub fn find_sae(&self, id: &str) -> Option<HookPoint> {
        let saes = self.model.saes();
        let by_id = || saes.keys().copied().find(|&hook| Self::source_id(hook) == id);
        by_id().or_else(|| id.parse().ok().filter(|hook| saes.contains_key(hook)))
    }

    /// The bytes that a text can have at most and still fit into the context; 0 without a tokenizer.
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

    /// Neuronpedia's name for the SAEs at such points of all layers: `resid_post`.
    pub fn source_set(hook: HookPoint) -> String {
        let name = hook.to_string();
        let last = name.rsplit('.').next().expect("a name has a last part");
        last.trim_start_matches("hook_").to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server_fixture::{HOOK, served_model};

    #[test]
    fn an_sae_of_which_nothing_else_is_known_has_its_names() {
        let served = ServedModel { sae_info: BTreeMap::new(), ..served_model() };

        assert_eq!(served.find_sae("1-resid_post"), Some(HOOK));
        assert_eq!(served.find_sae("blocks.1.hook_resid_post"), Some(HOOK));
        assert_eq!(served.find_sae("0-resid_post"), None);
        assert_eq!(served.find_sae("blocks.0.hook_resid_post"), None);
    }
}
