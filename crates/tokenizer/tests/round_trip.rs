//! Round trips of text through ids, and of tokenizers through JSON.

use std::sync::LazyLock;

use nanoscope_tokenizer::{TokenId, Tokenizer, TokenizerError, TokenizerParts};
use proptest::prelude::*;

/// nanochat's own split pattern.
const NANOCHAT_PATTERN: &str = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";

const MERGES: [&str; 12] =
    ["aa", "aaaa", "  ", "    ", " t", "he", " the", "é", "\u{fffd}", "\n\n", "你", "\\x"];

/// Built once, because compiling the pattern takes most of the time of a case.
static SMALL: LazyLock<Tokenizer> = LazyLock::new(small);

/// All bytes, a few merges (some end within a character) and two special tokens, one with an id
/// between ordinary ones.
fn small() -> Tokenizer {
    let merged = MERGES.iter().map(|text| text.as_bytes().to_vec());
    let broken = [vec![0xe4, 0xbd], vec![0xbf, b'a'], vec![0xf0, 0x9f]];
    let single = (0..=u8::MAX).map(|byte| vec![byte]);
    let ids = (0..).filter(|&id| id != 100);
    let ranks: Vec<_> = single.chain(merged).chain(broken).zip(ids).collect();
    let last = ranks.len() as TokenId + 1;
    Tokenizer::new(TokenizerParts {
        pattern: NANOCHAT_PATTERN.to_owned(),
        ranks,
        special_tokens: vec![("<|bos|>".to_owned(), 100), ("<|é\n|>".to_owned(), last)],
    })
    .unwrap()
}

#[track_caller]
fn assert_round_trip(tokenizer: &Tokenizer, text: &str) -> usize {
    let ids = tokenizer.encode(text).unwrap();

    assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    assert!(ids.iter().all(|&id| !tokenizer.is_special(id)));
    ids.len()
}

#[test]
fn long_runs_of_one_character_are_encoded() {
    let tokenizer = &*SMALL;
    let length = 200_000;

    assert_eq!(assert_round_trip(tokenizer, &" ".repeat(length)), length / 4);
    assert_eq!(assert_round_trip(tokenizer, &"a".repeat(length)), length / 4);
    assert_eq!(assert_round_trip(tokenizer, &"\0".repeat(length)), length);
    assert_eq!(assert_round_trip(tokenizer, &"\n".repeat(length)), length / 2);
    assert_eq!(assert_round_trip(tokenizer, &"é".repeat(length)), length);
    assert_eq!(assert_round_trip(tokenizer, &"1".repeat(length)), length);
    assert_eq!(assert_round_trip(tokenizer, &"!".repeat(length)), length);
    assert_eq!(assert_round_trip(tokenizer, &"你".repeat(length)), length);
    // Combining marks are not in a letter class.
    assert_eq!(assert_round_trip(tokenizer, &"\u{301}".repeat(length)), 2 * length);
    assert_round_trip(tokenizer, &(" ".repeat(length) + "x"));
    assert_round_trip(tokenizer, &"<|bos|>".repeat(length / 10));
}

#[test]
fn a_run_that_is_too_long_for_the_pattern_is_an_error_not_a_panic() {
    let text = " ".repeat(3_000_000);

    let error = SMALL.encode(&text).unwrap_err();

    assert!(matches!(error, TokenizerError::PatternGaveUp { .. }));
    assert_eq!(error.to_string(), "the split pattern gave up on a text of 3000000 bytes");
}

#[test]
fn odd_text_is_encoded() {
    let tokenizer = &*SMALL;
    let texts = [
        "",
        "\u{feff}\u{200d}\u{202e}",
        "👩‍👩‍👧‍👦 z̸͖͝a̷̪͑l̵͙̓g̶̰̈o̷͓͑",
        "\u{10ffff}\u{0}\u{7f}\u{85}\u{2028}",
        "\r\n\r \t\u{b}\u{c}\u{a0}\u{3000}",
        "<|never|><|é\n|>",
    ];
    for text in texts {
        assert_round_trip(tokenizer, text);
    }
}

#[test]
fn broken_json_is_an_error_that_says_what_is_wrong() {
    let json = SMALL.to_json();
    let cases = [
        (
            json.replace("nanoscope-tokenizer", "x"),
            "the format is \"x\", not \"nanoscope-tokenizer\"",
        ),
        (
            json.replace("\"version\": 1", "\"version\": 2"),
            "version 2 of the format is not supported, only 1 is",
        ),
        (json.replace("\"pattern\"", "\"extra\": 0, \"pattern\""), "not a tokenizer in JSON"),
        (
            json.replace("\"B\"", "\"\\\\q\""),
            "token 66 has an unknown escape (expected \\\\ or \\xNN)",
        ),
        (json.replace("\"B\"", "null"), "token 66 is null, but no special token has this id"),
        (json.replace("null", "\"zz\""), "token id 100 is given twice"),
        (json.replace("\"B\"", "\"\""), "token 66 is empty"),
        (json[..json.len() / 2].to_owned(), "not a tokenizer in JSON"),
    ];
    for (broken, expected) in cases {
        assert_eq!(Tokenizer::from_json(&broken).unwrap_err().to_string(), expected);
    }
}

proptest! {
    #[test]
    fn any_text_survives_encoding(text in any::<String>()) {
        let tokenizer = &*SMALL;

        let ids = tokenizer.encode(&text).unwrap();

        prop_assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    }

    #[test]
    fn text_made_of_what_the_pattern_looks_for_survives(
        text in "([ \\r\\n\\t'aéA1!你\u{0}]|ll|ve|the| the|<\\|bos\\|>|\u{1f30d}){0,60}"
    ) {
        let tokenizer = &*SMALL;

        let ids = tokenizer.encode(&text).unwrap();

        prop_assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    }

    #[test]
    fn a_stream_gives_the_same_text_as_all_ids_at_once(
        ids in prop::collection::vec(prop_oneof![0u32..273, 0xb0u32..0x110], 0..60)
    ) {
        let tokenizer = &*SMALL;
        let mut stream = tokenizer.stream();

        let mut text = String::new();
        for &id in &ids {
            text += &stream.push(id).unwrap();
        }
        text += &stream.finish();

        prop_assert_eq!(text, tokenizer.decode(&ids).unwrap());
    }

    #[test]
    fn any_text_as_json_is_an_error_not_a_panic(text in any::<String>()) {
        prop_assert!(Tokenizer::from_json(&text).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn json_gives_the_same_tokenizer(extra in prop::collection::btree_set(
        prop::collection::vec(any::<u8>(), 2..6), 0..40,
    )) {
        let ranks = (0..=u8::MAX).map(|byte| vec![byte]).chain(extra).zip(0..).collect();
        let tokenizer = Tokenizer::new(TokenizerParts {
            pattern: NANOCHAT_PATTERN.to_owned(),
            ranks,
            special_tokens: Vec::new(),
        }).unwrap();

        let again = Tokenizer::from_json(&tokenizer.to_json()).unwrap();

        prop_assert_eq!(again.pattern(), tokenizer.pattern());
        prop_assert_eq!(again.vocab_size(), tokenizer.vocab_size());
        for id in 0..tokenizer.vocab_size() as TokenId {
            prop_assert_eq!(again.token_bytes(id), tokenizer.token_bytes(id));
        }
    }
}

#[test]
fn json_keeps_special_tokens_between_ordinary_ones() {
    let tokenizer = &*SMALL;

    let again = Tokenizer::from_json(&tokenizer.to_json()).unwrap();

    assert_eq!(again.special_tokens(), tokenizer.special_tokens());
    assert_eq!(again.bos(), Some(100));
    assert_eq!(again.to_json(), tokenizer.to_json());
}

#[test]
fn a_stream_holds_back_only_the_unfinished_end() {
    let tokenizer = &*SMALL;
    let id = |byte: u8| tokenizer.id_of(&[byte]).unwrap();
    let mut stream = tokenizer.stream();

    assert_eq!(stream.push(id(0xf0)).unwrap(), "");
    assert_eq!(stream.push(id(b'a')).unwrap(), "\u{fffd}a");
    assert_eq!(stream.push(id(0xff)).unwrap(), "\u{fffd}");
    assert_eq!(stream.push(id(0xe4)).unwrap(), "");
    assert!(stream.push(999).is_err());
    assert_eq!(stream.push(id(0xbd)).unwrap(), "");
    assert_eq!(stream.push(id(0xa0)).unwrap(), "你");
    assert_eq!(stream.push(id(0xe4)).unwrap(), "");
    assert_eq!(stream.finish(), "\u{fffd}");
}
