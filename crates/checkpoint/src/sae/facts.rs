//! What people want to know of an SAE before they load it.

use nanoscope_sae::{Architecture, Normalization};

use crate::container::Order;
use crate::error::CheckpointError;
use crate::sae::sae_file::{SaeFile, Source, Weight};

impl SaeFile {
    /// Numbers in its weights.
    pub(crate) fn numbers(&self) -> u64 {
        let of =
            |(weight, _): &(Weight, Source)| weight.shape(&self.config).iter().product::<usize>();
        self.sources.iter().map(of).sum::<usize>() as u64
    }

    /// Everything that is known of it, for people. Its weights are read once, a part at a time.
    pub(crate) fn facts(&self) -> Result<Vec<(&'static str, String)>, CheckpointError> {
        let config = &self.config;
        let unknown = || "not said".to_owned();
        let mut facts = vec![("hook point", self.place.hook.clone().unwrap_or_else(unknown))];
        if let Some(hook_out) = &self.place.hook_out {
            facts.push(("writes to", hook_out.clone()));
        }
        let mut architecture = config.architecture().name().to_owned();
        if let Some(k) = config.architecture().k() {
            architecture.push_str(", k ");
            architecture.push_str(&k.to_string());
        }
        if let Architecture::TopK { rescale_acts_by_decoder_norm: true, .. } = config.architecture()
        {
            architecture.push_str(", by the decoder's norm");
        }
        facts.push(("architecture", architecture));
        facts.push(("d_in", config.d_in().to_string()));
        facts.push(("d_sae", config.d_sae().to_string()));
        if config.d_out() != config.d_in() {
            facts.push(("d_out", config.d_out().to_string()));
        }
        facts.push(("normalisation", normalization(config.normalization())));
        let input = if config.apply_b_dec_to_input() { "x − b_dec" } else { "x" };
        facts.push(("encodes", input.to_owned()));
        if config.skip() {
            facts.push(("skip connection", "x · W_skip".to_owned()));
        }
        facts.extend(self.notes.iter().cloned());
        facts.extend(self.weight_facts()?);
        Ok(facts)
    }

    fn weight_facts(&self) -> Result<Vec<(&'static str, String)>, CheckpointError> {
        let mut facts = Vec::new();
        let mut bad = Vec::new();
        for (weight, source) in &self.sources {
            let Some(name) = source.name() else { continue };
            let stats = MatrixStats::of(self, name)?;
            if stats.not_finite > 0 {
                bad.push(format!("{} in {name}", stats.not_finite));
            }
            let by_feature = match (weight, source) {
                (Weight::WEnc, Source::Tensor { order: Order::AsStored, .. })
                | (Weight::WDec, Source::Tensor { order: Order::Transposed, .. }) => &stats.columns,
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

fn normalization(normalization: Normalization) -> String {
    match normalization {
        Normalization::ExpectedAverageOnlyIn { scale } => {
            format!("{}, x · {scale}", normalization.name())
        }
        other => other.name().to_owned(),
    }
}

/// The smallest, mean and largest of `norms`.
fn spread(norms: &[f64]) -> String {
    let min = norms.iter().copied().fold(f64::INFINITY, f64::min);
    let max = norms.iter().copied().fold(0.0, f64::max);
    let mean = norms.iter().sum::<f64>() / norms.len() as f64;
    format!("{min:.3} to {max:.3}, {mean:.3} on average")
}

/// What one pass over a tensor tells. A vector is a matrix of one row.
struct MatrixStats {
    /// Numbers that are NaN or infinite; they count for nothing else.
    not_finite: usize,
    /// The sum of squares of each row, as stored.
    rows: Vec<f64>,
    /// The sum of squares of each column, as stored.
    columns: Vec<f64>,
}

impl MatrixStats {
    fn of(sae: &SaeFile, name: &str) -> Result<Self, CheckpointError> {
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
