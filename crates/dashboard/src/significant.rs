use serde_json::{Value, json};

/// Rounds `value` to `digits` significant digits; null if it is not finite.
pub(crate) fn significant(value: f32, digits: usize) -> Value {
    significant64(value.into(), digits)
}

/// As [`significant`], in double precision.
pub(crate) fn significant64(value: f64, digits: usize) -> Value {
    let text = format!("{value:.*e}", digits - 1);
    let value: f64 = text.parse().expect("a formatted number can be parsed");
    // Whole numbers are written without `.0`.
    if value.fract() == 0.0 && value.abs() < 1e9 { json!(value as i64) } else { json!(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_few_digits() {
        let texts: Vec<String> = [31.234_56, 0.000_123_45, -7.0, 0.0, 123_456.0, f32::NAN]
            .map(|x| significant(x, 3).to_string())
            .into();

        assert_eq!(texts, ["31.2", "0.000123", "-7", "0", "123000", "null"]);
    }
}
