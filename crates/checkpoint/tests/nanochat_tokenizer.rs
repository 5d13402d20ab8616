//! Real nanochat tokenizers give the same ids as nanochat's own code, and everything else is refused
//! with its name.
#![cfg(feature = "gpt")]

use std::fs;
use std::path::{Path, PathBuf};

use nanoscope_checkpoint::pickle::PickleError;
use nanoscope_checkpoint::{CheckpointError, load_tokenizer, save_tokenizer};
use nanoscope_tokenizer::{Conversation, Rendered, TokenId, Tokenizer};
use serde_json::Value as Json;
use tempfile::TempDir;

const NAMES: [&str; 5] = ["demo", "32k", "65k", "golden_old", "golden_head"];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tokenizers").join(name)
}

/// The tokenizers of a fixture: from nanochat's pickle, and from the file that we write for it.
#[track_caller]
fn load_both(name: &str) -> [Tokenizer; 2] {
    let original = load_tokenizer(&fixture(name)).unwrap();
    let dir = TempDir::new().unwrap();
    save_tokenizer(dir.path(), &original).unwrap();
    let saved = load_tokenizer(dir.path()).unwrap();
    [original, saved]
}

#[track_caller]
fn expected(name: &str) -> Json {
    serde_json::from_slice(&fs::read(fixture(name).join("expected.json")).unwrap()).unwrap()
}

#[track_caller]
fn ids(json: &Json) -> Vec<TokenId> {
    serde_json::from_value(json.clone()).unwrap()
}

/// Creates a folder with the given files.
fn directory(files: &[(&str, &[u8])]) -> TempDir {
    let dir = TempDir::new().unwrap();
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    dir
}

#[track_caller]
fn refusal(files: &[(&str, &[u8])]) -> CheckpointError {
    load_tokenizer(directory(files).path()).unwrap_err()
}

#[test]
fn vocabulary_pattern_and_special_tokens_are_those_of_the_file() {
    for name in NAMES {
        let expected = expected(name);
        for tokenizer in load_both(name) {
            assert_eq!(tokenizer.vocab_size() as u64, expected["n_vocab"], "{name}");
            assert_eq!(tokenizer.pattern(), expected["pat_str"], "{name}");
            let special = expected["special"].as_object().unwrap();
            assert_eq!(tokenizer.special_tokens().len(), special.len(), "{name}");
            for (text, id) in special {
                assert_eq!(u64::from(tokenizer.special(text).unwrap()), *id, "{name}: {text}");
            }
        }
    }
}

#[test]
fn the_tokens_are_as_long_as_nanochat_counted_them() {
    // Until 2026-07-03 nanochat counted the bytes of a token's text, with U+FFFD in it.
    for (name, counts_text) in [("demo", false), ("32k", true), ("65k", true)] {
        for tokenizer in load_both(name) {
            let length = |id| {
                if counts_text {
                    tokenizer.token_text(id).unwrap().len()
                } else {
                    tokenizer.token_bytes(id).unwrap().len()
                }
            };
            let ordinary =
                (0..tokenizer.vocab_size() as TokenId).filter(|&id| !tokenizer.is_special(id));

            let sum: usize = ordinary.map(length).sum();

            assert_eq!(sum as u64, expected(name)["token_bytes_sum"], "{name}");
        }
    }
}

#[test]
fn every_text_gets_the_ids_that_nanochat_gave_it() {
    for name in NAMES {
        let expected = expected(name);
        let cases = expected["cases"].as_array().unwrap();
        assert!(!cases.is_empty(), "{name}");
        for tokenizer in load_both(name) {
            for case in cases {
                let text = case["text"].as_str().unwrap();
                let ids = ids(&case["ids"]);

                assert_eq!(tokenizer.encode(text).unwrap(), ids, "{name}: {text:?}");
                assert_eq!(tokenizer.decode(&ids).unwrap(), text, "{name}: {text:?}");
                let mut stream = tokenizer.stream();
                let streamed: String = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
                assert_eq!(streamed + &stream.finish(), text, "{name}: {text:?}");
            }
        }
    }
}

#[test]
fn every_conversation_gets_the_ids_and_mask_that_nanochat_gave_it() {
    for name in NAMES {
        let expected = &expected(name)["conversation"];
        let chat: Conversation = serde_json::from_value(expected.clone()).unwrap();
        let mask: Vec<u8> = serde_json::from_value(expected["mask"].clone()).unwrap();
        for tokenizer in load_both(name) {
            let rendered = tokenizer.render_conversation(&chat, 2048).unwrap();

            assert_eq!(
                rendered,
                Rendered {
                    ids: ids(&expected["ids"]),
                    mask: mask.iter().map(|&mask| mask == 1).collect(),
                },
                "{name}"
            );
        }
    }
}

#[test]
fn a_completion_starts_as_in_nanochat() {
    for name in ["golden_old", "golden_head"] {
        let expected = expected(name);
        let chat: Conversation = serde_json::from_value(expected["conversation"].clone()).unwrap();
        let tokenizer = load_tokenizer(&fixture(name)).unwrap();

        let completion = tokenizer.render_for_completion(&chat).unwrap();

        assert_eq!(completion, ids(&expected["render_for_completion"]), "{name}");
        let with_bos = ids(&expected["encode_prepend_bos"]);
        assert_eq!(with_bos[0], tokenizer.bos().unwrap(), "{name}");
        assert_eq!(tokenizer.encode("Hello").unwrap(), with_bos[1..], "{name}");
    }
}

#[test]
fn the_demo_chat_prompt_is_the_start_of_the_demo_conversation() {
    let tokenizer = load_tokenizer(&fixture("demo")).unwrap();

    let prompt = tokenizer.chat_prompt("Tell me a story about Tom.").unwrap();

    assert_eq!(prompt, ids(&expected("demo")["conversation"]["ids"])[..prompt.len()]);
    assert_eq!(prompt.len(), 12);
}

#[test]
fn long_runs_and_odd_text_survive_the_real_vocabularies() {
    let texts = [
        " ".repeat(200_000),
        "a".repeat(200_000),
        "\0".repeat(200_000),
        "\u{200d}👩\u{301}".repeat(20_000),
        " \n\t\r\u{a0}\u{3000}".repeat(20_000),
    ];
    for name in ["demo", "65k"] {
        let tokenizer = load_tokenizer(&fixture(name)).unwrap();
        for text in &texts {
            let ids = tokenizer.encode(text).unwrap();

            assert!(tokenizer.decode(&ids).unwrap() == *text, "{name}");
        }
    }
}

#[test]
fn the_path_of_a_tokenizers_file_stands_for_its_folder() {
    let dir = fixture("demo");
    let own = load_tokenizer(&dir).unwrap();

    for name in std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()) {
        let is_tokenizer = name.ends_with("tokenizer.json") || name.ends_with("tokenizer.pkl");
        let loaded = load_tokenizer(&name);
        assert_eq!(loaded.is_ok(), is_tokenizer, "{}", name.display());
        if let Ok(loaded) = loaded {
            assert_eq!(loaded.to_json(), own.to_json());
        }
    }
}

#[test]
fn a_directory_without_a_tokenizer_says_so() {
    let dir = TempDir::new().unwrap();

    let error = load_tokenizer(dir.path()).unwrap_err();

    assert!(matches!(&error, CheckpointError::NoTokenizer { dir: named } if named == dir.path()));
    assert!(error.to_string().ends_with("has no tokenizer.pkl and no tokenizer.json"));
}

#[test]
fn a_tokenizer_of_another_program_is_refused_unless_there_is_a_pickle() {
    let foreign = br#"{"version": "1.0", "merges": []}"#.as_slice();
    let pickle = fs::read(fixture("demo").join("tokenizer.pkl")).unwrap();

    let alone = refusal(&[("tokenizer.json", foreign)]);
    let both = directory(&[("tokenizer.json", foreign), ("tokenizer.pkl", &pickle)]);

    assert!(matches!(alone, CheckpointError::ForeignTokenizer { .. }));
    assert!(alone.to_string().contains("tokenizer.json is neither nanoscope's own tokenizer"));
    assert_eq!(load_tokenizer(both.path()).unwrap().vocab_size(), 4096);
}

#[test]
fn nanochats_pickle_is_preferred_to_a_hugging_face_tokenizer() {
    let hugging_face = fs::read(fixture("../hf/single").join("tokenizer.json")).unwrap();
    let pickle = fs::read(fixture("demo").join("tokenizer.pkl")).unwrap();

    let both = directory(&[("tokenizer.json", &hugging_face), ("tokenizer.pkl", &pickle)]);

    assert_eq!(load_tokenizer(both.path()).unwrap().vocab_size(), 4096);
}

#[test]
fn our_own_file_is_preferred_to_the_pickle() {
    let dir = TempDir::new().unwrap();
    fs::copy(fixture("demo").join("tokenizer.pkl"), dir.path().join("tokenizer.pkl")).unwrap();
    let other = load_tokenizer(&fixture("golden_old")).unwrap();

    save_tokenizer(dir.path(), &other).unwrap();

    assert_eq!(load_tokenizer(dir.path()).unwrap().vocab_size(), 300);
}

#[test]
fn saving_leaves_one_file_and_replaces_the_old_one() {
    let dir = TempDir::new().unwrap();
    let inner = dir.path().join("made/on the way");
    let small = load_tokenizer(&fixture("golden_old")).unwrap();
    let large = load_tokenizer(&fixture("demo")).unwrap();

    save_tokenizer(&inner, &large).unwrap();
    save_tokenizer(&inner, &small).unwrap();

    assert_eq!(load_tokenizer(&inner).unwrap().to_json(), small.to_json());
    assert_eq!(fs::read_dir(&inner).unwrap().count(), 1);
}

#[test]
fn saving_over_what_is_no_directory_names_it() {
    let dir = directory(&[("file", b"")]);
    let tokenizer = load_tokenizer(&fixture("golden_old")).unwrap();

    let error = save_tokenizer(&dir.path().join("file"), &tokenizer).unwrap_err();

    assert!(matches!(&error, CheckpointError::Io { path, .. } if path.ends_with("file")));
}

#[test]
fn broken_json_names_the_file() {
    let tokenizer = load_tokenizer(&fixture("golden_old")).unwrap().to_json();
    let no_pattern = tokenizer.replace("\"pattern\"", "\"patern\"");
    let not_utf8 = tokenizer.replace("<|bos|>", "B").into_bytes();
    let not_utf8: Vec<u8> = not_utf8.iter().map(|&b| if b == b'B' { 0xff } else { b }).collect();

    let half = refusal(&[("tokenizer.json", &tokenizer.as_bytes()[..1000])]);
    let misspelt = refusal(&[("tokenizer.json", no_pattern.as_bytes())]);
    let bytes = refusal(&[("tokenizer.json", &not_utf8)]);

    assert!(matches!(half, CheckpointError::Json { .. }), "{half:?}");
    assert!(half.to_string().starts_with("could not read the JSON of "));
    assert!(matches!(misspelt, CheckpointError::Tokenizer { .. }), "{misspelt:?}");
    assert!(misspelt.to_string().ends_with("tokenizer.json cannot be used"));
    assert!(
        matches!(bytes, CheckpointError::Io { .. } | CheckpointError::Json { .. }),
        "{bytes:?}"
    );
}

#[test]
fn a_file_that_is_too_large_is_not_read() {
    let dir = TempDir::new().unwrap();
    let file = fs::File::create(dir.path().join("tokenizer.pkl")).unwrap();
    file.set_len((1 << 26) + 1).unwrap();

    let error = load_tokenizer(dir.path()).unwrap_err();

    assert!(error.to_string().ends_with("tokenizer.pkl has more than 67108864 bytes"));
}

#[test]
fn a_pickle_that_calls_a_function_is_refused_by_its_name() {
    let error = refusal(&[("tokenizer.pkl", b"\x80\x04cposix\nsystem\n\x8c\x02id\x85R.")]);

    let CheckpointError::Pickle { path, source } = error else {
        panic!("{error:?}");
    };
    assert!(path.ends_with("tokenizer.pkl"));
    assert!(matches!(source, PickleError::ForbiddenGlobal { name, .. } if name == "posix.system"));
}

#[test]
fn a_sound_pickle_of_something_else_is_told_from_a_tokenizer() {
    // The head of an Encoding up to its state, and the end of one.
    let encoding = |state: &[u8]| {
        [b"\x80\x04ctiktoken.core\nEncoding\n)\x81".as_slice(), state, b"b."].concat()
    };
    let cases: [(Vec<u8>, &str); 9] = [
        (b"\x80\x04}.".to_vec(), "the result is a dict instead of a tiktoken Encoding"),
        (
            b"\x80\x04ctiktoken.core\nEncoding\n)\x81.".to_vec(),
            "the Encoding's state is missing instead of a dict",
        ),
        (encoding(b"\x8c\x04gpt2"), "the Encoding's state is a str instead of a dict"),
        (encoding(b"}"), "pat_str is missing instead of an entry of the state"),
        (
            encoding(b"}(\x8c\x01x\x4e\x75"),
            "a key of the state is \"x\" instead of a key that tiktoken writes",
        ),
        (
            encoding(b"}(\x8c\x04name\x8c\x01a\x8c\x04name\x8c\x01a\x75"),
            "a key of the state is \"name\" again instead of each key once",
        ),
        (encoding(b"}\x8c\x07pat_strNs"), "pat_str is None instead of a str"),
        (
            encoding(b"}\x8c\x0fmergeable_ranks}C\x01aJ\xff\xff\xff\xffss"),
            "a token's id is -1 instead of an int of 32 bits",
        ),
        (
            encoding(b"}\x8c\x0fmergeable_ranks}\x8c\x01aK\x01ss"),
            "a token is a str instead of bytes",
        ),
    ];
    for (pickle, expected) in cases {
        let error = refusal(&[("tokenizer.pkl", &pickle)]);
        let text = error.to_string();
        assert!(text.ends_with(&format!("is not a pickled tokenizer: {expected}")), "{text}");
    }
}

#[test]
fn a_vocabulary_that_cannot_be_used_names_the_file() {
    let pickle = b"\x80\x04ctiktoken.core\nEncoding\n)\x81}(\
        \x8c\x07pat_str\x8c\x01a\x8c\x0fmergeable_ranks}\x8c\x0especial_tokens}ub.";

    let error = refusal(&[("tokenizer.pkl", pickle)]);

    assert!(
        matches!(&error, CheckpointError::Tokenizer { path, .. } if path.ends_with("tokenizer.pkl"))
    );
    let source = std::error::Error::source(&error).unwrap();
    assert_eq!(source.to_string(), "the single byte 0x00 has no token");
}
