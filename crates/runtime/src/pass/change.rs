//! The change of an activation by the plans of a pass.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use nanoscope_hooks::HookPoint;
use nanoscope_kernels::read_together;
use nanoscope_sae::SparseFeatures;

use crate::pass::applied_edits::{AppliedEdits, KnownNumbers};
use crate::pass::direction_rows::DirectionRows;
use crate::pass::edits::DirectionSource;
use crate::pass::plan_pass::PlanPass;
use crate::pass::report::Move;
use crate::pass::splice::{move_along, replace_rows};

/// The activations that arrived at the hook points that SAEs read, `[tokens, d_in]` each.
pub(crate) type Arrived = BTreeMap<HookPoint, Tensor<2>>;

/// The lengths of moves at a hook point, to be divided by the lengths of the activations. The latter are read
/// after the pass, to avoid waiting for the device during it.
pub(crate) struct UnreadLengths {
    point: HookPoint,
    /// The lengths of the activations, `[tokens]`.
    lengths: Tensor<1>,
    /// The moves of each plan.
    moves: Vec<Vec<Move>>,
}

impl UnreadLengths {
    pub(crate) fn tensor(&self) -> Tensor<1> {
        self.lengths.clone()
    }

    /// Reports the moves to their plans.
    ///
    /// # Shapes
    /// - `lengths`: the numbers of [`tensor`](Self::tensor)
    pub(crate) fn report(&self, plans: &mut [PlanPass<'_, '_>], lengths: &[f32]) {
        report(plans, self.point, &self.moves, lengths);
    }
}

/// Returns the activation with the changes of all plans, each to its own tokens; `None` if nothing changes. Also
/// returns the lengths that the reports on the changes wait for.
///
/// # Shapes
/// - `x`: `[tokens, width]`, the tokens of each plan in turn; the output has the same shape
pub(crate) fn change(
    plans: &mut [PlanPass<'_, '_>],
    point: HookPoint,
    x: Tensor<2>,
    arrived: &Arrived,
) -> (Option<Tensor<2>>, Option<UnreadLengths>) {
    let applied: Vec<_> = plans.iter().map(|plan| plan.edits(point)).collect();
    if applied.iter().all(Option::is_none) {
        return (None, None);
    }
    let tokens = plans[0].tokens();
    let base = with_reconstructions(plans, &applied, x.clone(), arrived);
    let numbers = Numbers::read(&applied, &x, &base, arrived);

    let directions = applied.iter().flatten().map(|of| of.edits.rows.count()).max().unwrap_or(0);
    let mut moved = vec![0.0; plans.len() * tokens * directions];
    let mut moves: Vec<Vec<Move>> = Vec::with_capacity(plans.len());
    for (at, own) in moved.chunks_exact_mut(tokens * directions).enumerate() {
        moves.push(match &applied[at] {
            Some(applied) => plans[at].edit(point, applied, &numbers.of(at, tokens), own),
            None => Vec::new(),
        });
    }

    let mut unread = None;
    if moves.iter().any(|moves| !moves.is_empty()) {
        match &numbers.lengths {
            Some(lengths) => report(plans, point, &moves, lengths),
            None => unread = Some(UnreadLengths { point, lengths: lengths(x), moves }),
        }
    }
    let changed = if moved.iter().any(|&moved| moved != 0.0) {
        let rows: Vec<_> = applied.iter().map(|of| Some(&of.as_ref()?.edits.rows)).collect();
        Some(move_along(base, moved, DirectionRows::stack(&rows)))
    } else {
        let replaces = |of: &AppliedEdits<'_, '_>| of.edits.reconstructs.is_some();
        applied.iter().flatten().any(replaces).then_some(base)
    };
    (changed, unread)
}

/// Reports the moves of each plan.
///
/// # Shapes
/// - `lengths`: those of the activations before the moves, `[tokens]`
fn report(plans: &mut [PlanPass<'_, '_>], point: HookPoint, moves: &[Vec<Move>], lengths: &[f32]) {
    let lengths = lengths.chunks_exact(lengths.len() / plans.len());
    for ((plan, moves), lengths) in plans.iter_mut().zip(moves).zip(lengths) {
        plan.report(point, moves, lengths);
    }
}

/// Replaces the activations of tokens by reconstructions where their edits ask for it.
///
/// # Shapes
/// - `x`: `[tokens, width]`; the output has the same shape
fn with_reconstructions(
    plans: &[PlanPass<'_, '_>],
    applied: &[Option<AppliedEdits<'_, '_>>],
    mut x: Tensor<2>,
    arrived: &Arrived,
) -> Tensor<2> {
    let mut saes = BTreeMap::new();
    for (plan, of) in plans.iter().zip(applied) {
        if let Some(hook) = of.as_ref().and_then(|of| of.edits.reconstructs) {
            let (reader, _) = plan.reader(hook).expect("what is reconstructed is read");
            saes.insert(hook, reader.sae);
        }
    }
    for (hook, sae) in saes {
        let mut features = SparseFeatures::new(sae.config().d_sae());
        let mut covered = Vec::new();
        for (plan, of) in plans.iter().zip(applied) {
            match of {
                Some(of) if of.edits.reconstructs == Some(hook) => {
                    features.append(plan.features(hook));
                    covered.extend((0..plan.tokens()).map(|token| of.covers(token)));
                }
                _ => {
                    (0..plan.tokens()).for_each(|_| features.push_row([]));
                    covered.resize(features.rows(), false);
                }
            }
        }
        let with = sae.decode_sparse(&features, arrived[&hook].clone());
        x = replace_rows(x, with, covered);
    }
    x
}

/// The numbers of all tokens that edits depend on.
struct Numbers {
    /// The lengths of the activations.
    lengths: Option<Vec<f32>>,
    /// The inner products of the activations with the directions that are projected out of them, `columns` for
    /// each.
    projections: Option<Vec<f32>>,
    columns: usize,
    /// The factors of the directions of the SAEs that scale them for each activation.
    scales: BTreeMap<HookPoint, Vec<f32>>,
}

impl Numbers {
    /// Reads what `applied` depends on from the device, together. Waits for it if there is something.
    ///
    /// # Shapes
    /// - `x`, `base`: the activations, and those that the edits begin with: `[tokens, width]`
    fn read(
        applied: &[Option<AppliedEdits<'_, '_>>],
        x: &Tensor<2>,
        base: &Tensor<2>,
        arrived: &Arrived,
    ) -> Self {
        let edits = || applied.iter().flatten();
        let mut unread = Vec::new();
        let needs_lengths = edits().any(AppliedEdits::needs_lengths);
        if needs_lengths {
            unread.push(lengths(x.clone()));
        }
        let projectors: Vec<_> =
            applied.iter().map(|of| of.as_ref().and_then(AppliedEdits::projector)).collect();
        let columns = projectors.iter().flatten().map(|of| of.count()).max().unwrap_or(0);
        if columns > 0 {
            let [tokens, width] = base.dims();
            let by_plan = base.clone().reshape([applied.len(), tokens / applied.len(), width]);
            let products = by_plan.matmul(DirectionRows::stack(&projectors).swap_dims(1, 2));
            unread.push(products.flatten(0, 2));
        }
        let mut scaled = BTreeMap::new();
        for direction in edits().flat_map(|of| &of.edits.directions) {
            if let DirectionSource::Feature { hook, sae, .. } = direction.source {
                scaled.entry(hook).or_insert_with(|| sae.output_scale(arrived[&hook].clone()));
            }
        }
        scaled.retain(|_, scale| scale.is_some());
        unread.extend(scaled.values().flatten().map(|scale| scale.clone().flatten(0, 1)));

        let mut numbers = read_together(unread).into_iter();
        let mut next = || numbers.next().expect("there is a vector for each tensor");
        let lengths = needs_lengths.then(&mut next);
        let projections = (columns > 0).then(&mut next);
        let scales = scaled.into_keys().map(|hook| (hook, next())).collect();
        Self { lengths, projections, columns, scales }
    }

    /// The numbers of the plan at `at`, of which each has `tokens` tokens.
    fn of(&self, at: usize, tokens: usize) -> KnownNumbers<'_> {
        let columns = self.columns;
        let projections = self.projections.as_deref();
        let scales = self.scales.iter().map(|(&hook, all)| (hook, own(all, at, tokens, 1)));
        KnownNumbers {
            lengths: self.lengths.as_deref().map(|all| own(all, at, tokens, 1)),
            projections: projections.map(|all| (own(all, at, tokens, columns), columns)),
            scales: scales.collect(),
        }
    }
}

/// The numbers of the plan at `at`, of which each has `tokens` tokens with `columns` numbers each.
fn own(all: &[f32], at: usize, tokens: usize, columns: usize) -> &[f32] {
    &all[at * tokens * columns..][..tokens * columns]
}

/// The length of each row, `[rows]`.
fn lengths(x: Tensor<2>) -> Tensor<1> {
    x.square().sum_dim(1).sqrt().squeeze_dim(1)
}
