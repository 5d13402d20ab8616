//! Exact effects: the metric without a feature.

use std::collections::BTreeMap;

use burn::tensor::{Tensor, TensorData};
use nanoscope_hooks::{HookError, HookPoint, HookRouter};
use nanoscope_kernels::to_host;
use nanoscope_runtime::{Intervention, Op, Plan, PositionRange, Positions, Target};
use nanoscope_tokenizer::Tokenizer;
use nanoscope_transformer::{Logits, TokenBatch};

use crate::attribution::{Attribution, FeatureEffect};
use crate::error::AttributeError;
use crate::metric::Readout;
use crate::pass::{MAX_TOKENS, by_position, of_features};
use crate::source::{Decomposed, check_length};

impl Attribution<'_> {
    /// Computes `m − m(without the feature)` for the features in `rows`: `f · d` is subtracted from the
    /// activation at the feature's position, its error term and everything else is kept, and all that follows is
    /// computed again. Positive means that the feature speaks for the target.
    ///
    /// Rows at near positions are computed in one batch after the positions that they share. The batch has
    /// an unchanged row too, and the effects are differences to it, so that a feature without an effect has
    /// exactly 0. The numbers equal [`ablate_by_steering`](Self::ablate_by_steering) within float32 noise,
    /// because products of other sizes round otherwise.
    ///
    /// # Errors
    /// [`AttributeError::Row`] if there is no such row; [`AttributeError::TooLong`] if a feature adds more than
    /// float32 can compute with; [`AttributeError::NotFinite`] if the metric is not finite without a feature.
    pub fn ablate(&self, rows: &[usize]) -> Result<Vec<f32>, AttributeError> {
        self.check_rows(rows)?;
        let mut by_hook: BTreeMap<HookPoint, Vec<usize>> = BTreeMap::new();
        for (at, &row) in rows.iter().enumerate() {
            by_hook.entry(self.features()[row].hook).or_default().push(at);
        }
        let mut changes: Vec<Option<Change>> = rows.iter().map(|_| None).collect();
        for (hook, places) in by_hook {
            let parts = self.at(hook)?;
            let effect = |at: usize| &self.features()[rows[at]];
            let features: Vec<usize> =
                places.iter().map(|&at| effect(at).feature as usize).collect();
            let [_, width] = parts.activation.dims();
            // Directions of all rows at once would be as large as the SAE.
            for (places, features) in places.chunks(MAX_ROWS).zip(features.chunks(MAX_ROWS)) {
                let directions = to_host(parts.directions(features));
                for (&at, direction) in places.iter().zip(directions.chunks_exact(width)) {
                    let effect = effect(at);
                    changes[at] = Some(Change {
                        write: parts.source.write,
                        position: effect.position,
                        added: without(parts, effect.position, effect.activation, direction),
                    });
                }
            }
        }
        let changes: Vec<Change> = changes.into_iter().flatten().collect();
        self.effects(&changes)
    }

    /// Computes `m − m(without the error term)` for each `(hook point, position)`: what the SAE does not
    /// reconstruct is subtracted from the activation there. Otherwise as [`ablate`](Self::ablate).
    ///
    /// # Errors
    /// [`AttributeError::NotASource`] for a hook point that is not one of the sources';
    /// [`AttributeError::Position`] for a position outside the text; [`AttributeError::TooLong`] and
    /// [`AttributeError::NotFinite`] as for [`ablate`](Self::ablate).
    pub fn ablate_errors(&self, places: &[(HookPoint, usize)]) -> Result<Vec<f32>, AttributeError> {
        let mut errors: BTreeMap<HookPoint, Vec<f32>> = BTreeMap::new();
        let mut changes = Vec::with_capacity(places.len());
        for &(hook, position) in places {
            let parts = self.at(hook)?;
            let len = self.tokens.len();
            if position >= len {
                return Err(AttributeError::Position { position, len });
            }
            let errors = errors.entry(hook).or_insert_with(|| to_host(parts.error.clone()));
            let width = errors.len() / len;
            let error = &errors[position * width..(position + 1) * width];
            let added = error.iter().map(|value| -value).collect();
            changes.push(Change { write: parts.source.write, position, added });
        }
        self.effects(&changes)
    }

    /// Computes what [`ablate`](Self::ablate) does by one run of the whole text for each row, with the
    /// intervention `HOOK:FEATURE:ablate@P..P+1` for the feature at position `P`, with `+special` at a special token. The numbers are
    /// those of such a run to the bit. It takes several times as long.
    ///
    /// # Errors
    /// As [`ablate`](Self::ablate).
    pub fn ablate_by_steering(&self, rows: &[usize]) -> Result<Vec<f32>, AttributeError> {
        self.check_rows(rows)?;
        let clean = self.metric_of(&Plan::new())?;
        let effect =
            |&row: &usize| Ok(clean - self.metric_of(&Plan::new().intervene(self.ablation(row)))?);
        rows.iter().map(effect).collect()
    }

    /// The intervention that takes the feature of a row away where it is.
    pub(crate) fn ablation(&self, row: usize) -> Intervention {
        let FeatureEffect { hook, position, feature, .. } = self.features()[row];
        let positions = Positions::text_in(PositionRange::Range(position..position + 1));
        let tokenizer = self.model.tokenizer();
        let is_special = |tokenizer: &Tokenizer| tokenizer.is_special(self.tokens[position]);
        let at =
            if tokenizer.is_some_and(is_special) { positions.with_special() } else { positions };
        Intervention {
            at,
            ..Intervention::new(hook, Target::Feature(feature as usize), Op::Ablate)
        }
    }

    /// The metric of the text run with `plan`.
    fn metric_of(&self, plan: &Plan) -> Result<f32, AttributeError> {
        let tokens = TokenBatch::new(std::slice::from_ref(&self.tokens))?;
        let last = self.position();
        let value = match self.readout {
            Readout::Token(metric) => {
                let logits = self.model.run(&tokens, plan)?.logits;
                metric.of(logits.slice_dim(1, last..last + 1).squeeze_dim::<2>(1))
            }
            Readout::Feature { hook, sae, .. } => {
                let run = self.model.run(&tokens, &plan.clone().capture(hook))?;
                let captured = run.captured.get(hook);
                let captured = captured.ok_or(HookError::NeverReached { point: hook })?;
                let data = TensorData::new(captured.to_vec(), [last + 1, sae.config().d_in()]);
                let x = Tensor::<2>::from_data(data, self.model.gpt().device());
                to_host(of_features(&[self.readout], last + 1, &BTreeMap::from([(hook, x)]))?)
            }
        };
        finite(value).map(|values| values[0])
    }

    /// Computes the effect of undoing each change.
    fn effects(&self, changes: &[Change]) -> Result<Vec<f32>, AttributeError> {
        for Change { write, added, .. } in changes {
            let squares: f64 = added.iter().map(|&value| f64::from(value).powi(2)).sum();
            check_length(squares.sqrt(), *write)?;
        }
        let mut order: Vec<usize> = (0..changes.len()).collect();
        order.sort_by_key(|&at| changes[at].position);
        let positions: Vec<usize> = order.iter().map(|&at| changes[at].position).collect();
        let mut effects = vec![0.0; changes.len()];
        for range in batches(&positions, self.tokens.len()) {
            let members = &order[range];
            let start = changes[members[0]].position;
            let values = self.changed(start, members.iter().map(|&at| &changes[at]))?;
            let (clean, changed) = (values[0], &values[1..]);
            for (&at, value) in members.iter().zip(changed) {
                effects[at] = clean - value;
            }
        }
        Ok(effects)
    }

    /// Runs the text from `start` on: first unchanged, then with each of `changes`. Returns the metric of
    /// each row.
    fn changed<'c>(
        &self,
        start: usize,
        changes: impl ExactSizeIterator<Item = &'c Change>,
    ) -> Result<Vec<f32>, AttributeError> {
        let Self { model, tokens, readout, prefix, .. } = self;
        let (gpt, rows) = (model.gpt(), changes.len() + 1);
        let seq = tokens.len() - start;
        let mut cache = prefix.cache(gpt, rows, start, tokens.len())?;
        let mut at_point: BTreeMap<HookPoint, Vec<(usize, &Change)>> = BTreeMap::new();
        for (row, change) in changes.enumerate() {
            let at = (row + 1) * seq + (change.position - start);
            at_point.entry(change.write).or_default().push((at, change));
        }
        let read = readout.hook();
        let mut router = ChangeRouter { changes: at_point, read, kept: BTreeMap::new() };
        let batch = TokenBatch::new(&vec![tokens[start..].to_vec(); rows])?;
        let last = matches!(readout, Readout::Token(_)).then_some(Logits::Last);
        let logits = gpt.forward_together(&batch, &mut [&mut cache], last, &mut router)?;
        let values = match (readout, logits) {
            (Readout::Token(metric), Some(logits)) => metric.of(logits.squeeze_dim::<2>(1)),
            _ => {
                let at_last = match *readout {
                    Readout::Feature { hook, sae, feature, .. } => {
                        Readout::Feature { hook, sae, feature, position: seq - 1 }
                    }
                    token @ Readout::Token(_) => token,
                };
                to_host(of_features(&vec![at_last; rows], seq, &router.kept)?)
            }
        };
        finite(values)
    }
}

/// A change of the activation at one position.
struct Change {
    write: HookPoint,
    position: usize,
    added: Vec<f32>,
}

/// The change of the activation at `position` when a feature of the value `activation` is taken away, in the
/// order of operations of the intervention `ablate`.
fn without(
    parts: &Decomposed<'_>,
    position: usize,
    activation: f32,
    direction: &[f32],
) -> Vec<f32> {
    let factor = f64::from(parts.factor(position));
    let moved = ((0.0 - f64::from(activation)) * factor) as f32;
    direction.iter().map(|value| value * moved).collect()
}

fn finite(values: Vec<f32>) -> Result<Vec<f32>, AttributeError> {
    if values.iter().all(|value| value.is_finite()) {
        Ok(values)
    } else {
        Err(AttributeError::NotFinite { quantity: "the metric without a feature" })
    }
}

/// The largest number of changed rows in a batch.
const MAX_ROWS: usize = 32;

/// The largest number of positions in the caches of a batch, all rows together: each row has a copy of the keys
/// and values of the whole text.
const MAX_CACHED: usize = 8192;

/// The cost of a batch besides its tokens, in tokens.
const BATCH_COST: usize = 64;

/// Divides changes, in the order of their positions, into batches. A batch begins at the position of its
/// first change, so a change far behind it would run tokens that it shares with the unchanged text.
fn batches(positions: &[usize], len: usize) -> Vec<std::ops::Range<usize>> {
    let mut batches = Vec::new();
    // From the end: a change at an earlier position makes every row longer.
    let mut end = positions.len();
    while end > 0 {
        let mut first = end - 1;
        while first > 0 {
            let (rows, longer) = (end - first, positions[first] - positions[first - 1]);
            let tokens = (rows + 2) * (len - positions[first - 1]);
            let cached = (rows + 2) * len;
            let full = tokens > MAX_TOKENS || cached > MAX_CACHED;
            if rows == MAX_ROWS || full || rows * longer > BATCH_COST {
                break;
            }
            first -= 1;
        }
        batches.push(first..end);
        end = first;
    }
    batches.reverse();
    batches
}

/// Adds changes to activations, and keeps the one that a target feature reads.
struct ChangeRouter<'c> {
    /// By hook point, with the row of the activations.
    changes: BTreeMap<HookPoint, Vec<(usize, &'c Change)>>,
    read: Option<HookPoint>,
    kept: BTreeMap<HookPoint, Tensor<2>>,
}

impl HookRouter for ChangeRouter<'_> {
    fn wants(&self, point: HookPoint) -> bool {
        self.changes.contains_key(&point) || self.read == Some(point)
    }

    fn route<const D: usize>(&mut self, point: HookPoint, x: Tensor<D>) -> Tensor<D> {
        let x = match self.changes.get(&point) {
            Some(changes) => {
                let (dims, x) = (x.dims(), by_position(x));
                let [rows, width] = x.dims();
                let mut added = vec![0.0_f32; rows * width];
                for (row, change) in changes {
                    added[row * width..(row + 1) * width].copy_from_slice(&change.added);
                }
                let added = TensorData::new(added, [rows, width]);
                (x.clone() + Tensor::from_data(added, &x.device())).reshape(dims)
            }
            None => x,
        };
        if self.read == Some(point) {
            self.kept.insert(point, by_position(x.clone()));
        }
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_have_all_changes_and_break_where_a_prefix_pays_off() {
        assert!(batches(&[], 5).is_empty());
        // Near positions share a batch.
        assert_eq!(batches(&[3, 3, 4], 6), vec![0..3; 1]);
        // One change 90 positions before ten others would make each of them 90 tokens longer.
        let mut positions = vec![9];
        positions.extend([99; 10]);
        assert_eq!(batches(&positions, 100), [0..1, 1..11]);
        // No batch has more rows, or more tokens, than fit.
        let many = batches(&[7; 100], 10);
        assert!(many.iter().all(|range| range.len() <= MAX_ROWS), "{many:?}");
        assert_eq!(many.iter().map(std::ops::Range::len).sum::<usize>(), 100);
        let long = batches(&[0; 20], 900);
        assert!(long.iter().all(|range| (range.len() + 1) * 900 <= MAX_TOKENS), "{long:?}");
        assert_eq!(long.last().unwrap().end, 20);
    }
}
