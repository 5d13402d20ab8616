//! Reads arbitrary text as our tokenizer file: an error, or a tokenizer that survives a round trip and
//! decodes what it encodes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nanoscope_tokenizer::Tokenizer;

fuzz_target!(|json: &str| {
    let Ok(tokenizer) = Tokenizer::from_json(json) else {
        return;
    };
    let written = tokenizer.to_json();
    let again = Tokenizer::from_json(&written).expect("what was written is read");
    assert_eq!(again.to_json(), written);

    // A pattern that is too slow on a text, or skips a part of it, must give an error.
    let text: String = json.chars().take(200).collect();
    if let Ok(ids) = tokenizer.encode(&text) {
        assert_eq!(tokenizer.decode(&ids).expect("ids of its own"), text);
    }
});
