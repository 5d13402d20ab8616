use std::collections::{BTreeMap, BTreeSet};

use nanoscope_corpus::{Context, CorpusError, SpecialTokens};
use nanoscope_hooks::{HookPoint, Patch};
use nanoscope_runtime::InterpretableModel;
use nanoscope_transformer::TokenBatch;

use crate::batches::batches;
use crate::losses::{Changed, Losses, losses};
use crate::metrics::{FEATURE_METRICS, Group, METRICS, Metric};
use crate::pass::{Batch, rows, spliced};
use crate::sums::{Counted, Sums};
use crate::{EvalTarget, EvaluateError};

/// Options of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvalOptions {
    /// Contexts per batch. Some of SAELens's metrics depend on it, as [`METRICS`] says. Default: 8.
    pub batch_contexts: usize,
    /// Treatment of special tokens. The model still sees skipped tokens, but no metric counts them,
    /// and their activations are kept when others are replaced by reconstructions. Ablation affects
    /// all tokens. All of this is as in SAELens. Default: skip.
    pub special: SpecialTokens,
}

impl Default for EvalOptions {
    fn default() -> Self {
        Self { batch_contexts: 8, special: SpecialTokens::Skip }
    }
}

/// The metrics of an SAE.
#[derive(Debug, Clone)]
pub struct Evaluation {
    values: Vec<f64>,
    features: Vec<Vec<f64>>,
}

impl Evaluation {
    fn from_sums(sums: &Sums) -> Self {
        let d_sae = sums.geometry.encoder_norm.len();
        let of_feature = |feature| {
            FEATURE_METRICS.iter().map(|metric| (metric.compute)(sums, feature)).collect()
        };
        Self {
            values: METRICS.iter().map(|metric| (metric.compute)(sums)).collect(),
            features: (0..d_sae).map(of_feature).collect(),
        }
    }

    /// Every metric with its value, in the order of [`METRICS`]; NaN where undefined.
    pub fn metrics(&self) -> impl Iterator<Item = (&'static Metric, f64)> {
        METRICS.iter().zip(self.values.iter().copied())
    }

    /// Returns the metric `name` of `group`.
    ///
    /// # Panics
    /// If the metric does not exist.
    pub fn get(&self, group: Group, name: &str) -> f64 {
        let found = self.metrics().find(|(metric, _)| metric.group == group && metric.name == name);
        found.unwrap_or_else(|| panic!("unknown metric {name} in {}", group.name())).1
    }

    /// For each feature, the values of [`FEATURE_METRICS`]; NaN where undefined.
    pub fn features(&self) -> &[Vec<f64>] {
        &self.features
    }
}

/// Evaluates the SAEs `targets` on the tokens of `contexts`. The results are in the order of
/// `targets`.
///
/// Each batch of contexts is run unmodified, once for each SAE with its reconstruction replacing
/// the activation, and once for each such hook point with the activation set to zero. The token
/// after the end of a context is unknown, so the loss excludes each context's last position.
///
/// Contexts of different lengths are run in separate batches. Memory use does not depend on the
/// number of contexts. `progress` receives the number of tokens completed.
///
/// # Errors
/// [`EvaluateError`] if a context cannot be read or run, or no token contributes to the metrics.
pub fn evaluate(
    model: &InterpretableModel,
    targets: &[EvalTarget],
    contexts: impl IntoIterator<Item = Result<Context, CorpusError>>,
    options: EvalOptions,
    mut progress: impl FnMut(u64),
) -> Result<Vec<Evaluation>, EvaluateError> {
    if options.batch_contexts == 0 {
        return Err(EvaluateError::EmptyBatch);
    }
    let mut sums: Vec<Sums> = targets.iter().map(Sums::new).collect();
    let mut tokens = 0;
    for batch in batches(contexts.into_iter(), options.batch_contexts) {
        let batch = batch?;
        run(model, targets, &batch, options.special, &mut sums)?;
        tokens += (batch.tokens.batch() * batch.tokens.seq()) as u64;
        progress(tokens);
    }
    for sums in &mut sums {
        if sums.ce_clean.count == 0 {
            return Err(EvaluateError::NothingCounts { tokens });
        }
        let found = sums.ce_clean.get();
        if !found.is_finite() {
            return Err(EvaluateError::NotFinite { found });
        }
        sums.nanochat_sae.finish();
    }
    Ok(sums.iter().map(Evaluation::from_sums).collect())
}

fn run(
    model: &InterpretableModel,
    targets: &[EvalTarget],
    batch: &Batch,
    special: SpecialTokens,
    sums: &mut [Sums],
) -> Result<(), EvaluateError> {
    let gpt = model.gpt();
    let points = targets.iter().flat_map(|target| [target.read(), target.write()]);
    let (clean, recording) = batch.clean(gpt, points.collect())?;
    let at = |hook: HookPoint, width| {
        rows(recording.get(hook).expect("every target's points were recorded"), width)
    };
    let counts = counting(model, &batch.tokens, special);
    let counted = Counted { counts: &counts, seq: batch.tokens.seq() };

    let mut changed = Vec::with_capacity(targets.len());
    for (target, sums) in targets.iter().zip(sums.iter_mut()) {
        let (sae, config) = (target.sae(), target.sae().config());
        let read = at(target.read(), config.d_in());
        let features = sae
            .encode_sparse(read.clone())
            .map_err(|source| EvaluateError::Encode { name: target.name().to_owned(), source })?;
        let reconstruction = sae.decode_sparse(&features, read);
        let activation = recording.get(target.write()).expect("the point was recorded");
        let replaced = spliced(activation, reconstruction.clone(), &counts);
        changed.push(batch.patched(gpt, Patch::new().replace(target.write(), replaced))?);
        let x = at(target.write(), config.d_out());
        sums.add_features(&counted, x, reconstruction, &features);
    }
    let writes: BTreeSet<HookPoint> = targets.iter().map(EvalTarget::write).collect();
    let mut ablated = BTreeMap::new();
    for write in writes {
        ablated.insert(write, changed.len());
        changed.push(batch.patched(gpt, Patch::new().zero(write))?);
    }

    let losses = losses(gpt, &clean, &changed, &next_tokens(&batch.tokens));
    for (at, (target, sums)) in targets.iter().zip(sums).enumerate() {
        let ablated = &losses.changed[ablated[&target.write()]];
        add_losses(sums, &counted, &losses, &losses.changed[at], ablated);
    }
    Ok(())
}

fn add_losses(
    sums: &mut Sums,
    batch: &Counted<'_>,
    losses: &Losses,
    with_sae: &Changed,
    ablated: &Changed,
) {
    for (row, _) in batch.counts.iter().enumerate().filter(|&(_, &counts)| counts) {
        sums.kl_sae.add(with_sae.kl[row]);
        sums.kl_ablation.add(ablated.kl[row]);
        if (row + 1) % batch.seq != 0 {
            sums.ce_clean.add(losses.clean[row]);
            sums.ce_sae.add(with_sae.nll[row]);
            sums.ce_ablation.add(ablated.nll[row]);
        }
    }
}

/// Returns for each token whether metrics count it.
pub(crate) fn counting(
    model: &InterpretableModel,
    tokens: &TokenBatch,
    special: SpecialTokens,
) -> Vec<bool> {
    let tokenizer = model.tokenizer().filter(|_| special == SpecialTokens::Skip);
    let counts = |&id: &u32| tokenizer.is_none_or(|tokenizer| !tokenizer.is_special(id));
    tokens.rows().flatten().map(counts).collect()
}

/// Returns the next token at each position; `None` at the end of a context.
fn next_tokens(tokens: &TokenBatch) -> Vec<Option<u32>> {
    tokens.rows().flat_map(|row| row[1..].iter().copied().map(Some).chain([None])).collect()
}
