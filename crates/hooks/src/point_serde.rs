//! Serde for hook points: the canonical name, as a string or as the key of a map.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::HookPoint;

impl Serialize for HookPoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Accepts every name that [`FromStr`](std::str::FromStr) accepts, aliases included.
impl<'de> Deserialize<'de> for HookPoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NameVisitor)
    }
}

struct NameVisitor;

impl Visitor<'_> for NameVisitor {
    type Value = HookPoint;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a hook point")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<HookPoint, E> {
        name.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_point_survives_json_as_a_value_and_as_a_key() {
        for point in HookPoint::all(3) {
            let json = serde_json::to_string(&point).unwrap();
            assert_eq!(json, format!("\"{point}\""));
            assert_eq!(serde_json::from_str::<HookPoint>(&json).unwrap(), point);

            let map = BTreeMap::from([(point, 1)]);
            let json = serde_json::to_string(&map).unwrap();
            assert_eq!(json, format!("{{\"{point}\":1}}"));
            assert_eq!(serde_json::from_str::<BTreeMap<HookPoint, i32>>(&json).unwrap(), map);
        }
    }

    #[test]
    fn an_alias_reads_as_its_point() {
        let point: HookPoint = serde_json::from_str("\"blocks.2.hook_mlp\"").unwrap();

        assert_eq!(point, HookPoint::MlpOut(2));
    }

    #[test]
    fn json_that_names_no_hook_point_is_an_error() {
        let error = |json: &str| serde_json::from_str::<HookPoint>(json).unwrap_err().to_string();

        assert!(
            error("\"blocks.4.hook_resid_pst\"").starts_with(
                "unknown hook point `blocks.4.hook_resid_pst`; \
                 did you mean `blocks.4.hook_resid_post`?"
            ),
            "{}",
            error("\"blocks.4.hook_resid_pst\"")
        );
        assert!(error("3").starts_with("invalid type: integer `3`, expected the name of a hook"));
        assert!(error("{\"ResidPost\": 3}").contains("expected the name of a hook point"));
        assert!(error("\"\"").starts_with("unknown hook point ``"));
    }
}
