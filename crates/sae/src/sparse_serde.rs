//! Serde for sparse features: `{"d_sae": 8, "rows": [[[2, 1.5], [7, 0.25]], []]}`.

use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::SparseFeatures;
use crate::config::check_feature_count;

/// Writes a row as a list of `[index, value]` pairs in ascending order of index. Values that are not
/// finite are written as the format writes them (`null` in JSON), and rejected when read back.
impl Serialize for SparseFeatures {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename = "SparseFeatures")]
        struct Fields<'a> {
            d_sae: usize,
            rows: RowList<'a>,
        }

        Fields { d_sae: self.d_sae(), rows: RowList(self) }.serialize(serializer)
    }
}

struct RowList<'a>(&'a SparseFeatures);

impl Serialize for RowList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.rows()))?;
        for row in 0..self.0.rows() {
            list.serialize_element(&PairList(self.0, row))?;
        }
        list.end()
    }
}

struct PairList<'a>(&'a SparseFeatures, usize);

impl Serialize for PairList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.row(self.1))
    }
}

/// Reads rows, checking that indices ascend and are below `d_sae`, and that values are finite.
/// Memory use depends on the number of pairs alone, not on `d_sae`.
impl<'de> Deserialize<'de> for SparseFeatures {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, rename = "SparseFeatures")]
        struct Fields {
            d_sae: usize,
            rows: Rows,
        }

        let Fields { d_sae, rows } = Fields::deserialize(deserializer)?;
        check_feature_count(d_sae).map_err(D::Error::custom)?;
        // The indices of a row ascend, so the last is the largest.
        for (row, ends) in rows.indptr.windows(2).enumerate() {
            if let Some(&index) = rows.indices[ends[0]..ends[1]].last()
                && index as usize >= d_sae
            {
                return Err(D::Error::custom(format!(
                    "row {row}: feature {index} is out of range, the SAE has {d_sae}"
                )));
            }
        }
        Ok(Self::from_csr(d_sae, rows.indptr, rows.indices, rows.values))
    }
}

/// Rows whose indices ascend and whose values are finite, in compressed sparse row form.
struct Rows {
    indptr: Vec<usize>,
    indices: Vec<u32>,
    values: Vec<f32>,
}

impl<'de> Deserialize<'de> for Rows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(RowsVisitor)
    }
}

struct RowsVisitor;

impl<'de> Visitor<'de> for RowsVisitor {
    type Value = Rows;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of rows of [index, value] pairs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Rows, A::Error> {
        // The size hint is not used: it can be a claim of the input.
        let mut rows = Rows { indptr: vec![0], indices: Vec::new(), values: Vec::new() };
        while list.next_element_seed(RowSeed(&mut rows))?.is_some() {
            rows.indptr.push(rows.indices.len());
        }
        Ok(rows)
    }
}

/// Appends the pairs of one row.
struct RowSeed<'a>(&'a mut Rows);

impl<'de> serde::de::DeserializeSeed<'de> for RowSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for RowSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of [index, value] pairs")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let row = self.0.indptr.len() - 1;
        let mut previous = None;
        while let Some((index, value)) = list.next_element::<(u32, f32)>()? {
            if let Some(previous) = previous
                && previous >= index
            {
                return Err(A::Error::custom(format!(
                    "row {row}: feature {index} comes after feature {previous}; \
                     expected ascending indices"
                )));
            }
            if !value.is_finite() {
                return Err(A::Error::custom(format!(
                    "row {row}: feature {index} is {value}; expected a finite number"
                )));
            }
            previous = Some(index);
            // As in `push_row`, zeros are not stored.
            if value != 0.0 {
                self.0.indices.push(index);
                self.0.values.push(value);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(json: &str) -> Result<SparseFeatures, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn rows_are_lists_of_index_and_value() {
        let mut features = SparseFeatures::new(8);
        features.push_row([(2, 1.5), (7, -0.25)]);
        features.push_row([]);

        let json = serde_json::to_string(&features).unwrap();

        assert_eq!(json, r#"{"d_sae":8,"rows":[[[2,1.5],[7,-0.25]],[]]}"#);
        assert_eq!(read(&json).unwrap(), features);
        // In any order of keys.
        assert_eq!(read(r#"{"rows":[[[2,1.5],[7,-0.25]],[]],"d_sae":8}"#).unwrap(), features);
    }

    #[test]
    fn a_zero_is_not_an_active_feature() {
        let features = read(r#"{"d_sae": 4, "rows": [[[0, 0.0], [1, 1], [2, -0.0]]]}"#).unwrap();

        assert_eq!(features.row(0).collect::<Vec<_>>(), [(1, 1.0)]);
    }

    #[test]
    fn broken_features_are_errors_that_name_row_and_feature() {
        let cases = [
            (
                r#"{"d_sae": 4, "rows": [[], [[4, 1.0]]]}"#,
                "row 1: feature 4 is out of range, the SAE has 4",
            ),
            (
                r#"{"d_sae": 4, "rows": [[[2, 1.0], [1, 1.0]]]}"#,
                "row 0: feature 1 comes after feature 2; expected ascending indices",
            ),
            (
                r#"{"d_sae": 4, "rows": [[[2, 1.0], [2, 1.0]]]}"#,
                "row 0: feature 2 comes after feature 2; expected ascending indices",
            ),
            // An index is checked where the value is 0 too.
            (
                r#"{"d_sae": 4, "rows": [[[3, 0], [1, 1.0]]]}"#,
                "row 0: feature 1 comes after feature 3; expected ascending indices",
            ),
            (
                r#"{"d_sae": 4, "rows": [[[2, 1e39]]]}"#,
                "row 0: feature 2 is inf; expected a finite number",
            ),
            (r#"{"d_sae": 4, "rows": [[[2, null]]]}"#, "invalid type: null, expected f32"),
            (r#"{"d_sae": 4, "rows": [[[2, "NaN"]]]}"#, "invalid type: string"),
            (r#"{"d_sae": 4, "rows": [[[-1, 1.0]]]}"#, "invalid value: integer `-1`"),
            (r#"{"d_sae": 4, "rows": [[[4294967296, 1.0]]]}"#, "invalid value: integer"),
            (r#"{"d_sae": 4, "rows": [[[1.0, 1.0]]]}"#, "invalid type: floating point"),
            (r#"{"d_sae": 4, "rows": [[[1]]]}"#, "invalid length 1"),
            (r#"{"d_sae": 4, "rows": [[[1, 1.0, 2]]]}"#, "trailing characters"),
            (r#"{"d_sae": 4, "rows": [[1]]}"#, "invalid type: integer `1`"),
            (
                r#"{"d_sae": 4, "rows": [1]}"#,
                "invalid type: integer `1`, expected a list of [index, value] pairs",
            ),
            (r#"{"d_sae": 4, "rows": {}}"#, "expected a list of rows of [index, value] pairs"),
            (r#"{"d_sae": 4}"#, "missing field `rows`"),
            (r#"{"rows": []}"#, "missing field `d_sae`"),
            (r#"{"d_sae": 4, "rows": [], "rows": []}"#, "duplicate field `rows`"),
            (r#"{"d_sae": 4, "rows": [], "cols": []}"#, "unknown field `cols`"),
            (r#"{"d_sae": -1, "rows": []}"#, "invalid value: integer `-1`"),
            (r#"{"d_sae": 0, "rows": []}"#, "d_sae is 0"),
            // A claim like this must not make `to_dense` allocate it later.
            (r#"{"d_sae": 18446744073709551615, "rows": []}"#, "d_sae is 18446744073709551615"),
            (r#"{"d_sae": 4, "rows": [[[1, 1.0]"#, "EOF while parsing"),
        ];
        for (json, expected) in cases {
            let error = read(json).unwrap_err().to_string();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_overflow_of_the_stack() {
        let json = format!(r#"{{"d_sae": 4, "rows": {}"#, "[".repeat(100_000));

        assert!(read(&json).is_err());
    }

    proptest! {
        #[test]
        fn any_features_survive_json(
            rows in prop::collection::vec(
                prop::collection::btree_map(0_u32..50, any::<f32>(), 0..10),
                0..6,
            ),
        ) {
            let mut features = SparseFeatures::new(50);
            for row in rows {
                features.push_row(row.into_iter().filter(|(_, value)| value.is_finite()));
            }

            let json = serde_json::to_string(&features).unwrap();

            prop_assert_eq!(read(&json).unwrap(), features);
        }

        #[test]
        fn any_json_of_the_right_letters_is_read_or_an_error(
            rows in "[\\[\\]{}0-9,.e\\- \"a]{0,60}",
        ) {
            if let Ok(features) = read(&format!(r#"{{"d_sae": 10, "rows": {rows}}}"#)) {
                prop_assert!(features.csr().1.iter().all(|&index| index < 10));
                prop_assert!(features.csr().2.iter().all(|value| value.is_finite()));
            }
        }
    }
}
