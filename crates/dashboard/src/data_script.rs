use std::io::{Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use nanoscope_checkpoint::python_json;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::DashboardError;

const BEFORE: &str = "nanoscope.take(\"";
const BETWEEN: &str = "\",\"";
const AFTER: &str = "\");\n";
/// The maximum size of unpacked data, in bytes.
const MAX_BYTES: u64 = 1 << 30;

/// Encodes `value` as a script that passes it to the page: a call with `name` and the JSON text, compressed
/// with zlib and encoded in base64.
///
/// A page opened from disk may load data only as scripts. Compression reduces the size to a third, and
/// base64 ensures that no text can end the script or be executed.
///
/// # Panics
/// If `name` contains characters other than ASCII letters, digits and `-`.
pub fn pack(name: &str, value: &Value) -> Vec<u8> {
    assert!(
        name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'),
        "a script name has only letters, digits and `-`"
    );
    pack_text(name, &value.to_string())
}

/// As [`pack`], for a value that is JSON already.
pub(crate) fn pack_text(name: &str, json: &str) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    let written = encoder.write_all(json.as_bytes()).and_then(|()| encoder.finish());
    let data = STANDARD.encode(written.expect("writing to memory does not fail"));
    [BEFORE, name, BETWEEN, &data, AFTER].concat().into_bytes()
}

/// Decodes a script written by [`pack`] into its name and value.
///
/// # Errors
/// [`DashboardError::InvalidScript`] if the script has another form or is too large.
pub fn unpack(script: &[u8]) -> Result<(String, Value), DashboardError> {
    unpack_as(script, MAX_BYTES)
}

/// Decodes a script written by [`pack`] into a `T`, of at most `max_bytes` bytes of JSON.
pub(crate) fn unpack_as<T: DeserializeOwned>(
    script: &[u8],
    max_bytes: u64,
) -> Result<(String, T), DashboardError> {
    let refused = |reason: &str| DashboardError::InvalidScript { reason: reason.to_owned() };
    let text = std::str::from_utf8(script).map_err(|error| refused(&error.to_string()))?;
    let call = text.strip_prefix(BEFORE).and_then(|text| text.strip_suffix(AFTER));
    let (name, data) = call
        .and_then(|text| text.split_once(BETWEEN))
        .ok_or_else(|| refused("it is not a call of `nanoscope.take`"))?;
    let data = STANDARD.decode(data).map_err(|error| refused(&error.to_string()))?;
    let mut json = Vec::new();
    let read = ZlibDecoder::new(data.as_slice()).take(max_bytes + 1).read_to_end(&mut json);
    read.map_err(|error| refused(&error.to_string()))?;
    if json.len() as u64 > max_bytes {
        return Err(refused(&format!("it unpacks to more than {max_bytes} bytes")));
    }
    let value = python_json::from_slice(&json).map_err(|error| refused(&error.to_string()))?;
    Ok((name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1_000_000..1_000_000_i32).prop_map(|n| Value::from(f64::from(n) / 100.0)),
            ".*".prop_map(Value::from),
            prop::sample::select(vec![
                "</script><script>alert(1)</script>",
                "<!--",
                "\u{2028}\u{2029}\u{202e}\u{0}",
                "\");alert(1);(\"",
                "'\"`${1}\\",
            ])
            .prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 40, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map(".*", inner, 0..8)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_back_and_no_text_is_in_the_script(value in value()) {
            let script = pack("features-3", &value);

            let data = &script[BEFORE.len()..script.len() - AFTER.len()];
            let plain = |&b: &u8| b.is_ascii_alphanumeric() || b"+/=-\",".contains(&b);
            prop_assert!(data.iter().all(plain));
            let name_and_data = data.split(|&b| b == b'"').count();
            prop_assert_eq!(name_and_data, 3);
            prop_assert_eq!(unpack(&script).unwrap(), ("features-3".to_owned(), value));
        }

        #[test]
        fn anything_else_is_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = unpack(&bytes);
            let data = STANDARD.encode(&bytes);
            prop_assert!(unpack([BEFORE, "a", BETWEEN, &data, AFTER].concat().as_bytes()).is_err());
        }
    }

    #[test]
    #[should_panic(expected = "a script name has only letters, digits and `-`")]
    fn a_name_cannot_end_the_text_that_it_is_in() {
        pack("a\",alert(1),\"", &json!(1));
    }
}
