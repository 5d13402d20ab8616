use burn::tensor::Tensor;

use crate::steering::Intervention;

/// What an intervention did.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The intervention.
    pub intervention: Intervention,
    /// Positions at which it was applied, in all rows together: those that it covers and at which
    /// its condition held.
    pub positions: usize,
    /// Those at which it moved the activation. Multiplying a feature that never fires changes
    /// nothing.
    pub changed: usize,
    /// How far it moved the activation, on average over `positions`: `‖Δ‖ / ‖x‖`, `Δ` being its
    /// own change and `x` the activation that arrived where the change lands. 0 where it was
    /// applied nowhere; a position whose `x` is 0 counts 0.
    pub moved: f32,
}

/// Per intervention of a plan, what it did so far.
#[derive(Debug, Clone)]
pub(crate) struct Report(Vec<Tally>);

#[derive(Debug, Clone, Default)]
struct Tally {
    positions: usize,
    changed: usize,
    moved: f64,
}

/// How far interventions moved the activations at a site, as lengths that wait for the lengths of
/// these activations. A length that nothing in a pass needs is read after it, when no work on the
/// device has to be waited for.
#[derive(Debug)]
pub(crate) struct Distances {
    /// `[rows, 1]`
    pub(crate) norms: Tensor<2>,
    /// Intervention, row, length.
    pub(crate) moves: Vec<(usize, usize, f64)>,
}

impl Report {
    pub(crate) fn new(interventions: usize) -> Self {
        Self(vec![Tally::default(); interventions])
    }

    /// Counts a position at which the intervention `index` was applied.
    pub(crate) fn count(&mut self, index: usize, changed: bool) {
        let tally = &mut self.0[index];
        tally.positions += 1;
        tally.changed += usize::from(changed);
    }

    pub(crate) fn add(&mut self, Distances { norms, moves }: Distances) {
        let norms: Vec<f32> = norms.into_data().iter::<f32>().collect();
        for (index, row, length) in moves {
            if norms[row] > 0.0 {
                self.0[index].moved += length / f64::from(norms[row]);
            }
        }
    }

    /// Memory that it takes.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.0.as_slice())
    }

    /// Adds what the interventions `indices` did, as [`of`](Self::of) gave it.
    pub(crate) fn merge(&mut self, indices: &[usize], part: &Self) {
        for (&index, part) in indices.iter().zip(&part.0) {
            let tally = &mut self.0[index];
            tally.positions += part.positions;
            tally.changed += part.changed;
            tally.moved += part.moved;
        }
    }

    /// What the interventions `indices` did.
    pub(crate) fn of(&self, indices: &[usize]) -> Self {
        Self(indices.iter().map(|&index| self.0[index].clone()).collect())
    }

    pub(crate) fn applied(&self, interventions: &[Intervention]) -> Vec<Applied> {
        let of = |(intervention, tally): (&Intervention, &Tally)| Applied {
            intervention: intervention.clone(),
            positions: tally.positions,
            changed: tally.changed,
            moved: (tally.moved / tally.positions.max(1) as f64) as f32,
        };
        interventions.iter().zip(&self.0).map(of).collect()
    }
}
