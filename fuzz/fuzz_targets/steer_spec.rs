//! Any text as an intervention or a condition: an error, or one that is written as a text that gives
//! it again, and the same text the next time.
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
