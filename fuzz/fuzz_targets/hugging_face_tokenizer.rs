//! Reads arbitrary bytes as a Hugging Face `tokenizer.json`: an error, a family's tokenizer, or one of
//! nanochat's that survives a round trip through our own format and decodes what it encodes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nanoscope_checkpoint::load_tokenizer;
use nanoscope_fuzz::DIR;
use nanoscope_tokenizer::Tokenizer;

fuzz_target!(|bytes: &[u8]| {
    std::fs::write(DIR.path().join("tokenizer.json"), bytes).expect("a file can be written");
    let Ok(tokenizer) = load_tokenizer(DIR.path()) else {
        return;
    };
    if tokenizer.is_hugging_face() {
        let text: String = String::from_utf8_lossy(bytes).chars().take(200).collect();
        if let Ok(ids) = tokenizer.encode_with_special_tokens(&text) {
            tokenizer.decode(&ids).expect("ids of its own");
        }
        return;
    }
    let again = Tokenizer::from_json(&tokenizer.to_json()).expect("what was written is read");
    assert_eq!(again.to_json(), tokenizer.to_json());

    let text: String = String::from_utf8_lossy(bytes).chars().take(200).collect();
    if let Ok(ids) = tokenizer.encode(&text) {
        assert_eq!(tokenizer.decode(&ids).expect("ids of its own"), text);
    }
});
