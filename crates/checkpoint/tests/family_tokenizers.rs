//! The tokenizer of each family gives what the Python packages tokenizers and transformers give.
#![cfg(feature = "gpt")]

use std::fs;
use std::path::{Path, PathBuf};

use nanoscope_checkpoint::{load_tokenizer, load_tokenizer_for, save_tokenizer};
use nanoscope_tokenizer::{Conversation, TokenId, Tokenizer, TokenizerError};
use serde_json::{Map, Value as Json, json};
use tempfile::TempDir;

const NAMES: [&str; 6] = ["gpt2", "neox", "llama3", "gemma", "qwen", "stories260K"];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tokenizers_hf").join(name)
}

fn expected(name: &str) -> Json {
    serde_json::from_slice(&fs::read(folder(name).join("expected.json")).unwrap()).unwrap()
}

/// The tokenizer `name`, and what the Python packages make of texts and chats.
fn loaded(name: &str) -> (Tokenizer, Json) {
    (load_tokenizer(&folder(name)).unwrap(), expected(name))
}

fn ids(list: &Json) -> Vec<TokenId> {
    serde_json::from_value(list.clone()).unwrap()
}

/// The texts of `strings`, which are many.
fn strings(expected: &Json) -> &[Json] {
    let strings = expected["strings"].as_array().unwrap();
    assert!(strings.len() > 100);
    strings
}

#[test]
fn texts_have_the_ids_of_the_tokenizers_library() {
    for name in NAMES {
        let (tokenizer, expected) = loaded(name);
        for case in strings(&expected) {
            let text = case["text"].as_str().unwrap();
            let plain = tokenizer.encode(text).unwrap();
            assert_eq!(plain, ids(&case["plain"]), "{name}: {text:?} as plain text");
            let special = tokenizer.encode_with_special_tokens(text).unwrap();
            assert_eq!(special, ids(&case["ids"]), "{name}: {text:?} with special tokens");
        }
    }
}

#[test]
fn what_the_post_processor_adds_is_added() {
    for name in NAMES {
        let (tokenizer, expected) = loaded(name);
        for case in strings(&expected) {
            let (found, with_special) = (ids(&case["ids"]), ids(&case["with_special"]));
            if found != ids(&case["plain"]) {
                continue;
            }
            let text = case["text"].as_str().unwrap();
            let document = tokenizer.encode_with_bos(text).unwrap();
            assert_eq!(document, with_special, "{name}: {text:?}");
            let front: Vec<TokenId> = tokenizer.bos().into_iter().collect();
            assert_eq!([front, found].concat(), with_special, "{name}: {text:?}");
        }
    }
}

#[test]
fn ids_have_the_text_of_the_tokenizers_library() {
    for name in NAMES {
        let (tokenizer, expected) = loaded(name);
        for case in strings(&expected) {
            let all = ids(&case["ids"]);
            let text = tokenizer.decode(&all).unwrap();
            assert_eq!(text, case["decoded"].as_str().unwrap(), "{name}: {all:?}");
            let ordinary: Vec<TokenId> =
                all.iter().copied().filter(|&id| !tokenizer.is_special(id)).collect();
            let text = tokenizer.decode(&ordinary).unwrap();
            assert_eq!(text, case["decoded_without_special"].as_str().unwrap(), "{name}: {all:?}");
        }
    }
}

#[test]
fn a_stream_gives_the_same_text_in_whole_characters() {
    for name in NAMES {
        let (tokenizer, _) = loaded(name);
        let size = tokenizer.vocab_size() as TokenId;
        // Ids in any order, with bytes that are no characters, and one id past the vocabulary.
        let mixed: Vec<TokenId> = (0..4000).map(|step| step * 7919 % (size + 1)).collect();
        for run in mixed.chunks(37) {
            let mut stream = tokenizer.stream();
            let mut text: String = run.iter().map(|&id| stream.push(id).unwrap()).collect();
            text.push_str(&stream.finish());
            assert_eq!(text, tokenizer.decode(run).unwrap(), "{name}: {run:?}");
            if !["gemma", "stories260K"].contains(&name) {
                let bytes = tokenizer.decode_bytes(run).unwrap();
                assert_eq!(text, String::from_utf8_lossy(&bytes), "{name}: {run:?}");
            }
        }
    }
}

#[test]
fn a_text_that_goes_on_from_a_prompt_keeps_the_space_between_words() {
    let (tokenizer, _) = loaded("stories260K");
    let ids = tokenizer.encode("bird").unwrap();
    let text = |mut stream: nanoscope_tokenizer::StreamDecoder<'_>| {
        let text: String = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
        text + &stream.finish()
    };

    assert_eq!(text(tokenizer.stream()), "bird");
    assert_eq!(text(tokenizer.stream_after_prompt()), " bird");
}

#[test]
fn bytes_that_are_no_character_are_replaced_one_by_one() {
    let (tokenizer, _) = loaded("stories260K");
    let byte = |byte: TokenId| byte + 3;
    let letter = tokenizer.id_of(b"e").unwrap();

    let run = [byte(0xe2), byte(0x82), byte(0xac), letter, byte(0xe2), byte(0x82), letter];

    assert_eq!(tokenizer.decode(&run).unwrap(), "€e\u{fffd}\u{fffd}e");
}

#[test]
fn chats_are_rendered_as_transformers_renders_them() {
    let mut refused = 0;
    for name in NAMES {
        let (tokenizer, expected) = loaded(name);
        for case in expected["chats"].as_array().unwrap_or(&Vec::new()) {
            let messages = &case["messages"];
            let variables = case["variables"].as_object().cloned().unwrap_or_default();
            let prompt = case["add_generation_prompt"] == true;
            let rendered = tokenizer.render_chat(messages, prompt, &variables);
            if let Some(raised) = case["error"].as_str() {
                let error = rendered.unwrap_err();
                assert!(
                    matches!(&error, TokenizerError::ChatTemplateRaised { message } if message == raised),
                    "{name}: {messages}: {error}"
                );
                refused += 1;
                continue;
            }
            let rendered = rendered.unwrap_or_else(|error| panic!("{name}: {messages}: {error:?}"));
            assert_eq!(rendered, case["rendered"].as_str().unwrap(), "{name}: {messages}");
            let found = tokenizer.encode_with_special_tokens(&rendered).unwrap();
            assert_eq!(found, ids(&case["ids"]), "{name}: {rendered:?}");
        }
    }
    assert!(refused > 0);
}

#[test]
fn a_conversation_is_rendered_with_the_familys_template() {
    for name in ["gpt2", "llama3", "gemma", "qwen"] {
        let (tokenizer, _) = loaded(name);
        let messages = json!([{"role": "user", "content": "Hello!"}]);
        let chat: Conversation = serde_json::from_value(json!({"messages": messages})).unwrap();
        let ids = |prompt| {
            let text = tokenizer.render_chat(&messages, prompt, &Map::new()).unwrap();
            tokenizer.encode_with_special_tokens(&text).unwrap()
        };

        assert!(tokenizer.can_chat(), "{name}");
        assert_eq!(tokenizer.render_for_answer(&chat).unwrap(), ids(true), "{name}");
        assert_eq!(tokenizer.chat_prompt("Hello!").unwrap(), ids(true), "{name}");
        assert_eq!(tokenizer.render_conversation(&chat, 99).unwrap().ids, ids(false), "{name}");
    }
}

#[test]
fn a_turn_that_is_added_gives_the_ids_of_the_whole_conversation() {
    for name in ["gpt2", "llama3", "qwen"] {
        let (tokenizer, _) = loaded(name);
        let said = |role: &str, text: &str| json!({"role": role, "content": text});
        let whole = json!([said("user", "Hi"), said("assistant", "Yes"), said("user", "And?")]);
        let whole = tokenizer.render_chat(&whole, true, &Map::new()).unwrap();
        let whole = tokenizer.encode_with_special_tokens(&whole).unwrap();

        let turn = tokenizer.chat_turn("And?").unwrap();

        let before = &whole[..whole.len() - turn.len()];
        assert_eq!(whole[before.len()..], turn, "{name}");
        assert_eq!(before.last().copied(), tokenizer.answer_end(), "{name}");
    }
}

#[test]
fn a_model_without_a_template_completes_texts() {
    for name in ["neox", "stories260K"] {
        let (tokenizer, _) = loaded(name);
        let chat: Conversation =
            serde_json::from_value(json!({"messages": [{"role": "user", "content": "Hi"}]}))
                .unwrap();

        assert!(!tokenizer.can_chat(), "{name}");
        for refused in [
            tokenizer.render_for_answer(&chat),
            tokenizer.chat_prompt("Hi"),
            tokenizer.chat_turn("Hi"),
            tokenizer.render_conversation(&chat, 99).map(|rendered| rendered.ids),
        ] {
            assert!(matches!(refused, Err(TokenizerError::NoChatTemplate)), "{name}");
        }
    }
}

#[test]
fn a_text_ends_and_a_document_starts_with_the_tokens_that_the_files_name() {
    for (name, start, end) in [
        ("gpt2", "<|endoftext|>", "<|endoftext|>"),
        ("neox", "<|endoftext|>", "<|endoftext|>"),
        ("llama3", "<|begin_of_text|>", "<|eot_id|>"),
        ("gemma", "<bos>", "<eos>"),
        ("qwen", "<|im_end|>", "<|im_end|>"),
        ("stories260K", "<s>", "</s>"),
    ] {
        let (tokenizer, _) = loaded(name);
        assert_eq!(tokenizer.document_start(), tokenizer.special(start), "{name}");
        assert!(tokenizer.document_start().is_some(), "{name}");
        assert!(tokenizer.ends_text(tokenizer.special(end).unwrap()), "{name}");
    }
}

#[test]
fn the_ends_of_a_text_are_those_of_the_models_configuration_if_no_other_file_names_them() {
    let dir = TempDir::new().unwrap();
    fs::copy(folder("gpt2").join("tokenizer.json"), dir.path().join("tokenizer.json")).unwrap();
    let write =
        |name: &str, json: Json| fs::write(dir.path().join(name), json.to_string()).unwrap();
    let load = || load_tokenizer(dir.path()).unwrap();
    assert!(load().ends().is_empty());

    write("config.json", json!({"model_type": "gpt2", "bos_token_id": 5, "eos_token_id": [7, 9]}));
    assert_eq!((load().ends(), load().document_start()), (&[7, 9][..], Some(5)));
    write("config.json", json!({"text_config": {"eos_token_id": 7}}));
    assert_eq!((load().ends(), load().document_start()), (&[7][..], Some(7)));
    write("generation_config.json", json!({"eos_token_id": 8}));
    assert_eq!(load().ends(), [8]);
}

#[test]
fn a_tokenizer_in_a_folder_of_its_own_ends_texts_as_the_model_says() {
    let (own, model) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    fs::copy(folder("gpt2").join("tokenizer.json"), own.path().join("tokenizer.json")).unwrap();
    let write = |dir: &Path, ends: Json| {
        let text = json!({ "eos_token_id": ends }).to_string();
        fs::write(dir.join("generation_config.json"), text).unwrap();
    };
    let ends = || load_tokenizer_for(own.path(), model.path()).unwrap().ends().to_vec();

    assert!(ends().is_empty());
    write(model.path(), json!([7, 9]));
    assert_eq!(ends(), [7, 9]);
    write(own.path(), json!(8));
    assert_eq!(ends(), [8]);
}

#[test]
fn a_tokenizer_without_a_bos_token_is_saved_without_one() {
    let (tokenizer, _) = loaded("qwen");
    let dir = TempDir::new().unwrap();
    save_tokenizer(dir.path(), &tokenizer).unwrap();

    let bos = |tokenizer: &Tokenizer| {
        tokenizer.chat_template().unwrap().tokens().get("bos_token").cloned()
    };
    assert_eq!(bos(&load_tokenizer(dir.path()).unwrap()), bos(&tokenizer));
}

#[test]
fn a_saved_tokenizer_is_the_same() {
    for name in NAMES {
        let (tokenizer, expected) = loaded(name);
        let dir = TempDir::new().unwrap();
        save_tokenizer(dir.path(), &tokenizer).unwrap();

        let again = load_tokenizer(dir.path()).unwrap();

        for case in strings(&expected) {
            let text = case["text"].as_str().unwrap();
            assert_eq!(again.encode(text).unwrap(), ids(&case["plain"]), "{name}: {text:?}");
        }
        assert_eq!(again.to_json(), tokenizer.to_json(), "{name}");
        assert_eq!(again.bos(), tokenizer.bos(), "{name}");
        assert_eq!(again.document_start(), tokenizer.document_start(), "{name}");
        assert_eq!(again.ends(), tokenizer.ends(), "{name}");
        assert_eq!(again.answer_end(), tokenizer.answer_end(), "{name}");
        let source = |t: &Tokenizer| t.chat_template().map(|t| t.source().to_owned());
        assert_eq!(source(&again), source(&tokenizer), "{name}");
    }
}

/// Loads the tokenizer `gemma` after `change` to the file `file` in its folder.
fn changed(file: &str, change: impl FnOnce(&mut Json)) -> String {
    let dir = TempDir::new().unwrap();
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        fs::copy(folder("gemma").join(name), dir.path().join(name)).unwrap();
    }
    let path = dir.path().join(file);
    let mut json: Json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut json);
    fs::write(&path, json.to_string()).unwrap();
    chain(&load_tokenizer(dir.path()).unwrap_err())
}

/// The error and all its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[test]
fn a_broken_file_is_refused_by_what_is_wrong() {
    let expensive =
        json!({"type": "Replace", "pattern": {"Regex": "(?:a{300}){300}"}, "content": "b"});
    for (pointer, value, says) in [
        ("/model/type", json!("WordPiece"), "model is `WordPiece` (expected BPE)"),
        ("/model/dropout", json!(0.1), "model.dropout is `0.1` (expected null)"),
        ("/decoder", json!({"type": "WordPiece"}), "decoder is `WordPiece` (expected ByteLevel"),
        ("/normalizer", expensive, "counts in the split pattern multiply"),
        ("/normalizer", json!({"type": "Nothing"}), "normalizer is `Nothing` (expected NFC, "),
        ("/version", json!("2.0"), "Unknown tokenizer version '2.0'"),
        ("/added_tokens/0/id", json!(77), "has the id 77; the vocabulary gives it 0"),
        ("/added_tokens/0/id", json!(-1), "not a tokenizer in JSON"),
        ("/model/merges", json!([["no", "pe"]]), "the tokenizers library gave up"),
    ] {
        let error = changed("tokenizer.json", |file| *file.pointer_mut(pointer).unwrap() = value);
        assert!(error.contains("tokenizer.json") && error.contains(says), "{pointer}: {error}");
    }
    for (template, says) in [
        (json!("{% for %}"), "the chat template does not work"),
        (json!("{{ 1"), "syntax error: unexpected end of input"),
        (json!(format!("{{{{ {}1 }}}}", "-".repeat(9000))), "more than 1000 words and operators"),
        (json!(format!("{{{{ {}1 }}}}", "(".repeat(900))), "exceeds maximum recursion limits"),
        (
            json!("{% set ns = namespace() %}{% set ns.all = [ns] %}{{ ns ~ '' }}"),
            "`ns.all` is set to the namespace `ns`",
        ),
        (json!("{{ a".repeat(3_000_000)), "the chat template has 12000000 bytes"),
        (json!(7), "expected a template or a list of named templates"),
    ] {
        let error = changed("tokenizer_config.json", |file| file["chat_template"] = template);
        assert!(error.contains("tokenizer_config.json") && error.contains(says), "{error}");
    }
}

#[test]
fn a_part_that_the_library_cannot_run_is_refused_by_its_kind() {
    let replace = |pattern: Json, content: &str| {
        let step = json!({"type": "Replace", "pattern": pattern, "content": content});
        json!({"type": "Sequence", "normalizers": [{"type": "NFC"}, step]})
    };
    let template = |ids: Json| {
        json!({"type": "TemplateProcessing", "special_tokens": ids, "pair": [], "single": [
            {"SpecialToken": {"id": "<new>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]})
    };
    let outside = json!({"<new>": {"id": "<new>", "ids": [99_999_999], "tokens": ["<new>"]}});
    for (pointer, value, says) in [
        ("/model/type", json!("Unigram"), "model is `Unigram` (expected BPE)"),
        ("/model/continuing_subword_prefix", json!("##"), "continuing_subword_prefix is `##`"),
        (
            "/normalizer",
            json!({"type": "Precompiled", "precompiled_charsmap": "/////wAAAAAAAAA="}),
            "normalizer is `Precompiled` (expected NFC, ",
        ),
        (
            "/normalizer",
            replace(json!({"String": ""}), "b"),
            "normalizer is `Replace` (expected a pattern that is not empty)",
        ),
        (
            "/normalizer",
            replace(json!({"String": "h"}), &"h".repeat(1000)),
            "normalizer is `Replace by a long text` (expected at most 64 letters)",
        ),
        (
            "/pre_tokenizer",
            json!({"type": "FixedLength", "length": 0}),
            "pre_tokenizer is `FixedLength` (expected ByteLevel, ",
        ),
        (
            "/post_processor",
            template(json!({})),
            "post_processor is `<new>` (expected one of its special_tokens)",
        ),
        (
            "/post_processor",
            template(outside),
            "token id 99999999 is outside the vocabulary of 622",
        ),
        ("/model/vocab/b", json!(556), "token id 556 is given twice"),
        ("/model/vocab/b", json!(4_000_000_000_u32), "4000000001 tokens, more than"),
    ] {
        let error = changed("tokenizer.json", |file| *file.pointer_mut(pointer).unwrap() = value);
        assert!(error.contains("tokenizer.json") && error.contains(says), "{pointer}: {error}");
    }
}

#[test]
fn a_pattern_that_matches_nothing_is_not_a_panic() {
    for name in ["gpt2", "neox", "gemma"] {
        for pattern in ["x*", "b*?", "(?:)|q"] {
            let mut file: Json =
                serde_json::from_slice(&fs::read(folder(name).join("tokenizer.json")).unwrap())
                    .unwrap();
            file["normalizer"] =
                json!({"type": "Replace", "pattern": {"Regex": pattern}, "content": "b"});
            let dir = TempDir::new().unwrap();
            fs::write(dir.path().join("tokenizer.json"), file.to_string()).unwrap();

            // Some of these the library can run.
            if let Ok(tokenizer) = load_tokenizer(dir.path()) {
                let _ = tokenizer.encode("hi there");
            }
        }
    }
}

#[test]
fn a_template_that_fails_on_a_conversation_says_where() {
    for (template, says) in [
        ("{% for i in range(10 ** 9) %}{% endfor %}", "range has too many elements"),
        ("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}", "fuel"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "recursion limit exceeded"),
        ("{{ messages | nope }}", "unknown filter: filter nope"),
        ("{{ nope() }}", "unknown function: nope"),
        ("{{ nope.content }}", "`nope` is undefined"),
        ("{{ messages[99].content }}", "is undefined"),
        ("{{ 'a' * 10000000000 }}", "fuel"),
        ("{{ ([[1] * 10000] * 10000) | tojson }}", "too large or too deep to be written"),
        ("{{ '{:>9999999999}'.format(1) }}", "the number 9999999999, which is too large"),
        ("{% include 'config.json' %}", "non-existing template"),
        ("{{ raise_exception('only ' ~ messages | length) }}", "refuses the conversation: only 1"),
    ] {
        let dir = TempDir::new().unwrap();
        fs::copy(folder("gpt2").join("tokenizer.json"), dir.path().join("tokenizer.json")).unwrap();
        fs::write(dir.path().join("chat_template.jinja"), template).unwrap();
        let tokenizer = load_tokenizer(dir.path()).unwrap();
        let messages = json!([{"role": "user", "content": "Hi"}]);

        let error = tokenizer.render_chat(&messages, true, &Map::new()).unwrap_err();

        let error = chain(&error);
        assert!(error.contains(says), "{template}: {error}");
    }
}

#[test]
fn of_several_templates_the_default_is_taken() {
    let dir = TempDir::new().unwrap();
    fs::copy(folder("gpt2").join("tokenizer.json"), dir.path().join("tokenizer.json")).unwrap();
    let config = json!({"chat_template": [
        {"name": "tool_use", "template": "tools"}, {"name": "default", "template": "{{ bos_token }}!"}],
        "bos_token": {"content": "<|endoftext|>"}});
    fs::write(dir.path().join("tokenizer_config.json"), config.to_string()).unwrap();

    let tokenizer = load_tokenizer(dir.path()).unwrap();

    let text = tokenizer.render_chat(&json!([]), false, &Map::new()).unwrap();
    assert_eq!(text, "<|endoftext|>!");
}
