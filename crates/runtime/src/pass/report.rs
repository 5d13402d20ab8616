use burn::tensor::Tensor;
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize, Serializer};

use crate::json::{Index, Number, object};
use crate::steering::Intervention;

/// What an intervention did.
#[derive(Debug, Clone, PartialEq)]
pub struct InterventionReport {
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

/// Per intervention of a plan, what it did so far.
#[derive(Debug, Clone)]
pub(crate) struct ReportBuilder(Vec<Counts>);

#[derive(Debug, Clone, Default)]
struct Counts {
    positions: usize,
    changed: usize,
    moved: f64,
}

/// How far interventions moved the activations at a site, as lengths that wait for the lengths of
/// these activations. A length that nothing in a pass needs is read after it, when no work on the
/// device has to be waited for.
#[derive(Debug)]
pub(crate) struct PendingNorms {
    /// `[rows, 1]`
    pub(crate) norms: Tensor<2>,
    /// Intervention, row, length.
    pub(crate) moves: Vec<(usize, usize, f64)>,
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

    pub(crate) fn add(&mut self, PendingNorms { norms, moves }: PendingNorms) {
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

    /// Adds what the interventions `indices` did, as [`select`](Self::select) gave it.
    pub(crate) fn merge(&mut self, indices: &[usize], part: &Self) {
        for (&index, part) in indices.iter().zip(&part.0) {
            let counts = &mut self.0[index];
            counts.positions += part.positions;
            counts.changed += part.changed;
            counts.moved += part.moved;
        }
    }

    /// What the interventions `indices` did.
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
