//! Any text as an intervention: an error, or one that is written as a text that gives it again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nanoscope_runtime::Intervention;

fuzz_target!(|text: &str| {
    let Ok(intervention) = text.parse::<Intervention>() else {
        return;
    };
    assert_eq!(intervention.to_string().parse(), Ok(intervention));
});
