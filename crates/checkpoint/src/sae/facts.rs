//! Facts about an SAE that is not loaded.

use nanoscope_sae::{Architecture, Normalization};

use crate::container::Order;
use crate::error::CheckpointError;
use crate::sae::sae_file::SaeFile;
use crate::sae::site::Site;
use crate::sae::stored_weight::{StoredWeight, Weight};

impl SaeFile {
    /// Returns the count of numbers in its weights.
    pub(crate) fn numbers(&self) -> u64 {
        let len = |weight: Weight| weight.shape(&self.config).iter().product::<usize>();
        self.weights.iter().map(|(weight, _)| len(*weight)).sum::<usize>() as u64
    }

    /// Returns everything known about it, for people. Reads the weights once, one chunk at a time.
    pub(crate) fn facts(&self) -> Result<Vec<(&'static str, String)>, CheckpointError> {
        let config = &self.config;
        let named = self.hooks.hook.as_deref().map_or_else(|| "not given".to_owned(), in_our_words);
        let mut facts = vec![("hook point", named)];
        if let Some(hook_out) = &self.hooks.hook_out {
            facts.push(("writes to", in_our_words(hook_out)));
        }
        let mut architecture = config.architecture().name().to_owned();
        if let Some(k) = config.architecture().k() {
            architecture.push_str(", k ");
            architecture.push_str(&k.to_string());
        }
        if config.architecture().rescales_by_decoder_norm() {
            architecture.push_str(", by the decoder's norm");
        }
        if let Architecture::MatchingPursuit {
            residual_threshold,
            max_iterations,
            stop_on_duplicate_support,
        } = config.architecture()
        {
            let limits = format!(
                ", until the residual's norm is below {residual_threshold}, at most {max_iterations} times"
            );
            architecture.push_str(&limits);
            if stop_on_duplicate_support {
                architecture.push_str(", until a feature repeats");
            }
        }
        facts.push(("architecture", architecture));
        facts.push(("d_in", config.d_in().to_string()));
        facts.push(("d_sae", config.d_sae().to_string()));
        if config.d_out() != config.d_in() {
            facts.push(("d_out", config.d_out().to_string()));
        }
        let normalised = match self.unsettled {
            Some(name) => format!("{name}, not known whether folded into the weights"),
            None => normalization(config.normalization()),
        };
        facts.push(("normalisation", normalised));
        let input = if config.apply_b_dec_to_input() { "x − b_dec" } else { "x" };
        facts.push(("encodes", input.to_owned()));
        if config.skip() {
            facts.push(("skip connection", "x · W_skip".to_owned()));
        }
        facts.extend(self.notes.iter().cloned());
        if !self.metadata.is_empty() {
            let entries = self.metadata.iter().map(|(key, value)| format!("{key} {value}"));
            facts.push(("metadata", entries.collect::<Vec<_>>().join(", ")));
        }
        facts.extend(self.weight_facts()?);
        Ok(facts)
    }

    fn weight_facts(&self) -> Result<Vec<(&'static str, String)>, CheckpointError> {
        let mut facts = Vec::new();
        let mut bad = Vec::new();
        for (weight, source) in &self.weights {
            let Some(name) = source.name() else { continue };
            let stats = MatrixStats::read(self, name)?;
            if stats.not_finite > 0 {
                bad.push(format!("{} in {name}", stats.not_finite));
            }
            let by_feature = match (weight, source) {
                (Weight::WEnc, StoredWeight::Tensor { order: Order::AsStored, .. })
                | (Weight::WDec, StoredWeight::Tensor { order: Order::Transposed, .. }) => {
                    &stats.columns
                }
                (Weight::WEnc | Weight::WDec, _) => &stats.rows,
                _ => continue,
            };
            let (what, dead) = match weight {
                Weight::WEnc => ("encoder norms", "that read nothing"),
                _ => ("decoder norms", "that write nothing"),
            };
            let norms: Vec<f64> = by_feature.iter().map(|sum| sum.sqrt()).collect();
            facts.push((what, spread(&norms)));
            let zeros = norms.iter().filter(|&&norm| norm == 0.0).count();
            if zeros > 0 {
                facts.push(("dead features", format!("{zeros} {dead}")));
            }
        }
        if !bad.is_empty() {
            facts.push(("not finite", bad.join(", ")));
        }
        Ok(facts)
    }
}

/// Names an activation as we do, if its name in the files stands for one of our hook points.
fn in_our_words(name: &str) -> String {
    match Site::of(name) {
        Site::Point(point) if point.to_string() == name => name.to_owned(),
        Site::Point(point) => format!("{point} ({name} in its files)"),
        Site::ByPostNorms { with, without } => {
            format!("{name}: {with} or {without}, depending on the model")
        }
        Site::Unknown => name.to_owned(),
    }
}

fn normalization(normalization: Normalization) -> String {
    match normalization {
        Normalization::ExpectedAverageOnlyIn { scale } => {
            format!("{}, x · {scale}", normalization.name())
        }
        other => other.name().to_owned(),
    }
}

/// Formats the smallest, the largest and the mean of `norms`.
fn spread(norms: &[f64]) -> String {
    let min = norms.iter().copied().fold(f64::INFINITY, f64::min);
    let max = norms.iter().copied().fold(0.0, f64::max);
    let mean = norms.iter().sum::<f64>() / norms.len() as f64;
    format!("{min:.3} to {max:.3}, {mean:.3} on average")
}

/// Statistics of a tensor from one pass over it. A vector is a matrix with one row.
struct MatrixStats {
    /// Count of numbers that are NaN or infinite; the sums exclude them.
    not_finite: usize,
    /// The sum of squares of each row, as stored.
    rows: Vec<f64>,
    /// The sum of squares of each column, as stored.
    columns: Vec<f64>,
}

impl MatrixStats {
    fn read(sae: &SaeFile, name: &str) -> Result<Self, CheckpointError> {
        let shape = &sae.file.info(name)?.shape;
        let columns = shape.last().copied().unwrap_or(1);
        let rows = sae.file.info(name)?.len() / columns.max(1);
        let mut stats = Self { not_finite: 0, rows: vec![0.0; rows], columns: vec![0.0; columns] };
        let mut at = 0;
        sae.file.for_each_chunk(name, &mut |values| {
            for &value in values {
                if value.is_finite() {
                    let square = f64::from(value).powi(2);
                    stats.rows[at / columns] += square;
                    stats.columns[at % columns] += square;
                } else {
                    stats.not_finite += 1;
                }
                at += 1;
            }
        })?;
        Ok(stats)
    }
}
