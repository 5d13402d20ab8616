//! `tokenizer.json` files of Hugging Face's `tokenizers`.

use std::fs;

use nanoscope_checkpoint::{CheckpointError, MergeError, load_tokenizer};
use nanoscope_tokenizer::{Tokenizer, TokenizerError};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::hugging_face::change_json;
use crate::files::fixture;
use crate::refused;

/// Loads the tokenizer `golden_head` after `change` to its file.
fn with_tokenizer(change: impl FnOnce(&mut Json)) -> Result<Tokenizer, CheckpointError> {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("tokenizer.json");
    fs::copy(fixture("hf/single/tokenizer.json"), &path).unwrap();
    change_json(&path, change);
    load_tokenizer(dir.path())
}

#[test]
fn the_tokenizer_that_is_spoilt_here_is_good_before() {
    with_tokenizer(|_| {}).unwrap();
}

#[test]
fn a_tokenizer_of_another_kind_is_refused_by_its_kind() {
    let kinds = [
        ("model", json!({"type": "WordPiece", "vocab": {}}), "model is `WordPiece` (expected BPE)"),
        ("model", json!({"type": "Unigram", "vocab": [["a", 0.0]]}), "model is `Unigram`"),
        ("normalizer", json!({"type": "NFC"}), "normalizer is `NFC` (expected null)"),
        (
            "pre_tokenizer",
            json!({"type": "Metaspace", "replacement": "_"}),
            "pre_tokenizer is `Metaspace` (expected Split, ByteLevel)",
        ),
        (
            "pre_tokenizer",
            json!({"type": "Sequence", "pretokenizers": [
                {"type": "Digits", "individual_digits": true}, {"type": "ByteLevel"}]}),
            "pre_tokenizer is `Digits, ByteLevel`",
        ),
        ("pre_tokenizer", json!(null), "pre_tokenizer is `null`"),
        (
            "post_processor",
            json!({"type": "TemplateProcessing"}),
            "is `TemplateProcessing` (expected",
        ),
        ("decoder", json!({"type": "WordPiece"}), "decoder is `WordPiece` (expected ByteLevel)"),
        ("version", json!("2.0"), "version is `2.0` (expected 1.0)"),
        ("truncation", json!({"max_length": 9}), "truncation is `set` (expected null)"),
        ("padding", json!({"strategy": "BatchLongest"}), "padding is `set` (expected null)"),
    ];
    for (key, value, says) in kinds {
        refused!(
            format!("{key} {value}"),
            with_tokenizer(|file| file[key] = value),
            CheckpointError::UnknownValue { .. },
            ["tokenizer.json", says]
        );
    }
    let settings = [
        ("/model/dropout", json!(0.1), "dropout is `set` (expected null)"),
        ("/model/continuing_subword_prefix", json!("##"), "continuing_subword_prefix is `##`"),
        ("/model/end_of_word_suffix", json!("</w>"), "end_of_word_suffix is `</w>`"),
        ("/pre_tokenizer/pretokenizers/0/behavior", json!("Removed"), "behavior is `Removed`"),
        ("/pre_tokenizer/pretokenizers/0/invert", json!(true), "invert is `true`"),
        (
            "/pre_tokenizer/pretokenizers/1/add_prefix_space",
            json!(true),
            "add_prefix_space is `true`",
        ),
        ("/pre_tokenizer/pretokenizers/1/use_regex", json!(true), "use_regex is `true`"),
    ];
    for (key, value, says) in settings {
        refused!(
            format!("{key} {value}"),
            with_tokenizer(|file| *file.pointer_mut(key).unwrap() = value),
            CheckpointError::UnknownValue { .. },
            ["tokenizer.json", says]
        );
    }
    refused!(
        "a pattern that is not a regular expression",
        with_tokenizer(|file| {
            file["pre_tokenizer"]["pretokenizers"][0]["pattern"] = json!({"String": " "});
        }),
        CheckpointError::Json { .. },
        ["tokenizer.json", "unknown field `String`, expected `Regex`"]
    );
    refused!(
        "a setting that is not known",
        with_tokenizer(|file| file["model"]["score"] = json!(1)),
        CheckpointError::Json { .. },
        ["tokenizer.json", "unknown field `score`"]
    );
}

#[test]
fn a_vocabulary_that_cannot_be_used_is_refused_by_its_token() {
    let vocab = |change: fn(&mut serde_json::Map<String, Json>)| {
        with_tokenizer(|file| change(file["model"]["vocab"].as_object_mut().unwrap()))
    };
    let unusable = [
        (
            "id that is there twice",
            vocab(|vocab| *vocab.get_mut("Ġi").unwrap() = json!(7)),
            "token id 7 is given twice",
        ),
        (
            "id far away",
            vocab(|vocab| *vocab.get_mut("Ġi").unwrap() = json!(4_000_000_000_u32)),
            "token id 4000000000 leaves a gap",
        ),
        (
            "byte without a token",
            vocab(|vocab| {
                let id = vocab.remove("a").unwrap();
                vocab.insert("Ġxyz".to_owned(), id);
            }),
            "the single byte 0x61 has no token",
        ),
        (
            "empty token",
            vocab(|vocab| {
                let id = vocab.remove("Ġi").unwrap();
                vocab.insert(String::new(), id);
            }),
            "token 256 is empty",
        ),
        (
            "pattern that is expensive",
            with_tokenizer(|file| {
                let split = &mut file["pre_tokenizer"]["pretokenizers"][0];
                split["pattern"] = json!({"Regex": "(?:a{300}){300}"});
            }),
            "counts in the split pattern multiply",
        ),
        (
            "special token of another id than in the vocabulary",
            with_tokenizer(|file| file["added_tokens"][0]["id"] = json!(5)),
            "is given twice",
        ),
    ];
    for (case, spoilt, says) in unusable {
        refused!(case, spoilt, CheckpointError::Tokenizer { .. }, ["tokenizer.json", says]);
    }
    refused!(
        "letters that are no bytes",
        vocab(|vocab| {
            let id = vocab.remove("Ġi").unwrap();
            vocab.insert("日本".to_owned(), id);
        }),
        CheckpointError::ForeignLetter { .. },
        ["tokenizer.json", "`日本` has a character outside the byte-level alphabet"]
    );
    refused!(
        "added token that is not special",
        with_tokenizer(|file| file["added_tokens"][1]["special"] = json!(false)),
        CheckpointError::AddedToken { .. },
        ["tokenizer.json", "`<|user_start|>` is not special"]
    );
    refused!(
        "negative id",
        vocab(|vocab| *vocab.get_mut("Ġi").unwrap() = json!(-1)),
        CheckpointError::Json { .. },
        ["tokenizer.json", "model.vocab.Ġi: invalid value: integer `-1`"]
    );
    let dir = TempDir::new().unwrap();
    let text = fs::read_to_string(fixture("hf/single/tokenizer.json")).unwrap();
    let twice = text.replace(r#""vocab":{"#, r#""vocab":{"Ġi":300,"#);
    fs::write(dir.path().join("tokenizer.json"), twice).unwrap();
    refused!(
        "token that is there twice",
        load_tokenizer(dir.path()),
        CheckpointError::Tokenizer { source: TokenizerError::DuplicateToken { .. }, .. },
        ["tokenizer.json", "\" i\" is both token 256 and token 300"]
    );
}

#[test]
fn merges_that_cannot_be_used_are_refused_by_their_place() {
    let merges = |change: fn(&mut Vec<Json>)| {
        with_tokenizer(|file| change(file["model"]["merges"].as_array_mut().unwrap()))
    };
    let unknown = [
        (
            "part that is not a token",
            merges(|merges| merges[3] = json!(["a", "mm"])),
            "merge 3 of `a` and `mm` needs `mm`, which is not a token",
        ),
        (
            "whole that is not a token",
            merges(|merges| merges.push(json!(["z", "z"]))),
            "of `z` and `z` needs `zz`, which is not a token",
        ),
        (
            "part that is special",
            merges(|merges| merges.push(json!(["<|bos|>", "z"]))),
            "needs `<|bos|>`, which is not a token",
        ),
    ];
    for (case, spoilt, says) in unknown {
        refused!(
            case,
            spoilt,
            CheckpointError::Merges { source: MergeError::UnknownToken { .. }, .. },
            ["tokenizer.json", says]
        );
    }
    refused!(
        "merge that is there twice",
        merges(|merges| merges.push(merges[3].clone())),
        CheckpointError::Merges { source: MergeError::Duplicate { .. }, .. },
        ["tokenizer.json", "merge 35 of `a` and `m` is listed twice"]
    );
    refused!(
        "token without a merge",
        merges(|merges| drop(merges.remove(3))),
        CheckpointError::Merges { source: MergeError::Unreachable { .. }, .. },
        ["tokenizer.json", "the merges do not produce token 259 `am` from its bytes"]
    );
    refused!(
        "merges in another order",
        merges(|merges| merges.swap(3, 4)),
        CheckpointError::Merges { source: MergeError::OutOfOrder { .. }, .. },
        ["tokenizer.json", "tokens 259 and 260 are in the opposite order"]
    );
    for (case, merge, says) in [
        ("merge of three", json!(["a", "b", "c"]), "a merge does not have two tokens"),
        ("merge of one", json!(["a"]), "a merge does not have two tokens"),
        ("merge without a space", json!("ab"), "a merge has no space"),
        ("merge that is a number", json!(7), "model.merges[0]: invalid type: integer `7`"),
    ] {
        let spoilt = with_tokenizer(|file| file["model"]["merges"][0] = merge);
        refused!(case, spoilt, CheckpointError::Json { .. }, ["tokenizer.json", says]);
    }
}

#[test]
fn a_tokenizer_that_is_cut_or_no_text_is_refused() {
    let whole = fs::read(fixture("hf/single/tokenizer.json")).unwrap();
    for length in [1, whole.len() / 2, whole.len() - 1] {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("tokenizer.json"), &whole[..length]).unwrap();
        refused!(
            format!("tokenizer cut to {length} of {} bytes", whole.len()),
            load_tokenizer(dir.path()),
            CheckpointError::Json { .. },
            ["tokenizer.json", "EOF while parsing"]
        );
    }
}
