//! Effect of holding a model and its SAEs in fewer bits.

use std::collections::BTreeSet;

use burn::tensor::Tensor;
use nanoscope_corpus::{Context, CorpusError};
use nanoscope_hooks::ActivationCache;
use nanoscope_kernels::to_host;
use nanoscope_runtime::InterpretableModel;
use nanoscope_sae::SparseFeatures;
use nanoscope_transformer::Gpt;
use rayon::prelude::*;

use crate::batches::batches;
use crate::evaluate::{EvalOptions, counting};
use crate::losses::{CHUNK_LOGITS, Prediction};
use crate::mean::Mean;
use crate::pass::{Batch, rows};
use crate::{EvalTarget, EvaluateError};

/// The difference of a rounded model and its rounded SAEs from those in full precision, on a text.
#[derive(Debug, Clone, PartialEq)]
pub struct RoundingReport {
    /// Number of tokens.
    pub tokens: u64,
    /// Mean of `Σ_v p(v) · ln(p(v) / p_rounded(v))` over tokens, in nats.
    pub kl: f64,
    /// Share of the tokens after which both models find the same token likeliest.
    pub top_1_agreement: f64,
    /// For each SAE, the active features that are the same, of all that are active in one of the two: the sum
    /// over tokens of the intersection's size, divided by that of the union's; NaN if none is active.
    ///
    /// Each SAE encodes the activations of the model in its own precision.
    pub equal_active_features: Vec<f64>,
}

/// A model and SAEs of it.
#[derive(Debug, Clone, Copy)]
pub struct Subjects<'a> {
    /// The model.
    pub model: &'a InterpretableModel,
    /// The SAEs.
    pub saes: &'a [EvalTarget],
}

/// Compares a model and SAEs with the same ones in fewer bits, on the tokens of `contexts`. `progress` receives
/// the number of tokens completed.
///
/// # Errors
/// [`EvaluateError`] if a context cannot be read or run, or no token is counted.
///
/// # Panics
/// If the two have another number of SAEs.
pub fn compare_rounded(
    full: Subjects<'_>,
    rounded: Subjects<'_>,
    contexts: impl IntoIterator<Item = Result<Context, CorpusError>>,
    options: EvalOptions,
    mut progress: impl FnMut(u64),
) -> Result<RoundingReport, EvaluateError> {
    assert_eq!(full.saes.len(), rounded.saes.len(), "the same SAEs in two precisions");
    if options.batch_contexts == 0 {
        return Err(EvaluateError::EmptyBatch);
    }
    let (mut kl, mut agreement) = (Mean::default(), Mean::default());
    let mut overlaps = vec![Overlap::default(); full.saes.len()];
    let mut tokens = 0;
    for batch in batches(contexts.into_iter(), options.batch_contexts) {
        let batch = batch?;
        let counts = counting(full.model, &batch.tokens, options.special);
        let (hidden, features) = full.run(&batch)?;
        let (rounded_hidden, rounded_features) = rounded.run(&batch)?;
        for ((overlap, full), rounded) in overlaps.iter_mut().zip(&features).zip(&rounded_features)
        {
            overlap.add(full, rounded, &counts);
        }
        let gpts = [full.model.gpt(), rounded.model.gpt()];
        let differences = differences(gpts, [&hidden, &rounded_hidden]);
        for ((divergence, is_same), _) in
            differences.into_iter().zip(&counts).filter(|(_, counts)| **counts)
        {
            kl.add(divergence);
            agreement.add(f64::from(u8::from(is_same)));
        }
        tokens += (batch.tokens.batch() * batch.tokens.seq()) as u64;
        progress(tokens);
    }
    if kl.count == 0 {
        return Err(EvaluateError::NothingCounts { tokens });
    }
    Ok(RoundingReport {
        tokens: kl.count,
        kl: kl.get(),
        top_1_agreement: agreement.get(),
        equal_active_features: overlaps.iter().map(Overlap::share).collect(),
    })
}

impl Subjects<'_> {
    /// Runs a batch. Returns the input of the unembedding and each SAE's active features.
    fn run(&self, batch: &Batch) -> Result<(Tensor<2>, Vec<SparseFeatures>), EvaluateError> {
        let points: BTreeSet<_> = self.saes.iter().map(EvalTarget::read).collect();
        let (hidden, recording) = batch.clean(self.model.gpt(), points)?;
        let encode = |target: &EvalTarget| encode(target, &recording);
        Ok((hidden, self.saes.iter().map(encode).collect::<Result<_, _>>()?))
    }
}

fn encode(
    target: &EvalTarget,
    recording: &ActivationCache,
) -> Result<SparseFeatures, EvaluateError> {
    let recorded = recording.get(target.read()).expect("every target's point was recorded");
    let x = rows(recorded, target.sae().config().d_in());
    let name = || target.name().to_owned();
    target.sae().encode_sparse(x).map_err(|source| EvaluateError::Encode { name: name(), source })
}

/// Computes for each row the divergence of the second model from the first, and whether both find the same token
/// likeliest.
///
/// # Shapes
/// - `hidden`: input of the unembedding of each model, `[rows, n_embd]`
fn differences(gpts: [&Gpt; 2], hidden: [&Tensor<2>; 2]) -> Vec<(f64, bool)> {
    let vocab = gpts[0].config().shape.vocab_size;
    let [rows, _] = hidden[0].dims();
    let at_once = (CHUNK_LOGITS / vocab).max(1);
    let mut found = Vec::with_capacity(rows);
    for from in (0..rows).step_by(at_once) {
        let range = from..(from + at_once).min(rows);
        let logits = |model: usize| {
            let hidden = hidden[model].clone().slice_dim(0, range.clone()).unsqueeze::<3>();
            to_host(gpts[model].unembed(hidden))
        };
        let (full, rounded) = (logits(0), logits(1));
        let pairs = full.par_chunks_exact(vocab).zip(rounded.par_chunks_exact(vocab));
        found.par_extend(pairs.map(|(full, rounded)| {
            let (_, kl) = Prediction::from_logits(full).against(rounded, None);
            (kl, likeliest(full) == likeliest(rounded))
        }));
    }
    found
}

/// The first of the largest logits.
fn likeliest(logits: &[f32]) -> usize {
    let larger = |best: usize, at: usize| if logits[at] > logits[best] { at } else { best };
    (0..logits.len()).fold(0, larger)
}

/// The number of active features in both, and in either, of two sets.
#[derive(Debug, Clone, Default)]
struct Overlap {
    both: u64,
    either: u64,
}

impl Overlap {
    fn add(&mut self, full: &SparseFeatures, rounded: &SparseFeatures, counts: &[bool]) {
        for (row, _) in counts.iter().enumerate().filter(|(_, counts)| **counts) {
            let active: BTreeSet<u32> = full.row(row).map(|(feature, _)| feature).collect();
            let others = rounded.row(row).filter(|(feature, _)| active.contains(feature)).count();
            self.both += others as u64;
            self.either += (active.len() + rounded.row(row).count() - others) as u64;
        }
    }

    fn share(&self) -> f64 {
        self.both as f64 / self.either as f64
    }
}

#[cfg(test)]
mod tests {
    use nanoscope_hooks::HookPoint;
    use nanoscope_transformer::{Era, GptShape, Logits, TokenBatch};

    use super::*;

    fn features(rows: &[&[u32]]) -> SparseFeatures {
        let mut features = SparseFeatures::new(8);
        for row in rows {
            features.push_row(row.iter().map(|&index| (index, 1.0)));
        }
        features
    }

    #[test]
    fn the_share_of_equal_features_is_the_intersection_over_the_union_of_counted_rows() {
        let full = features(&[&[1, 2, 3], &[4], &[0, 7]]);
        let rounded = features(&[&[2, 3, 5], &[4], &[]]);
        let mut overlap = Overlap::default();

        overlap.add(&full, &rounded, &[true, false, true]);

        assert_eq!((overlap.both, overlap.either), (2, 6));
        assert!(Overlap::default().share().is_nan());
    }

    /// A model of random weights, with an SAE that keeps `k` coordinates of what its first block writes.
    fn subject(seed: u64, k: usize) -> (InterpretableModel, Vec<EvalTarget>) {
        let device = nanoscope_testing::test_device();
        let shape = GptShape {
            sequence_len: 8,
            vocab_size: 50,
            n_layer: 1,
            n_head: 1,
            n_kv_head: 1,
            n_embd: 32,
        };
        let gpt = Gpt::random(Era::E6.config(shape, None).unwrap(), seed, &device);
        let model = InterpretableModel::new(gpt);
        let sae = nanoscope_testing::identity_sae(32, k, &device);
        let target = EvalTarget::new(&model, "sae", (HookPoint::ResidPost(0), None), sae).unwrap();
        (model, vec![target])
    }

    fn compared(full: u64, rounded: (u64, usize)) -> RoundingReport {
        let (full, rounded) = (subject(full, 4), subject(rounded.0, rounded.1));
        let contexts = [vec![1, 2, 3, 4, 5], vec![9, 8, 7, 6, 49]].into_iter().zip(0..);
        let contexts = contexts
            .map(|(tokens, index)| Ok(Context { index, documents: vec![0; tokens.len()], tokens }));
        let of = |(model, saes)| Subjects { model, saes };
        let (full, rounded) = ((&full.0, full.1.as_slice()), (&rounded.0, rounded.1.as_slice()));
        let options = EvalOptions { batch_contexts: 2, ..EvalOptions::default() };
        compare_rounded(of(full), of(rounded), contexts, options, |_| ()).unwrap()
    }

    #[test]
    fn a_model_agrees_with_itself_and_half_of_the_features_of_an_sae_with_twice_as_many() {
        let same = compared(3, (3, 4));
        assert_eq!((same.tokens, same.top_1_agreement), (10, 1.0));
        assert!(same.kl.abs() < 1e-9, "{same:?}");
        assert_eq!(same.equal_active_features, [1.0]);

        assert_eq!(compared(3, (3, 8)).equal_active_features, [0.5]);
    }

    #[test]
    fn another_model_differs_by_the_divergence_of_its_logits() {
        let found = compared(3, (4, 4));

        let probabilities = |seed| {
            let (model, _) = subject(seed, 4);
            let tokens = TokenBatch::new(&[vec![1, 2, 3, 4, 5], vec![9, 8, 7, 6, 49]]).unwrap();
            let logits = model.gpt().forward(&tokens, Logits::All, &mut ()).unwrap();
            let p = burn::tensor::activation::softmax(logits, 2);
            to_host(p).into_iter().map(f64::from).collect::<Vec<_>>()
        };
        let (p, q) = (probabilities(3), probabilities(4));
        let kl: f64 = p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum::<f64>() / 10.0;
        assert!(kl > 1e-4 && (found.kl - kl).abs() < 1e-3 * kl, "{} {kl}", found.kl);
        assert!(found.top_1_agreement < 1.0 && found.equal_active_features[0] < 1.0, "{found:?}");
    }

    #[test]
    fn the_first_of_equal_logits_is_the_likeliest() {
        assert_eq!(likeliest(&[0.0, 2.0, -1.0, 2.0]), 1);
    }
}
