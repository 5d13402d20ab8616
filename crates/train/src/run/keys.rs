//! All keys of a run's configuration, in the order in which they are written.

use nanoscope_hooks::most_similar;

/// The key that determines which other keys apply.
pub(crate) const ARCHITECTURE: &str = "recipe.method.architecture";

/// Architectures with a fixed number of active features.
const K: &[&str] = &["top-k", "batch-top-k", "matryoshka"];
/// Architectures with an L1 penalty.
const L1: &[&str] = &["relu", "gated"];
const JUMP_RELU: &[&str] = &["jump-relu"];
const MATRYOSHKA: &[&str] = &["matryoshka"];
/// Architectures whose sparsity loss is warmed up.
const WARMED: &[&str] = &["jump-relu", "relu", "gated"];

/// A key: its path, its meaning, and the architectures it applies to (empty for all).
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) path: &'static str,
    pub(crate) meaning: &'static str,
    pub(crate) only: &'static [&'static str],
}

const fn key(path: &'static str, meaning: &'static str) -> Key {
    Key { path, meaning, only: &[] }
}

const fn key_for(only: &'static [&'static str], path: &'static str, meaning: &'static str) -> Key {
    Key { path, meaning, only }
}

/// Returns the key at `path`.
pub(crate) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// Returns whether the key at `path` applies to `architecture`.
pub(crate) fn is_for(path: &str, architecture: &str) -> bool {
    let only = find(path).map_or(&[][..], |key| key.only);
    only.is_empty() || only.contains(&architecture)
}

/// Returns the known key most similar to `path`.
pub(crate) fn nearest(path: &str) -> Option<&'static str> {
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().replace('_', "-");
    // A key in the wrong table is most similar to a key with the same last name.
    let same = KEYS.iter().find(|key| last(key.path) == last(path)).map(|key| key.path);
    same.or_else(|| most_similar(path, KEYS.iter().map(|key| key.path)))
}

pub(crate) const KEYS: &[Key] = &[
    key("hooks", "Hook points to train an SAE at; `nanoscope hooks` lists them."),
    key("out", "The run's folder."),
    key("device", "Backend: auto, flex, ndarray, wgpu, cuda."),
    key("source.text", "Texts to run the model on: files or folders."),
    key(
        "source.text-column",
        "JSON field, or CSV or parquet column, that contains the text. Default: text.",
    ),
    key("source.strict", "Whether a line or row without a text is an error. Default: false."),
    key("source.max-document-bytes", "Maximum size of a document. Default: 16777216."),
    key("source.model", "The model's folder or file. Default: the built-in demo."),
    key("source.tokenizer", "The tokenizer's folder. Default: nanochat's location."),
    key("source.era", "The era of a checkpoint that fits several eras."),
    key("source.context", "Tokens per context. Default: the model's context length, at most 2048."),
    key("source.store", "Instead of texts: an activation store written by `nanoscope collect`."),
    key("source.activations", "Instead of texts: a file with a tensor [..., d_in]."),
    key("source.tensor", "Name of the tensor, if that file has several."),
    key("recipe.d-sae", "Number of features of each SAE."),
    key("recipe.expansion", "Instead of d-sae: features per dimension of the activations."),
    key("recipe.steps", "Training steps, one batch each."),
    key("recipe.tokens", "Instead of steps: number of activations to train on."),
    key("recipe.batch", "Activations per step. SAELens: 4096; Bricken et al. 2023: 8192."),
    key("recipe.seed", "Seed of everything random."),
    key(
        "recipe.method.architecture",
        "top-k (Gao et al. 2024, arXiv:2406.04093), batch-top-k (Bussmann et al. 2024,\n\
         arXiv:2412.06410), matryoshka (Bussmann et al. 2025, arXiv:2503.17547), jump-relu\n\
         (Rajamanoharan et al. 2024, arXiv:2407.14435), relu (Conerly et al. 2024), gated\n\
         (Rajamanoharan et al. 2024, arXiv:2404.16014).",
    ),
    key_for(
        K,
        "recipe.method.k",
        "Features per activation. Gao et al. 2024 use 32 for small models.",
    ),
    key_for(
        MATRYOSHKA,
        "recipe.method.groups",
        "Ends of the nested groups. Default: a sixteenth, an eighth, a quarter, half and all of\n\
         the features.",
    ),
    key_for(JUMP_RELU, "recipe.method.target-l0", "Target number of features per activation."),
    key_for(
        L1,
        "recipe.method.l1",
        "Weight of the sparsity loss. Conerly et al. 2024: 5, with activations scaled as here.",
    ),
    key_for(
        JUMP_RELU,
        "recipe.method.coefficient",
        "Weight of d_in (L0 / target - 1)^2 (Rajamanoharan et al. 2024, appendix).",
    ),
    key_for(
        JUMP_RELU,
        "recipe.method.bandwidth",
        "Width of the straight-through estimate's kernel. SAELens: 0.05.",
    ),
    key_for(
        JUMP_RELU,
        "recipe.method.threshold",
        "Initial thresholds. Default: the value that gives twice the target L0.",
    ),
    key_for(
        WARMED,
        "recipe.method.warmup-steps",
        "Steps over which the sparsity loss warms up. Default: a tenth of the steps with\n\
         jump-relu, otherwise a twentieth (Conerly et al. 2024).",
    ),
    key_for(
        K,
        "recipe.method.aux-k.k",
        "Number of dead features that reconstruct the error of the others. Default: half of d_in\n\
         (Gao et al. 2024, appendix A.2).",
    ),
    key_for(
        K,
        "recipe.method.aux-k.coefficient",
        "Weight of their loss; 0 disables it. Gao et al. 2024: 1/32.",
    ),
    key(
        "recipe.optimizer.lr",
        "Learning rate of Adam between warm-up and decay. Default: c / sqrt(steps · features),\n\
         at most 0.02, with c 4.5 for top-k, batch-top-k and matryoshka, 3 for jump-relu and\n\
         relu, 1.5 for gated (docs/training.md).",
    ),
    key(
        "recipe.optimizer.beta1",
        "Decay rate of the running mean of gradients. Kingma & Ba 2014: 0.9.",
    ),
    key(
        "recipe.optimizer.beta2",
        "Decay rate of the running mean of squared gradients. Kingma & Ba 2014: 0.999.",
    ),
    key("recipe.optimizer.epsilon", "Added to the denominator. Kingma & Ba 2014: 1e-8."),
    key("recipe.optimizer.clip", "Maximum norm of the gradient; 0 disables clipping. SAELens: 1."),
    key(
        "recipe.optimizer.warmup-steps",
        "Steps over which the rate warms up. Default: a twentieth of the steps, at most 1000.",
    ),
    key(
        "recipe.optimizer.decay-steps",
        "Steps at the end over which the rate decays to 0. Default: a fifth of the steps\n\
         (Conerly et al. 2024).",
    ),
    key(
        "recipe.init.b-dec",
        "Initial b_dec: geometric-median (Bricken et al. 2023), mean or zero.",
    ),
    key(
        "recipe.init.decoder-norm",
        "Initial norm of the decoder's rows, for relu only; the others keep it at 1. Conerly et al.\n\
         2024: 0.1.",
    ),
    key(
        "recipe.dead.window-steps",
        "Steps after which a feature that did not fire is dead. Default: 1000 (SAELens), but at\n\
         most a tenth of the steps.",
    ),
    key(
        "recipe.dead.resample-steps",
        "Steps between resamplings of dead features (Bricken et al. 2023); 0 disables them. There\n\
         are none once the learning rate decays. Default: 0 with aux-k, otherwise four times the\n\
         window.",
    ),
    key("run.log-every", "Steps between lines of metrics.jsonl."),
    key("run.eval-every", "Steps between evaluations on the held-out segments."),
    key("run.save-every", "Steps between checkpoints."),
    key("run.keep", "Number of checkpoints to keep."),
    key(
        "run.hold-out",
        "Segments that are held out, spread over the source: a number, or a fraction below 1.\n\
         Default: one in twenty, with limits for small and large sources.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_or_misplaced_key_is_near_the_right_one() {
        assert_eq!(nearest("recipe.optimiser.lr"), Some("recipe.optimizer.lr"));
        assert_eq!(nearest("recipe.d_sae"), Some("recipe.d-sae"));
        assert_eq!(nearest("lr"), Some("recipe.optimizer.lr"));
        assert_eq!(nearest("zebra"), None);
    }
}
