//! Reads arbitrary bytes as JSON interventions: an error, or interventions that survive a round trip as
//! objects and as strings.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nanoscope_runtime::Intervention;

fuzz_target!(|bytes: &[u8]| {
    let Ok(interventions) = serde_json::from_slice::<Vec<Intervention>>(bytes) else {
        return;
    };
    for intervention in interventions {
        let json = serde_json::to_vec(&intervention).expect("an intervention has no strange keys");
        let again: Intervention = serde_json::from_slice(&json).expect("what is written is read");
        assert_eq!(again, intervention);
        assert_eq!(intervention.to_string().parse(), Ok(intervention));
    }
});
