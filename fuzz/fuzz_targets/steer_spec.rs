//! Parses arbitrary text as an intervention or a condition: an error, or a value whose text parses to
//! the same value and text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nanoscope_runtime::{Condition, Intervention};

fuzz_target!(|text: &str| {
    if let Ok(condition) = text.parse::<Condition>() {
        assert_eq!(condition.to_string().parse(), Ok(condition));
    }
    let Ok(intervention) = text.parse::<Intervention>() else {
        return;
    };
    let printed = intervention.to_string();
    let again: Intervention = printed.parse().expect("what is printed is read");
    assert_eq!(again.to_string(), printed);
    assert_eq!(again, intervention);
});
