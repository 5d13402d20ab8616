//! The table of metrics. The computation, the output and the documentation are all derived from it.

use crate::sums::Sums;

/// A metric of an SAE.
#[derive(Debug)]
pub struct Metric {
    /// Group of the metric in the JSON output.
    pub group: Group,
    /// Name in the JSON output.
    pub name: &'static str,
    /// The formula.
    pub formula: &'static str,
    /// The interpretation.
    pub meaning: &'static str,
    pub(crate) compute: fn(&Sums) -> f64,
}

/// Groups of metrics. SAEBench's core evaluation has the first seven; SAELens has the first six.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Group {
    /// Preservation of the model's predictions.
    Behavior,
    /// Preservation of the model's loss.
    Performance,
    /// Quality of the reconstructions.
    Reconstruction,
    /// Shrinkage of the reconstructions.
    Shrinkage,
    /// Number of active features.
    Sparsity,
    /// Number of evaluated tokens.
    TokenStats,
    /// Distribution of the features.
    Misc,
    /// The metrics of nanochat-SAE's evaluator.
    NanochatSae,
    /// Metrics of other tools, and metrics that do not depend on the batch size.
    Others,
}

impl Group {
    /// All groups, in order.
    pub const ALL: [Self; 9] = [
        Self::Behavior,
        Self::Performance,
        Self::Reconstruction,
        Self::Shrinkage,
        Self::Sparsity,
        Self::TokenStats,
        Self::Misc,
        Self::NanochatSae,
        Self::Others,
    ];

    /// Name in the JSON output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Behavior => "model_behavior_preservation",
            Self::Performance => "model_performance_preservation",
            Self::Reconstruction => "reconstruction_quality",
            Self::Shrinkage => "shrinkage",
            Self::Sparsity => "sparsity",
            Self::TokenStats => "token_stats",
            Self::Misc => "misc_metrics",
            Self::NanochatSae => "nanochat_sae",
            Self::Others => "others",
        }
    }

    /// The tool that defines the formulas.
    pub fn source(self) -> &'static str {
        match self {
            Self::Misc => "SAEBench, evals/core",
            Self::NanochatSae => "nanochat-SAE, evaluator.py",
            Self::Others => "see each metric",
            _ => "SAELens, evals.py",
        }
    }

    /// Returns whether SAEBench's core results include the group.
    pub fn is_saebench(self) -> bool {
        !matches!(self, Self::NanochatSae | Self::Others)
    }
}

/// A metric of a single feature.
#[derive(Debug)]
pub struct FeatureMetric {
    /// Name in the JSON output.
    pub name: &'static str,
    /// The formula.
    pub formula: &'static str,
    pub(crate) compute: fn(&Sums, usize) -> f64,
}

const fn metric(
    group: Group,
    name: &'static str,
    formula: &'static str,
    meaning: &'static str,
    compute: fn(&Sums) -> f64,
) -> Metric {
    Metric { group, name, formula, meaning, compute }
}

/// All metrics, in the order of their groups.
///
/// `x` is the replaced activation, `x̂` its replacement, `f` the features, `t` a counted token, and
/// `E` the mean over these tokens. Logarithms are natural.
pub static METRICS: &[Metric] = &[
    metric(
        Group::Behavior,
        "kl_div_score",
        "(KL_ablation − KL_sae) / KL_ablation",
        "1: the predictions are unchanged; 0: as with zero ablation",
        |sums| (sums.kl_ablation.get() - sums.kl_sae.get()) / sums.kl_ablation.get(),
    ),
    metric(
        Group::Behavior,
        "kl_div_with_ablation",
        "E Σ_v p(v)·(ln p(v) − ln p_ablation(v)), with the activation set to zero at every token",
        "change of the predictions under zero ablation, nats per token",
        |sums| sums.kl_ablation.get(),
    ),
    metric(
        Group::Behavior,
        "kl_div_with_sae",
        "E Σ_v p(v)·(ln p(v) − ln p_sae(v)), with x̂ replacing x at counted tokens",
        "change of the predictions, nats per token",
        |sums| sums.kl_sae.get(),
    ),
    metric(
        Group::Performance,
        "ce_loss_score",
        "(CE_ablation − CE_sae) / (CE_ablation − CE)",
        "1: the loss is unchanged; 0: as with zero ablation",
        Sums::ce_score,
    ),
    metric(
        Group::Performance,
        "ce_loss_with_ablation",
        "E −ln p_ablation(next token), over tokens that have a next token in their context",
        "loss under zero ablation, nats per token",
        |sums| sums.ce_ablation.get(),
    ),
    metric(
        Group::Performance,
        "ce_loss_with_sae",
        "E −ln p_sae(next token)",
        "loss with x̂ replacing x, nats per token",
        |sums| sums.ce_sae.get(),
    ),
    metric(
        Group::Performance,
        "ce_loss_without_sae",
        "E −ln p(next token)",
        "loss of the unmodified model, nats per token",
        |sums| sums.ce_clean.get(),
    ),
    metric(
        Group::Reconstruction,
        "explained_variance",
        "1 − E‖x − x̂‖² / (E‖x‖² − ‖E x‖²)",
        "fraction of the variance over all tokens; at most 1",
        |sums| sums.reconstruction.explained_variance(),
    ),
    metric(
        Group::Reconstruction,
        "explained_variance_legacy",
        "E (1 − ‖x − x̂‖² / ‖x − x̄‖²), x̄ the mean of the batch",
        "SAELens's metric before it was fixed; depends on the batch, and outliers inflate it",
        |sums| sums.reconstruction.explained_variance_legacy.get(),
    ),
    metric(
        Group::Reconstruction,
        "mse",
        "E ‖x − x̂‖²",
        "squared error, summed over dimensions",
        |sums| sums.reconstruction.squared_error.get(),
    ),
    metric(
        Group::Reconstruction,
        "cossim",
        "E x·x̂ / (‖x‖·‖x̂‖)",
        "1: all directions are correct",
        |sums| sums.reconstruction.cossim.get(),
    ),
    metric(Group::Shrinkage, "l2_norm_in", "E ‖x‖", "norm of activations", |sums| {
        sums.reconstruction.l2_norm_in.get()
    }),
    metric(Group::Shrinkage, "l2_norm_out", "E ‖x̂‖", "norm of reconstructions", |sums| {
        sums.reconstruction.l2_norm_out.get()
    }),
    metric(
        Group::Shrinkage,
        "l2_ratio",
        "E ‖x̂‖ / ‖x‖ (a norm below 1e-4 counts as 1)",
        "below 1: reconstructions are too short",
        |sums| sums.reconstruction.l2_ratio.get(),
    ),
    metric(
        Group::Shrinkage,
        "relative_reconstruction_bias",
        "mean over batches of E‖x̂‖² / E x·x̂",
        "below 1: features are too weak; depends slightly on the batch",
        |sums| sums.reconstruction.bias_by_batch.get(),
    ),
    metric(Group::Sparsity, "l0", "E #{j: f_j ≠ 0}", "active features per token", |sums| {
        sums.sparsity.l0.get()
    }),
    metric(Group::Sparsity, "l1", "E Σ_j |f_j|", "sum of feature activations per token", |sums| {
        sums.sparsity.l1.get()
    }),
    metric(
        Group::TokenStats,
        "total_tokens_eval_reconstruction",
        "tokens run through the model",
        "including special tokens",
        |sums| sums.tokens as f64,
    ),
    metric(
        Group::TokenStats,
        "total_tokens_eval_sparsity_variance",
        "tokens run through the SAE",
        "including special tokens; the same tokens",
        |sums| sums.tokens as f64,
    ),
    metric(
        Group::Misc,
        "freq_over_1_percent",
        "#{j: density_j > 0.01} / d_sae",
        "fraction of features that fire often",
        |sums| sums.sparsity.frequent(0.01),
    ),
    metric(
        Group::Misc,
        "freq_over_10_percent",
        "#{j: density_j > 0.1} / d_sae",
        "fraction of features that fire very often",
        |sums| sums.sparsity.frequent(0.1),
    ),
    metric(
        Group::Misc,
        "normalized_freq_over_1_percent",
        "Σ_{j: density_j > 0.01} density_j / Σ_j density_j",
        "fraction of all firings that come from these features",
        |sums| sums.sparsity.firings_of_frequent(0.01),
    ),
    metric(
        Group::Misc,
        "normalized_freq_over_10_percent",
        "Σ_{j: density_j > 0.1} density_j / Σ_j density_j",
        "fraction of all firings that come from these features",
        |sums| sums.sparsity.firings_of_frequent(0.1),
    ),
    metric(
        Group::Misc,
        "average_max_encoder_cosine_sim",
        "mean over j of max_{i ≠ j} cos(W_enc_j, W_enc_i)",
        "near 1: encoder directions are duplicated",
        |sums| mean(&sums.geometry.max_encoder_cosine),
    ),
    metric(
        Group::Misc,
        "average_max_decoder_cosine_sim",
        "mean over j of max_{i ≠ j} cos(W_dec_j, W_dec_i)",
        "near 1: decoder directions are duplicated",
        |sums| mean(&sums.geometry.max_decoder_cosine),
    ),
    metric(
        Group::Misc,
        "frac_alive",
        "#{j: density_j > 0} / d_sae",
        "fraction of features that ever fire",
        |sums| 1.0 - sums.sparsity.share_dead(),
    ),
    metric(
        Group::NanochatSae,
        "mse_loss",
        "E ‖x − x̂‖²",
        "summed over dimensions, unlike nanochat-SAE's training loss",
        |sums| sums.nanochat_sae.squared_error.get(),
    ),
    metric(
        Group::NanochatSae,
        "explained_variance",
        "max(0, reconstruction_score)",
        "flagged: uses the variance within batches of 4096 rows",
        |sums| sums.nanochat_sae.reconstruction_score().max(0.0),
    ),
    metric(
        Group::NanochatSae,
        "reconstruction_score",
        "1 − mse_loss / (Σ_b n_b·Σ_d var_b(x_d) / Σ_b n_b), var unbiased within batch b of 4096 rows",
        "flagged: depends on the batch; 0 if the last batch has one row",
        |sums| sums.nanochat_sae.reconstruction_score(),
    ),
    metric(Group::NanochatSae, "l0_mean", "E #{j: f_j ≠ 0}", "same as l0", |sums| {
        sums.nanochat_sae.l0.get()
    }),
    metric(
        Group::NanochatSae,
        "l0_std",
        "unbiased standard deviation of #{j: f_j ≠ 0} over tokens",
        "0 for a top-k SAE that always finds k features",
        |sums| sums.nanochat_sae.l0_std(),
    ),
    metric(Group::NanochatSae, "l1_mean", "E Σ_j |f_j|", "same as l1", |sums| {
        sums.nanochat_sae.l1.get()
    }),
    metric(
        Group::NanochatSae,
        "dead_latent_fraction",
        "#{j: f_j = 0 at every token} / d_sae",
        "1 − frac_alive",
        |sums| sums.sparsity.share_dead(),
    ),
    metric(Group::NanochatSae, "max_activation", "max f_j", "largest feature activation", |sums| {
        sums.nanochat_sae.max_activation()
    }),
    metric(
        Group::NanochatSae,
        "mean_activation",
        "mean over batches of 4096 rows of the mean of f_j ≠ 0",
        "flagged: a short last batch has the same weight as a full one",
        |sums| sums.nanochat_sae.mean_activation(),
    ),
    metric(
        Group::Others,
        "dead",
        "#{j: f_j = 0 at every token}",
        "features that never fire; not meaningful for few tokens",
        |sums| sums.sparsity.dead() as f64,
    ),
    metric(
        Group::Others,
        "tokens_counted",
        "tokens that are not special",
        "the tokens E averages over; all tokens with --keep-special",
        |sums| sums.sparsity.tokens() as f64,
    ),
    metric(
        Group::Others,
        "ce_loss_increase",
        "CE_sae − CE",
        "increase of the loss, nats per token; more informative than the score where ablation is catastrophic",
        |sums| sums.ce_sae.get() - sums.ce_clean.get(),
    ),
    metric(
        Group::Others,
        "relative_reconstruction_bias",
        "E‖x̂‖² / E x·x̂ over all tokens",
        "the above, independent of the batch (Rajamanoharan et al. 2024, equation 10)",
        |sums| sums.reconstruction.bias(),
    ),
    metric(
        Group::Others,
        "frac_variance_explained",
        "1 − Σ_d var(x_d − x̂_d) / Σ_d var(x_d)",
        "dictionary_learning's, over all tokens; ignores a constant error",
        |sums| sums.reconstruction.frac_variance_explained(),
    ),
    metric(
        Group::Others,
        "frac_recovered",
        "(CE_sae − CE_ablation) / (CE − CE_ablation)",
        "dictionary_learning's name for ce_loss_score",
        Sums::ce_score,
    ),
    metric(
        Group::Others,
        "fvu",
        "Σ‖x − x̂‖² / Σ‖x − x̄‖², x̄ the mean of all tokens",
        "sparsify's fraction of variance unexplained, over all tokens",
        |sums| sums.reconstruction.fvu(),
    ),
];

/// All metrics of single features, as in SAEBench's core evaluation.
pub static FEATURE_METRICS: &[FeatureMetric] = &[
    FeatureMetric {
        name: "feature_density",
        formula: "tokens at which it fires / counted tokens",
        compute: |sums, feature| sums.sparsity.density(feature),
    },
    FeatureMetric {
        name: "consistent_activation_heuristic",
        formula: "tokens at which it fires / contexts in which it fires",
        compute: |sums, feature| sums.sparsity.consistency(feature),
    },
    FeatureMetric {
        name: "encoder_bias",
        formula: "b_enc_j; b_mag_j for a gated SAE",
        compute: |sums, feature| sums.geometry.encoder_bias[feature],
    },
    FeatureMetric {
        name: "encoder_norm",
        formula: "‖W_enc_j‖",
        compute: |sums, feature| sums.geometry.encoder_norm[feature],
    },
    FeatureMetric {
        name: "encoder_decoder_cosine_sim",
        formula: "cos(W_enc_j, W_dec_j)",
        compute: |sums, feature| sums.geometry.encoder_decoder_cosine[feature],
    },
    FeatureMetric {
        name: "max_decoder_cosine_sim",
        formula: "max_{i ≠ j} cos(W_dec_j, W_dec_i)",
        compute: |sums, feature| sums.geometry.max_decoder_cosine[feature],
    },
    FeatureMetric {
        name: "max_encoder_cosine_sim",
        formula: "max_{i ≠ j} cos(W_enc_j, W_enc_i)",
        compute: |sums, feature| sums.geometry.max_encoder_cosine[feature],
    },
];

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write;

    use super::*;

    #[test]
    fn no_two_metrics_of_a_group_have_one_name() {
        let names: BTreeSet<_> =
            METRICS.iter().map(|metric| (metric.group.name(), metric.name)).collect();

        assert_eq!(names.len(), METRICS.len());
    }

    #[test]
    fn metrics_stand_in_the_order_of_their_groups() {
        let order = |group| Group::ALL.iter().position(|&known| known == group);

        assert!(METRICS.is_sorted_by_key(|metric| order(metric.group)));
    }

    #[test]
    fn the_documentation_has_every_formula() {
        let mut tables = String::new();
        for group in Group::ALL {
            let _ = write!(tables, "### `{}` ({})\n\n", group.name(), group.source());
            tables.push_str("| name | formula | meaning |\n| --- | --- | --- |\n");
            for metric in METRICS.iter().filter(|metric| metric.group == group) {
                let formula = metric.formula.replace('|', "\\|");
                let _ = writeln!(tables, "| `{}` | {formula} | {} |", metric.name, metric.meaning);
            }
            tables.push('\n');
        }
        tables.push_str("### Per feature\n\n| name | formula |\n| --- | --- |\n");
        for metric in FEATURE_METRICS {
            let formula = metric.formula.replace('|', "\\|");
            let _ = writeln!(tables, "| `{}` | {formula} |", metric.name);
        }

        let page = include_str!("../../../docs/evaluation.md");

        assert!(page.contains(&tables), "docs/evaluation.md should have:\n\n{tables}");
    }
}
