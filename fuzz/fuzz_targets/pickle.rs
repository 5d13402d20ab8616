//! Reads arbitrary bytes as a pickle: an error, or values whose references stay within the pickle.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nanoscope_checkpoint::pickle::{Value, read_pickle};

fuzz_target!(|bytes: &[u8]| {
    let Ok(pickle) = read_pickle(bytes, &["tiktoken.core.Encoding"]) else {
        return;
    };
    let followed = match pickle.root() {
        Value::Tuple(items) | Value::List(items) | Value::Set(items) => items.clone(),
        Value::Dict(pairs) => pairs.iter().flat_map(|&(key, value)| [key, value]).collect(),
        Value::Object(object) => {
            [object.class, object.args].into_iter().chain(object.state).collect()
        }
        _ => Vec::new(),
    };
    for id in followed {
        pickle.get(id);
    }
});
