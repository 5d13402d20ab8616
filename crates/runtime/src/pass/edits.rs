//! The interventions at one hook point, applied in order as one matrix product.
//!
//! Every intervention moves the activation along the direction of its feature or vector. The host
//! therefore only tracks how far each row has moved along each direction, for which it needs a few
//! numbers per row of the activations.

use std::collections::BTreeMap;

use burn::tensor::Device;
use nanoscope_hooks::HookPoint;
use nanoscope_kernels::to_host;
use nanoscope_sae::Sae;

use crate::error::RuntimeError;
use crate::pass::direction_rows::DirectionRows;
use crate::steering::{Intervention, Op, Plan, Scale, Splice, VectorName};

/// The interventions that change the activation at one hook point.
#[derive(Debug)]
pub(crate) struct HookEdits<'m> {
    pub(crate) directions: Vec<Direction<'m>>,
    /// The numbers of the directions.
    pub(crate) rows: DirectionRows,
    /// Those of the directions that are projected out.
    pub(crate) projector: Option<DirectionRows>,
    pub(crate) edits: Vec<Edit>,
    /// The hook point read by the SAE whose reconstruction replaces the activation.
    pub(crate) reconstructs: Option<HookPoint>,
}

/// A direction along which interventions move the activation.
#[derive(Debug)]
pub(crate) struct Direction<'m> {
    pub(crate) source: DirectionSource<'m>,
    /// The direction's length.
    pub(crate) norm: f64,
    /// Present if an intervention projects the direction out.
    orthogonal: Option<Orthogonal>,
}

/// The origin of a direction.
#[derive(Debug, Clone)]
pub(crate) enum DirectionSource<'m> {
    /// The decoder row of a feature; its SAE reads `hook`.
    Feature { hook: HookPoint, sae: &'m Sae, index: usize },
    /// A vector of the plan.
    Vector(VectorName),
}

#[derive(Debug)]
struct Orthogonal {
    /// The direction's index in the projector.
    index: usize,
    /// Its inner product with each direction at the hook point.
    with: Vec<f64>,
}

/// One intervention at the hook point that it changes.
#[derive(Debug)]
pub(crate) struct Edit {
    /// The index among the plan's interventions.
    pub(crate) index: usize,
    /// The index of its direction.
    pub(crate) direction: usize,
    pub(crate) op: Op,
}

/// The numbers of a row that are known before the interventions.
pub(crate) struct RowState<'r> {
    /// The feature's activation per direction; 0 for a vector or if not needed.
    pub(crate) values: Vec<f32>,
    /// The factor that scales each direction in this row.
    pub(crate) factors: Vec<f32>,
    /// The length of the activation that arrives; 0 if not needed.
    pub(crate) norm: f32,
    /// The activation's inner product with each direction of the projector.
    pub(crate) projections: &'r [f32],
}

impl DirectionSource<'_> {
    fn same_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Feature { hook: a, index: i, .. }, Self::Feature { hook: b, index: j, .. }) => {
                a == b && i == j
            }
            (Self::Vector(a), Self::Vector(b)) => a == b,
            _ => false,
        }
    }
}

impl HookEdits<'_> {
    /// Applies the edits for which `applies` returns true to one row. Returns the row's move along each
    /// direction, and each feature's activation afterwards. Calls `on_edit` for each edit with the length
    /// of its move.
    pub(crate) fn apply(
        &self,
        row: RowState<'_>,
        applies: impl Fn(usize) -> bool,
        mut on_edit: impl FnMut(&Edit, f64),
    ) -> (Vec<f64>, Vec<f32>) {
        let mut values = row.values;
        let mut moved = vec![0.0; self.directions.len()];
        for (at, edit) in self.edits.iter().enumerate() {
            if !applies(at) {
                continue;
            }
            let (direction, value) =
                (&self.directions[edit.direction], &mut values[edit.direction]);
            let factor = f64::from(row.factors[edit.direction]);
            let step = match edit.op.new_value(*value) {
                Some(after) => {
                    let step = (f64::from(after) - f64::from(*value)) * factor;
                    *value = after;
                    step
                }
                None => {
                    let step = direction.step(edit.op, factor, row.norm, row.projections, &moved);
                    // A direction scaled to length 0 in this row moves nothing.
                    if factor != 0.0 {
                        *value += (step / factor) as f32;
                    }
                    step
                }
            };
            moved[edit.direction] += step;
            on_edit(edit, step.abs() * direction.norm);
        }
        (moved, values)
    }
}

impl Direction<'_> {
    /// The distance that an operation moves along the direction, in units of the direction.
    fn step(&self, op: Op, factor: f64, norm: f32, projections: &[f32], moved: &[f64]) -> f64 {
        let added = |s: f32, scale| match scale {
            Scale::Raw => f64::from(s) * factor,
            Scale::Unit => f64::from(s) / self.norm,
            Scale::Norm => f64::from(s) * f64::from(norm) / self.norm,
        };
        // The component along the direction, in units of its length, after the edits before this one.
        let component = || {
            let orthogonal =
                self.orthogonal.as_ref().expect("build made it for each such operation");
            let arrived = f64::from(projections[orthogonal.index]);
            let since: f64 = orthogonal.with.iter().zip(moved).map(|(d, m)| d * m).sum();
            (arrived + since) / self.norm
        };
        match op {
            Op::Orthogonal(s, scale) => added(s, scale) - component() / self.norm,
            Op::ProjectionScale(a) => (f64::from(a) - 1.0) * component() / self.norm,
            Op::ProjectionCap(cap) => (f64::from(cap) - component()).min(0.0) / self.norm,
            Op::Add(s, scale) => added(s, scale),
            op => unreachable!("{op} has a new value"),
        }
    }
}

/// Collects the interventions at one hook point.
#[derive(Debug)]
pub(crate) struct HookEditsBuilder<'m> {
    hook: HookPoint,
    sources: Vec<DirectionSource<'m>>,
    edits: Vec<Edit>,
    splice: Splice,
    reconstructs: Option<HookPoint>,
}

impl<'m> HookEditsBuilder<'m> {
    pub(crate) fn new(hook: HookPoint) -> Self {
        let splice = Splice::default();
        Self { hook, sources: Vec::new(), edits: Vec::new(), splice, reconstructs: None }
    }

    /// Adds an intervention that moves along `source`, after the reconstruction by the SAE at
    /// `reconstructs`, if any, has replaced the activation.
    pub(crate) fn add(
        &mut self,
        index: usize,
        intervention: &Intervention,
        source: DirectionSource<'m>,
        reconstructs: Option<HookPoint>,
    ) -> Result<(), RuntimeError> {
        if self.edits.is_empty() {
            self.splice = intervention.splice;
            self.reconstructs = reconstructs;
        } else if self.splice != intervention.splice {
            return Err(RuntimeError::MixedSplice { hook: self.hook });
        }
        if let (Some(first), Some(second)) = (self.reconstructs, reconstructs)
            && first != second
        {
            return Err(RuntimeError::TwoReconstructions { hook: self.hook, first, second });
        }
        let direction =
            self.sources.iter().position(|known| known.same_as(&source)).unwrap_or_else(|| {
                self.sources.push(source);
                self.sources.len() - 1
            });
        self.edits.push(Edit { index, direction, op: intervention.op });
        Ok(())
    }

    pub(crate) fn build(self, plan: &Plan, device: &Device) -> Result<HookEdits<'m>, RuntimeError> {
        let rows = direction_rows(&self.sources, plan);
        let norms: Vec<f64> = rows.iter().map(|row| inner(row, row).sqrt()).collect();
        let mut projected: Vec<usize> = Vec::new();
        for edit in &self.edits {
            // Division by a subnormal length can leave the range of float32.
            let long = norms[edit.direction] >= f64::from(f32::MIN_POSITIVE);
            if edit.op.needs_length() && !(long && norms[edit.direction].is_finite()) {
                let intervention = plan.interventions[edit.index].to_string();
                return Err(RuntimeError::NoDirection { intervention });
            }
            if edit.op.projects() && !projected.contains(&edit.direction) {
                projected.push(edit.direction);
            }
        }
        let orthogonal = |direction: usize| {
            let index = projected.iter().position(|&known| known == direction)?;
            let with = rows.iter().map(|row| inner(row, &rows[direction])).collect();
            Some(Orthogonal { index, with })
        };
        let directions = (0..rows.len()).map(orthogonal).zip(norms).zip(self.sources);
        let directions =
            directions.map(|((orthogonal, norm), source)| Direction { source, norm, orthogonal });
        let directions = directions.collect();

        let row = |&direction: &usize| rows[direction].as_slice();
        let projector =
            (!projected.is_empty()).then(|| DirectionRows::new(projected.iter().map(row), device));
        Ok(HookEdits {
            directions,
            rows: DirectionRows::new(rows.iter().map(Vec::as_slice), device),
            projector,
            edits: self.edits,
            reconstructs: self.reconstructs,
        })
    }
}

/// Reads the values of the directions.
fn direction_rows(sources: &[DirectionSource<'_>], plan: &Plan) -> Vec<Vec<f32>> {
    let mut rows = vec![Vec::new(); sources.len()];
    let mut features: BTreeMap<HookPoint, (&Sae, Vec<usize>, Vec<usize>)> = BTreeMap::new();
    for (direction, source) in sources.iter().enumerate() {
        match source {
            DirectionSource::Vector(name) => rows[direction] = plan.values_of(name).to_vec(),
            DirectionSource::Feature { hook, sae, index } => {
                let of = features.entry(*hook).or_insert_with(|| (*sae, Vec::new(), Vec::new()));
                of.1.push(direction);
                of.2.push(*index);
            }
        }
    }
    for (sae, directions, indices) in features.into_values() {
        let found = sae.directions(&indices).expect("each feature was checked before");
        let [_, width] = found.dims();
        let values = to_host(found);
        for (direction, row) in directions.into_iter().zip(values.chunks_exact(width)) {
            rows[direction] = row.to_vec();
        }
    }
    rows
}

fn inner(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}
