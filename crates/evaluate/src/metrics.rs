//! Every metric with its formula, once: what is computed, printed, written and documented is this.

use crate::sums::Sums;

/// A number that an evaluation gives.
#[derive(Debug)]
pub struct Metric {
    /// The group in which it stands in JSON.
    pub group: Group,
    /// Its name there.
    pub name: &'static str,
    /// How it is computed.
    pub formula: &'static str,
    /// What it says.
    pub meaning: &'static str,
    pub(crate) compute: fn(&Sums) -> f64,
}

/// Metrics that belong together. The first seven are SAEBench core's, of which SAELens has the
/// first six.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Group {
    /// How near the model's predictions stay.
    Behavior,
    /// How near the model's loss stays.
    Performance,
    /// How near reconstructions are.
    Reconstruction,
    /// Whether reconstructions are shorter.
    Shrinkage,
    /// How many features fire.
    Sparsity,
    /// What was evaluated on.
    TokenStats,
    /// How features are distributed.
    Misc,
    /// What nanochat-SAE's evaluator reports.
    NanochatSae,
    /// What other tools report, and what does not depend on batches.
    Others,
}

impl Group {
    /// All of them, in order.
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

    /// Its name in JSON.
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

    /// The tool whose formulas these are.
    pub fn source(self) -> &'static str {
        match self {
            Self::Misc => "SAEBench, evals/core",
            Self::NanochatSae => "nanochat-SAE, evaluator.py",
            Self::Others => "as each says",
            _ => "SAELens, evals.py",
        }
    }

    /// Whether SAEBench's core results have it.
    pub fn is_saebench(self) -> bool {
        !matches!(self, Self::NanochatSae | Self::Others)
    }
}

/// A number that an evaluation gives for each feature.
#[derive(Debug)]
pub struct FeatureMetric {
    /// Its name in JSON.
    pub name: &'static str,
    /// How it is computed.
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
/// `x` is the activation that is replaced, `x̂` what replaces it, `f` the features, `t` a token that
/// counts, `E` the mean over these; logarithms are natural.
pub static METRICS: &[Metric] = &[
    metric(
        Group::Behavior,
        "kl_div_score",
        "(KL_ablation − KL_sae) / KL_ablation",
        "1: the model predicts as before; 0: as if the activation were zero",
        |sums| (sums.kl_ablation.get() - sums.kl_sae.get()) / sums.kl_ablation.get(),
    ),
    metric(
        Group::Behavior,
        "kl_div_with_ablation",
        "E Σ_v p(v)·(ln p(v) − ln p_ablation(v)), the activation zero at every token",
        "nats per token by which predictions move without the activation",
        |sums| sums.kl_ablation.get(),
    ),
    metric(
        Group::Behavior,
        "kl_div_with_sae",
        "E Σ_v p(v)·(ln p(v) − ln p_sae(v)), x̂ in the place of x at tokens that count",
        "nats per token by which predictions move",
        |sums| sums.kl_sae.get(),
    ),
    metric(
        Group::Performance,
        "ce_loss_score",
        "(CE_ablation − CE_sae) / (CE_ablation − CE)",
        "1: the model is as good as before; 0: as bad as with the activation zero",
        Sums::ce_score,
    ),
    metric(
        Group::Performance,
        "ce_loss_with_ablation",
        "E −ln p_ablation(next token), over tokens with a next one in their context",
        "nats per token, the activation zero at every token",
        |sums| sums.ce_ablation.get(),
    ),
    metric(
        Group::Performance,
        "ce_loss_with_sae",
        "E −ln p_sae(next token)",
        "nats per token, x̂ in the place of x",
        |sums| sums.ce_sae.get(),
    ),
    metric(
        Group::Performance,
        "ce_loss_without_sae",
        "E −ln p(next token)",
        "nats per token of the model as it is",
        |sums| sums.ce_clean.get(),
    ),
    metric(
        Group::Reconstruction,
        "explained_variance",
        "1 − E‖x − x̂‖² / (E‖x‖² − ‖E x‖²)",
        "share of the variance over all tokens; at most 1",
        |sums| sums.reconstruction.explained_variance(),
    ),
    metric(
        Group::Reconstruction,
        "explained_variance_legacy",
        "E (1 − ‖x − x̂‖² / ‖x − x̄‖²), x̄ the mean of the batch",
        "what SAELens reported before it was fixed; depends on the batch, outliers flatter it",
        |sums| sums.reconstruction.explained_variance_legacy.get(),
    ),
    metric(
        Group::Reconstruction,
        "mse",
        "E ‖x − x̂‖²",
        "squared error, summed over the activation's numbers",
        |sums| sums.reconstruction.squared_error.get(),
    ),
    metric(
        Group::Reconstruction,
        "cossim",
        "E x·x̂ / (‖x‖·‖x̂‖)",
        "1: every direction is right",
        |sums| sums.reconstruction.cossim.get(),
    ),
    metric(Group::Shrinkage, "l2_norm_in", "E ‖x‖", "length of activations", |sums| {
        sums.reconstruction.l2_norm_in.get()
    }),
    metric(Group::Shrinkage, "l2_norm_out", "E ‖x̂‖", "length of reconstructions", |sums| {
        sums.reconstruction.l2_norm_out.get()
    }),
    metric(
        Group::Shrinkage,
        "l2_ratio",
        "E ‖x̂‖ / ‖x‖ (a length below 1e-4 counts as 1)",
        "below 1: reconstructions are too short",
        |sums| sums.reconstruction.l2_ratio.get(),
    ),
    metric(
        Group::Shrinkage,
        "relative_reconstruction_bias",
        "mean over batches of E‖x̂‖² / E x·x̂",
        "below 1: features are too weak; depends a little on the batch",
        |sums| sums.reconstruction.bias_by_batch.get(),
    ),
    metric(Group::Sparsity, "l0", "E #{j: f_j ≠ 0}", "features that fire at a token", |sums| {
        sums.sparsity.l0.get()
    }),
    metric(Group::Sparsity, "l1", "E Σ_j |f_j|", "their summed size", |sums| {
        sums.sparsity.l1.get()
    }),
    metric(
        Group::TokenStats,
        "total_tokens_eval_reconstruction",
        "tokens run through the model",
        "special ones included",
        |sums| sums.tokens as f64,
    ),
    metric(
        Group::TokenStats,
        "total_tokens_eval_sparsity_variance",
        "tokens run through the SAE",
        "special ones included; the same tokens",
        |sums| sums.tokens as f64,
    ),
    metric(
        Group::Misc,
        "freq_over_1_percent",
        "#{j: density_j > 0.01} / d_sae",
        "share of features that fire often",
        |sums| sums.sparsity.frequent(0.01),
    ),
    metric(
        Group::Misc,
        "freq_over_10_percent",
        "#{j: density_j > 0.1} / d_sae",
        "share of features that fire very often",
        |sums| sums.sparsity.frequent(0.1),
    ),
    metric(
        Group::Misc,
        "normalized_freq_over_1_percent",
        "Σ_{j: density_j > 0.01} density_j / Σ_j density_j",
        "share of all firings that are theirs",
        |sums| sums.sparsity.firings_of_frequent(0.01),
    ),
    metric(
        Group::Misc,
        "normalized_freq_over_10_percent",
        "Σ_{j: density_j > 0.1} density_j / Σ_j density_j",
        "share of all firings that are theirs",
        |sums| sums.sparsity.firings_of_frequent(0.1),
    ),
    metric(
        Group::Misc,
        "average_max_encoder_cosine_sim",
        "mean over j of max_{i ≠ j} cos(W_enc_j, W_enc_i)",
        "near 1: features are read in duplicate",
        |sums| mean(&sums.geometry.max_encoder_cosine),
    ),
    metric(
        Group::Misc,
        "average_max_decoder_cosine_sim",
        "mean over j of max_{i ≠ j} cos(W_dec_j, W_dec_i)",
        "near 1: features are written in duplicate",
        |sums| mean(&sums.geometry.max_decoder_cosine),
    ),
    metric(
        Group::Misc,
        "frac_alive",
        "#{j: density_j > 0} / d_sae",
        "share of features that fire at all",
        |sums| 1.0 - sums.sparsity.share_dead(),
    ),
    metric(
        Group::NanochatSae,
        "mse_loss",
        "E ‖x − x̂‖²",
        "summed over the activation's numbers, unlike the loss it trains with",
        |sums| sums.nanochat_sae.squared_error.get(),
    ),
    metric(
        Group::NanochatSae,
        "explained_variance",
        "max(0, reconstruction_score)",
        "flagged: the variance is that within batches of 4096 rows",
        |sums| sums.nanochat_sae.reconstruction_score().max(0.0),
    ),
    metric(
        Group::NanochatSae,
        "reconstruction_score",
        "1 − mse_loss / (Σ_b n_b·Σ_d var_b(x_d) / Σ_b n_b), var unbiased within batch b of 4096 rows",
        "flagged: depends on the batch; 0 if the last batch has one row",
        |sums| sums.nanochat_sae.reconstruction_score(),
    ),
    metric(Group::NanochatSae, "l0_mean", "E #{j: f_j ≠ 0}", "as l0", |sums| {
        sums.nanochat_sae.l0.get()
    }),
    metric(
        Group::NanochatSae,
        "l0_std",
        "unbiased standard deviation of #{j: f_j ≠ 0} over tokens",
        "0 for a top-k SAE that always finds k",
        |sums| sums.nanochat_sae.l0_std(),
    ),
    metric(Group::NanochatSae, "l1_mean", "E Σ_j |f_j|", "as l1", |sums| {
        sums.nanochat_sae.l1.get()
    }),
    metric(
        Group::NanochatSae,
        "dead_latent_fraction",
        "#{j: f_j = 0 at every token} / d_sae",
        "1 − frac_alive",
        |sums| sums.sparsity.share_dead(),
    ),
    metric(Group::NanochatSae, "max_activation", "max f_j", "the largest value", |sums| {
        sums.nanochat_sae.max_activation()
    }),
    metric(
        Group::NanochatSae,
        "mean_activation",
        "mean over batches of 4096 rows of the mean of f_j ≠ 0",
        "flagged: a short last batch weighs as much as a whole one",
        |sums| sums.nanochat_sae.mean_activation(),
    ),
    metric(
        Group::Others,
        "dead",
        "#{j: f_j = 0 at every token}",
        "features that never fire; of few tokens it says little",
        |sums| sums.sparsity.dead() as f64,
    ),
    metric(
        Group::Others,
        "tokens_counted",
        "tokens that are not special",
        "what E is over; with special tokens kept it is all",
        |sums| sums.sparsity.tokens() as f64,
    ),
    metric(
        Group::Others,
        "ce_loss_increase",
        "CE_sae − CE",
        "nats per token lost; says more than the score where ablation is a catastrophe",
        |sums| sums.ce_sae.get() - sums.ce_clean.get(),
    ),
    metric(
        Group::Others,
        "relative_reconstruction_bias",
        "E‖x̂‖² / E x·x̂ over all tokens",
        "the same as above for any batch (Rajamanoharan et al. 2024, equation 10)",
        |sums| sums.reconstruction.bias(),
    ),
    metric(
        Group::Others,
        "frac_variance_explained",
        "1 − Σ_d var(x_d − x̂_d) / Σ_d var(x_d)",
        "dictionary_learning's, over all tokens: a constant error is forgiven",
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

/// All metrics of single features, as SAEBench core has them.
pub static FEATURE_METRICS: &[FeatureMetric] = &[
    FeatureMetric {
        name: "feature_density",
        formula: "tokens at which it fires / tokens that count",
        compute: |sums, feature| sums.sparsity.density(feature),
    },
    FeatureMetric {
        name: "consistent_activation_heuristic",
        formula: "tokens at which it fires / contexts in which it fires",
        compute: |sums, feature| sums.sparsity.consistency(feature),
    },
    FeatureMetric {
        name: "encoder_bias",
        formula: "b_enc_j; b_mag_j of a gated SAE",
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
        tables.push_str("### Of each feature\n\n| name | formula |\n| --- | --- |\n");
        for metric in FEATURE_METRICS {
            let formula = metric.formula.replace('|', "\\|");
            let _ = writeln!(tables, "| `{}` | {formula} |", metric.name);
        }

        let page = include_str!("../../../docs/evaluation.md");

        assert!(page.contains(&tables), "docs/evaluation.md should have:\n\n{tables}");
    }
}
