//! Every key that a run's configuration may have, in the order in which it is written.

/// The key that says which other keys there are.
pub(crate) const ARCHITECTURE: &str = "recipe.method.architecture";

/// Architectures that keep a number of features.
const K: &[&str] = &["top-k", "batch-top-k", "matryoshka"];
/// Architectures whose features are priced by their size.
const L1: &[&str] = &["relu", "gated"];
const JUMP_RELU: &[&str] = &["jump-relu"];
const MATRYOSHKA: &[&str] = &["matryoshka"];
/// Architectures whose sparsity loss rises to its weight.
const WARMED: &[&str] = &["jump-relu", "relu", "gated"];

/// One key: where it stands, what it means, and for which architectures (none: for all).
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

/// The key at `path`.
pub(crate) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// Whether the key at `path` means something for `architecture`.
pub(crate) fn is_for(path: &str, architecture: &str) -> bool {
    let only = find(path).map_or(&[][..], |key| key.only);
    only.is_empty() || only.contains(&architecture)
}

/// The known key most like `path`.
pub(crate) fn nearest(path: &str) -> Option<&'static str> {
    const MIN_SIMILARITY: f64 = 0.8;
    /// Comparing takes time, and a file may hold a name of megabytes.
    const MAX_KEY_BYTES: usize = 200;

    if path.len() > MAX_KEY_BYTES {
        return None;
    }
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().replace('_', "-");
    // A key in the wrong table is most like one with the same last name.
    let same = KEYS.iter().find(|key| last(key.path) == last(path)).map(|key| (1.0, key.path));
    KEYS.iter()
        .map(|key| (strsim::jaro_winkler(&path.replace('_', "-"), key.path), key.path))
        .chain(same)
        .filter(|(similarity, _)| *similarity > MIN_SIMILARITY)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, path)| path)
}

pub(crate) const KEYS: &[Key] = &[
    key("hooks", "The hook points, each of which gets an SAE; `nanoscope hooks` lists them."),
    key("out", "The run's folder."),
    key("device", "The backend: auto, flex, ndarray, wgpu, cuda."),
    key("source.text", "Texts to run the model on: files or folders."),
    key("source.text-column", "The field of JSONL and the column of parquet. Default: text."),
    key("source.model", "The model's folder or file. Default: the built-in demo."),
    key("source.tokenizer", "The tokenizer's folder. Default: where nanochat puts it."),
    key("source.era", "The era of a checkpoint that fits several."),
    key("source.context", "Tokens that the model sees at once. Default: the model's context."),
    key("source.store", "In place of texts: a folder that `nanoscope collect` wrote."),
    key("source.activations", "In place of texts: a file with a tensor [..., d_in]."),
    key("source.tensor", "The tensor's name, if that file has several."),
    key("recipe.d-sae", "Features of each SAE."),
    key("recipe.expansion", "In place of d-sae: features per number of an activation."),
    key("recipe.steps", "Training steps, one batch each."),
    key("recipe.tokens", "In place of steps: activations to train on."),
    key("recipe.batch", "Activations per step. SAELens: 4096; Bricken et al. 2023: 8192."),
    key("recipe.seed", "What everything random follows from."),
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
        "The ends of the nested groups; none means a sixteenth, an eighth, a quarter, half and\n\
         all of the features.",
    ),
    key_for(JUMP_RELU, "recipe.method.target-l0", "Features per activation to end with."),
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
        "Where thresholds start. Default: where twice the target L0 fires.",
    ),
    key_for(
        WARMED,
        "recipe.method.warmup-steps",
        "Steps over which the sparsity loss reaches its weight. Default: a tenth with jump-relu,\n\
         else a twentieth (Conerly et al. 2024).",
    ),
    key_for(
        K,
        "recipe.method.aux-k.k",
        "Dead features that reconstruct what the others leave. Default: half of d_in (Gao et al.\n\
         2024, appendix A.2).",
    ),
    key_for(
        K,
        "recipe.method.aux-k.coefficient",
        "Weight of their loss; 0 leaves it out. Gao et al. 2024: 1/32.",
    ),
    key("recipe.optimizer.lr", "Learning rate of Adam between warm-up and decay. SAELens: 3e-4."),
    key("recipe.optimizer.beta1", "Decay of the gradient's mean. Kingma & Ba 2014: 0.9."),
    key("recipe.optimizer.beta2", "Decay of the gradient's square. Kingma & Ba 2014: 0.999."),
    key("recipe.optimizer.epsilon", "Kingma & Ba 2014: 1e-8."),
    key("recipe.optimizer.clip", "Largest norm of the gradient; 0 for no limit. SAELens: 1."),
    key(
        "recipe.optimizer.warmup-steps",
        "Steps over which the rate rises. Default: a twentieth, 1000 at most.",
    ),
    key(
        "recipe.optimizer.decay-steps",
        "Last steps, over which it falls to nothing. Default: a fifth (Conerly et al. 2024).",
    ),
    key(
        "recipe.init.b-dec",
        "Where b_dec starts: geometric-median (Bricken et al. 2023), mean or zero.",
    ),
    key(
        "recipe.init.decoder-norm",
        "Norm of the decoder's rows at the start, for relu only; the others keep it at 1. Conerly et\n\
         al. 2024: 0.1.",
    ),
    key(
        "recipe.dead.window-steps",
        "A feature that did not fire in so many steps is dead. Default: 1000 (SAELens), a tenth of\n\
         the steps at most.",
    ),
    key(
        "recipe.dead.resample-steps",
        "After how many steps dead features start anew (Bricken et al. 2023); 0 for never. None do\n\
         once the learning rate falls. Default: 0 with aux-k, else four times the window.",
    ),
    key("run.log-every", "Steps between two lines of metrics.jsonl."),
    key("run.eval-every", "Steps between two evaluations on what is held out."),
    key("run.save-every", "Steps between two checkpoints."),
    key("run.keep", "Checkpoints to keep."),
    key(
        "run.hold-out",
        "Segments at the end of the source that are not trained on: how many, or below 1 which\n\
         share of them; one more if the last is less than half full.",
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
