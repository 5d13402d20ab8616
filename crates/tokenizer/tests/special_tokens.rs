//! Text of special tokens within a text.

use nanoscope_testing::{SPECIAL_TOKENS, byte_tokenizer};
use nanoscope_tokenizer::{TokenId, Tokenizer};
use proptest::prelude::*;

/// Ids from 256 on, in this order. Some are the beginning, the end or a part of another, one starts
/// with a multi-byte character, and none is `<|user_start|>`.
const OVERLAPPING: [&str; 8] =
    ["<|a|>", "<|a|><|b|>", "<|b|>", "|><|", "a", "é<", "<|ab|>", "b|><|c"];

fn ids(tokenizer: &Tokenizer, text: &str) -> Vec<TokenId> {
    tokenizer.encode_with_special_tokens(text).unwrap()
}

#[test]
fn the_text_of_a_special_token_becomes_its_id_on_request_only() {
    let tokenizer = byte_tokenizer(&SPECIAL_TOKENS);
    let text = "<|user_start|>Hi<|user_end|><|assistant_start|>";

    assert_eq!(ids(&tokenizer, text), [257, b'H'.into(), b'i'.into(), 258, 259]);
    assert_eq!(
        tokenizer.special_tokens_in(text),
        ["<|user_start|>", "<|user_end|>", "<|assistant_start|>"]
    );
    assert!(tokenizer.encode(text).unwrap().iter().all(|&id| !tokenizer.is_special(id)));
}

#[test]
fn of_overlapping_special_tokens_the_leftmost_longest_is_read() {
    let tokenizer = byte_tokenizer(&OVERLAPPING);
    let cases: [(&str, &[&str]); 8] = [
        ("<|a|>", &["<|a|>"]),
        ("<|a|><|b|>", &["<|a|><|b|>"]),
        ("<|a|><|b|", &["<|a|>", "<", "|", "b", "|"]),
        ("<|a|><|a|><|b|>", &["<|a|>", "<|a|><|b|>"]),
        ("x|><|b|>", &["x", "|><|", "b", "|", ">"]),
        ("<|b|><|c", &["<|b|>", "<", "|", "c"]),
        ("<|ab|><|c", &["<|ab|>", "<", "|", "c"]),
        ("é<|b|>", &["é<", "|", "b", "|", ">"]),
    ];
    for (text, pieces) in cases {
        let expected: Vec<TokenId> = pieces
            .iter()
            .map(|piece| tokenizer.special(piece).unwrap_or_else(|| piece.as_bytes()[0].into()))
            .collect();

        assert_eq!(ids(&tokenizer, text), expected, "{text}");
    }
}

#[test]
fn a_special_token_that_the_vocabulary_lacks_stays_text() {
    let tokenizer = byte_tokenizer(&["<|bos|>"]);
    let text = "<|user_start|><|BOS|><|bos |>< |bos|>";

    assert_eq!(ids(&tokenizer, text), tokenizer.encode(text).unwrap());
    assert!(tokenizer.special_tokens_in(text).is_empty());

    let none = byte_tokenizer(&[]);
    assert_eq!(ids(&none, "<|bos|>"), none.encode("<|bos|>").unwrap());
    assert!(none.special_tokens_in("<|bos|>").is_empty());
}

#[test]
fn a_special_token_that_occurs_twice_is_listed_once_where_it_first_is() {
    let tokenizer = byte_tokenizer(&SPECIAL_TOKENS);

    let found = tokenizer.special_tokens_in("<|user_end|>a<|bos|>b<|user_end|><|bos|>");

    assert_eq!(found, ["<|user_end|>", "<|bos|>"]);
}

proptest! {
    #[test]
    fn text_with_special_tokens_round_trips_and_none_is_left_in_it(
        pieces in prop::collection::vec(
            prop_oneof![
                prop::sample::select(&OVERLAPPING[..]).prop_map(str::to_owned),
                "[<|>abcé]{0,4}",
                any::<String>(),
            ],
            0..12,
        ),
    ) {
        let tokenizer = byte_tokenizer(&OVERLAPPING);
        let text = pieces.concat();

        let ids = ids(&tokenizer, &text);

        prop_assert_eq!(tokenizer.decode(&ids).unwrap(), text.clone());
        for plain in ids.split(|&id| tokenizer.is_special(id)) {
            let left = tokenizer.decode(plain).unwrap();
            prop_assert!(OVERLAPPING.iter().all(|special| !left.contains(special)), "{}", left);
        }
        let names: Vec<&str> = tokenizer.special_tokens_in(&text);
        for (name, id) in tokenizer.special_tokens() {
            prop_assert_eq!(names.contains(&name.as_str()), ids.contains(id), "{}", name);
        }
    }
}
