//! The edits of a plan that apply in a pass.

use std::collections::BTreeMap;

use nanoscope_hooks::HookPoint;

use crate::pass::direction_rows::DirectionRows;
use crate::pass::edits::{DirectionSource, HookEdits};
use crate::steering::{Op, Scale};

/// The edits at a hook point, at least one of which applies to a token of a pass.
pub(crate) struct AppliedEdits<'p, 'm> {
    pub(crate) edits: &'p HookEdits<'m>,
    /// For each edit, true at the tokens to which it applies.
    applies: Vec<Vec<bool>>,
}

/// The numbers of the activations of a plan's tokens that its edits depend on. Those that no edit depends on
/// are absent.
pub(crate) struct KnownNumbers<'n> {
    /// The length of each activation that arrives.
    pub(crate) lengths: Option<&'n [f32]>,
    /// The inner products of each activation with the directions of the plan's projector, and their number for each
    /// activation, which may be larger than that of the directions.
    pub(crate) projections: Option<(&'n [f32], usize)>,
    /// The factors of the directions of the SAEs that scale them for each activation.
    pub(crate) scales: BTreeMap<HookPoint, &'n [f32]>,
}

impl<'p, 'm> AppliedEdits<'p, 'm> {
    /// Takes the edits for which `applies` is true at one of `tokens` tokens; `None` if there is none.
    pub(crate) fn new(
        edits: &'p HookEdits<'m>,
        tokens: usize,
        applies: impl Fn(usize, usize) -> bool,
    ) -> Option<Self> {
        let of = |index| (0..tokens).map(|token| applies(index, token)).collect::<Vec<_>>();
        let applies: Vec<_> = edits.edits.iter().map(|edit| of(edit.index)).collect();
        applies.iter().any(|of| of.contains(&true)).then_some(Self { edits, applies })
    }

    /// Returns whether the edit at `at` applies to a token.
    pub(crate) fn applies(&self, at: usize, token: usize) -> bool {
        self.applies[at][token]
    }

    /// Returns whether an edit applies to a token.
    pub(crate) fn covers(&self, token: usize) -> bool {
        self.applies.iter().any(|of| of[token])
    }

    /// Returns whether an edit along the direction applies to a token.
    pub(crate) fn moves_along(&self, direction: usize, token: usize) -> bool {
        let mut edits = self.edits.edits.iter().zip(&self.applies);
        edits.any(|(edit, applies)| edit.direction == direction && applies[token])
    }

    /// Returns whether an edit that applies depends on the length of the activation.
    pub(crate) fn needs_lengths(&self) -> bool {
        self.includes(|op| op.scale() == Some(Scale::Norm))
    }

    /// The directions whose inner products with the activation the edits depend on.
    pub(crate) fn projector(&self) -> Option<&'p DirectionRows> {
        self.edits.projector.as_ref().filter(|_| self.includes(Op::projects))
    }

    fn includes(&self, is: impl Fn(Op) -> bool) -> bool {
        let mut edits = self.edits.edits.iter().zip(&self.applies);
        edits.any(|(edit, applies)| is(edit.op) && applies.contains(&true))
    }
}

impl<'n> KnownNumbers<'n> {
    /// The factor of a direction for the activation at `row`.
    pub(crate) fn factor(&self, source: &DirectionSource<'_>, row: usize) -> f32 {
        match source {
            DirectionSource::Feature { hook, .. } => {
                self.scales.get(hook).map_or(1.0, |scales| scales[row])
            }
            DirectionSource::Vector(_) => 1.0,
        }
    }

    /// The inner products of the activation at `row`.
    pub(crate) fn projections(&self, row: usize) -> &'n [f32] {
        self.projections.map_or(&[], |(all, columns)| &all[row * columns..(row + 1) * columns])
    }
}
