//! Compiles arbitrary text as a chat template and renders a conversation: an error or a text, in bounded
//! time and memory.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nanoscope_tokenizer::ChatTemplate;
use serde_json::{Map, json};

fuzz_target!(|source: &str| {
    let tokens = Map::from_iter([("bos_token".to_owned(), json!("<s>"))]);
    let Ok(template) = ChatTemplate::new(source, tokens) else {
        return;
    };
    let messages = json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi <|end|> {{ 1 }}"},
        {"role": "assistant", "content": "<think>a</think>\n\nb"},
    ]);
    for prompt in [false, true] {
        let _ = template.render(&messages, prompt, &Map::new());
    }
});
