//! The activations that an SAE reads and writes.

use nanoscope_hooks::HookPoint;

use crate::sae::site::Site;

/// The activations that an SAE reads and writes, by the names in its files.
///
/// They are text because files can name an activation that our models do not have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SaeHooks {
    /// The activation that it reads; `None` if its files do not name one.
    pub hook: Option<String>,
    /// The activation that a transcoder writes.
    pub hook_out: Option<String>,
}

impl SaeHooks {
    /// The hooks of an SAE that reads `hook` and, for a transcoder, writes `hook_out`.
    pub fn new(hook: HookPoint, hook_out: Option<HookPoint>) -> Self {
        Self { hook: Some(hook.to_string()), hook_out: hook_out.map(|hook| hook.to_string()) }
    }

    /// The hooks of an SAE that reads and writes the activation of this name.
    pub(crate) fn at(hook: impl Into<String>) -> Self {
        Self { hook: Some(hook.into()), hook_out: None }
    }

    /// The same hooks by our names, where the name in the files stands for a hook point of a model that
    /// does or does not norm the outputs of its sublayers.
    pub(crate) fn named_as_ours(self, post_norms: Option<bool>) -> Self {
        let named = |name: String| {
            let point = Site::of(&name).point(post_norms);
            point.map_or(name, |point| point.to_string())
        };
        Self { hook: self.hook.map(named), hook_out: self.hook_out.map(named) }
    }

    /// These hooks of its files, if an SAE is `placed` at others.
    pub(crate) fn overruled_by(self, placed: &Self) -> Option<Self> {
        self.contradicts(placed).then_some(self)
    }

    /// Returns whether both name a hook point of our models to read, or to write, and not the same one.
    fn contradicts(&self, other: &Self) -> bool {
        let differ = |one: &Option<String>, other: &Option<String>| {
            let [Some(one), Some(other)] = [one, other] else { return false };
            let point = |name: &str| Site::of(name).point(None);
            point(one).is_some_and(|one| point(other).is_some_and(|other| one != other))
        };
        differ(&self.hook, &other.hook) || differ(&self.hook_out, &other.hook_out)
    }

    /// The hooks of a transcoder.
    pub(crate) fn between(hook: impl Into<String>, hook_out: impl Into<String>) -> Self {
        Self { hook: Some(hook.into()), hook_out: Some(hook_out.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_known_hook_points_contradict_each_other() {
        let at = SaeHooks::at;
        let stated = at("blocks.3.hook_resid_post");
        for (named, contradicts) in [
            (SaeHooks::default(), false),
            (at("layers.3.unheard_of"), false),
            (at("blocks.3.hook_resid_post"), false),
            // transformers' name of the same activation.
            (at("model.layers.3"), false),
            (at("blocks.1.hook_resid_post"), true),
            (at("model.layers.1"), true),
        ] {
            assert_eq!(named.contradicts(&stated), contradicts, "{named:?}");
        }
        let stated = SaeHooks::between("blocks.1.ln2.hook_normalized", "blocks.1.hook_mlp_out");
        for (hook_out, contradicts) in
            [("blocks.1.hook_mlp_out", false), ("blocks.2.hook_mlp_out", true)]
        {
            let named = SaeHooks::between("blocks.1.ln2.hook_normalized", hook_out);
            assert_eq!(named.contradicts(&stated), contradicts, "{named:?}");
        }
    }
}
