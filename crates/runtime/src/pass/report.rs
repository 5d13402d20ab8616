use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};

use crate::json::{Index, Number, object};
use crate::steering::Intervention;

/// The effect of an intervention on a pass or a generation.
///
/// The JSON form is an object with the fields as keys, the intervention in its text form.
#[derive(Debug, Clone, PartialEq)]
pub struct InterventionReport {
    /// The intervention.
    pub intervention: Intervention,
    /// The number of positions, in all rows together, at which the intervention was applied: those
    /// that it covers and at which its condition held.
    pub positions: usize,
    /// The number of positions at which it moved the activation. Multiplying an inactive feature,
    /// for example, changes nothing.
    pub changed: usize,
    /// The relative size of its change, `‖Δ‖ / ‖x‖`, averaged over `positions`. `Δ` is the change
    /// by this intervention alone, `x` the activation that arrives at the hook point it changes. A
    /// position with `x = 0` counts as 0, and the mean over no positions is 0.
    pub moved: f32,
}

/// The JSON form of an [`InterventionReport`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawReport {
    #[serde(serialize_with = "as_text")]
    intervention: Intervention,
    positions: Index,
    changed: Index,
    moved: Number,
}

fn as_text<S: Serializer>(value: &Intervention, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

impl Serialize for InterventionReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw = RawReport {
            intervention: self.intervention.clone(),
            positions: Index(self.positions),
            changed: Index(self.changed),
            moved: Number(self.moved),
        };
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for InterventionReport {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let RawReport { intervention, positions, changed, moved } =
            object(deserializer, "a report as an object")?;
        let (Index(positions), Index(changed), Number(moved)) = (positions, changed, moved);
        if changed > positions {
            let message = format!("`changed` is {changed}, more than the {positions} `positions`");
            return Err(D::Error::custom(message));
        }
        if moved < 0.0 {
            return Err(D::Error::custom(format!("`moved` is {moved}; expected 0 or more")));
        }
        Ok(Self { intervention, positions, changed, moved })
    }
}

/// Running totals for each intervention of a plan.
#[derive(Debug, Clone)]
pub(crate) struct ReportBuilder(Vec<Counts>);

#[derive(Debug, Clone, Default)]
struct Counts {
    positions: usize,
    changed: usize,
    moved: f64,
}

/// A change of one activation by one intervention.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Move {
    /// The index of the intervention.
    pub(crate) intervention: usize,
    pub(crate) row: usize,
    pub(crate) length: f64,
}

impl ReportBuilder {
    pub(crate) fn new(interventions: usize) -> Self {
        Self(vec![Counts::default(); interventions])
    }

    /// Counts a position at which the intervention `index` was applied.
    pub(crate) fn count(&mut self, index: usize, changed: bool) {
        let counts = &mut self.0[index];
        counts.positions += 1;
        counts.changed += usize::from(changed);
    }

    /// Adds the relative sizes of changes. Fails with the first row whose length is not finite.
    ///
    /// # Shapes
    /// - `lengths`: those of the activations before the changes, `[rows]`
    pub(crate) fn add(&mut self, moves: &[Move], lengths: &[f32]) -> Result<(), usize> {
        if let Some(moved) = moves.iter().find(|moved| !lengths[moved.row].is_finite()) {
            return Err(moved.row);
        }
        for moved in moves {
            if lengths[moved.row] > 0.0 {
                self.0[moved.intervention].moved += moved.length / f64::from(lengths[moved.row]);
            }
        }
        Ok(())
    }

    /// The memory used, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.0.as_slice())
    }

    /// Adds the totals of the interventions `indices`, as returned by [`select`](Self::select).
    pub(crate) fn merge(&mut self, indices: &[usize], part: &Self) {
        for (&index, part) in indices.iter().zip(&part.0) {
            let counts = &mut self.0[index];
            counts.positions += part.positions;
            counts.changed += part.changed;
            counts.moved += part.moved;
        }
    }

    /// Returns the totals of the interventions `indices`.
    pub(crate) fn select(&self, indices: &[usize]) -> Self {
        Self(indices.iter().map(|&index| self.0[index].clone()).collect())
    }

    pub(crate) fn applied(&self, interventions: &[Intervention]) -> Vec<InterventionReport> {
        let of = |(intervention, counts): (&Intervention, &Counts)| InterventionReport {
            intervention: intervention.clone(),
            positions: counts.positions,
            changed: counts.changed,
            moved: (counts.moved / counts.positions.max(1) as f64) as f32,
        };
        interventions.iter().zip(&self.0).map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_written_as_json_reads_back_as_the_same() {
        let report = InterventionReport {
            intervention: "hook_embed:7:add:0.1:unit@generated".parse().unwrap(),
            positions: 3,
            changed: 2,
            moved: 0.1,
        };
        let json = json!({
            "intervention": "hook_embed:7:add:0.1:unit@generated",
            "positions": 3,
            "changed": 2,
            "moved": 0.1,
        });

        assert_eq!(serde_json::to_value(&report).unwrap(), json);
        assert_eq!(serde_json::from_value::<InterventionReport>(json.clone()).unwrap(), report);
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<InterventionReport>(&text).unwrap(), report);
        let mut object = json;
        object["intervention"] = serde_json::to_value(&report.intervention).unwrap();
        assert_eq!(serde_json::from_value::<InterventionReport>(object).unwrap(), report);
    }

    #[test]
    fn a_report_that_cannot_be_is_refused() {
        let with = |key: &str, value: serde_json::Value| {
            let intervention = "hook_embed:7:ablate";
            let mut json =
                json!({"intervention": intervention, "positions": 3, "changed": 2, "moved": 0.5});
            json[key] = value;
            json
        };
        let cases = [
            (json!([]), "expected a report as an object"),
            (json!({"positions": 3}), "missing field `intervention`"),
            (with("intervention", json!("hook_embed:7")), "is not of the form"),
            (with("changed", json!(4)), "`changed` is 4, more than the 3 `positions`"),
            (with("positions", json!(-1)), "a whole number from 0"),
            (with("moved", json!(-0.5)), "`moved` is -0.5; expected 0 or more"),
            (with("moved", json!(null)), "invalid type: null"),
            (with("rows", json!(1)), "unknown field `rows`"),
        ];
        for (json, says) in cases {
            let error = serde_json::from_value::<InterventionReport>(json.clone()).unwrap_err();
            assert!(error.to_string().contains(says), "{json}: {error}");
        }
    }
}
