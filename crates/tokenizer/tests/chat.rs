//! Conversations are rendered as nanochat renders them, and broken ones are rejected.

use nanoscope_testing::{SPECIAL_TOKENS, byte_tokenizer};
use nanoscope_tokenizer::{Content, Conversation, DEFAULT_MAX_TOKENS, Part, TokenizerError};

#[track_caller]
fn conversation(json: &str) -> Conversation {
    serde_json::from_str(json).unwrap()
}

#[track_caller]
fn refusal(json: &str) -> String {
    byte_tokenizer(&SPECIAL_TOKENS)
        .render_conversation(&conversation(json), 100)
        .unwrap_err()
        .to_string()
}

#[test]
fn the_mask_covers_only_tokens_that_the_assistant_writes() {
    let chat = conversation(
        r#"{"messages": [
            {"role": "user", "content": "A"},
            {"role": "assistant", "content": [
                {"type": "text", "text": "B"},
                {"type": "python", "text": "C"},
                {"type": "python_output", "text": "D"}
            ]}
        ]}"#,
    );

    let rendered = byte_tokenizer(&SPECIAL_TOKENS).render_conversation(&chat, 100).unwrap();

    assert_eq!(rendered.ids, [256, 257, 65, 258, 259, 66, 261, 67, 262, 263, 68, 264, 260]);
    let mask: Vec<u8> = rendered.mask.iter().map(|&mask| mask.into()).collect();
    assert_eq!(mask, [0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 1]);
}

#[test]
fn a_system_message_joins_the_first_user_message_only() {
    let chat = conversation(
        r#"{"messages": [
            {"role": "system", "content": "S"},
            {"role": "user", "content": "A"},
            {"role": "assistant", "content": "B"},
            {"role": "user", "content": "C"}
        ]}"#,
    );

    let rendered = byte_tokenizer(&SPECIAL_TOKENS).render_conversation(&chat, 100).unwrap();

    assert_eq!(rendered.ids, [256, 257, 83, 10, 10, 65, 258, 259, 66, 260, 257, 67, 258]);
}

#[test]
fn a_long_conversation_is_truncated_with_its_mask() {
    let chat = conversation(r#"{"messages": [{"role": "user", "content": "ABC"}]}"#);

    let rendered = byte_tokenizer(&SPECIAL_TOKENS).render_conversation(&chat, 3).unwrap();

    assert_eq!(rendered.ids, [256, 257, 65]);
    assert_eq!(rendered.mask.len(), 3);
}

#[test]
fn a_completion_replaces_the_last_answer() {
    let chat = conversation(
        r#"{"messages": [
            {"role": "user", "content": "A"},
            {"role": "assistant", "content": "not this"}
        ]}"#,
    );
    let tokenizer = byte_tokenizer(&SPECIAL_TOKENS);

    let ids = tokenizer.render_for_completion(&chat).unwrap();

    assert_eq!(ids, [256, 257, 65, 258, 259]);
    assert_eq!(tokenizer.chat_prompt("A").unwrap(), ids);
    assert_eq!(tokenizer.chat_turn("A").unwrap(), ids[1..]);
}

#[test]
fn a_long_completion_is_truncated_before_the_answer_starts() {
    let text = "A".repeat(DEFAULT_MAX_TOKENS);
    let chat = conversation(&format!(
        r#"{{"messages": [
            {{"role": "user", "content": "{text}"}},
            {{"role": "assistant", "content": ""}}
        ]}}"#
    ));

    let ids = byte_tokenizer(&SPECIAL_TOKENS).render_for_completion(&chat).unwrap();

    assert_eq!(ids.len(), DEFAULT_MAX_TOKENS + 1);
    assert_eq!(ids[DEFAULT_MAX_TOKENS - 1..], [65, 259]);
}

#[test]
fn conversations_that_nanochat_rejects_are_rejected() {
    let cases = [
        (r#"{"messages": []}"#, "the conversation has no message to render"),
        (
            r#"{"messages": [{"role": "system", "content": "S"}]}"#,
            "the conversation has no message to render",
        ),
        (
            r#"{"messages": [{"role": "assistant", "content": "B"}]}"#,
            "message 0 is from the assistant; expected the user",
        ),
        (
            r#"{"messages": [
                {"role": "system", "content": "S"},
                {"role": "user", "content": "A"},
                {"role": "user", "content": "A"}
            ]}"#,
            "message 2 is from the user; expected the assistant",
        ),
        (
            r#"{"messages": [
                {"role": "user", "content": "A"},
                {"role": "system", "content": "S"}
            ]}"#,
            "message 1 is from the system; expected the assistant",
        ),
        (
            r#"{"messages": [{"role": "user", "content": [{"type": "text", "text": "A"}]}]}"#,
            "message 0 from the user has parts; expected text",
        ),
        (
            r#"{"messages": [{"role": "system", "content": []}, {"role": "user", "content": "A"}]}"#,
            "message 0 from the system has parts; expected text",
        ),
    ];
    for (json, expected) in cases {
        assert_eq!(refusal(json), expected);
    }
}

#[test]
fn a_completion_needs_a_last_message_of_the_assistant() {
    let tokenizer = byte_tokenizer(&SPECIAL_TOKENS);
    let user_last = conversation(r#"{"messages": [{"role": "user", "content": "A"}]}"#);
    let nothing_before = conversation(r#"{"messages": [{"role": "assistant", "content": "A"}]}"#);

    assert!(matches!(
        tokenizer.render_for_completion(&user_last),
        Err(TokenizerError::UnexpectedRole { index: 0, .. })
    ));
    assert!(matches!(
        tokenizer.render_for_completion(&nothing_before),
        Err(TokenizerError::EmptyConversation)
    ));
}

#[test]
fn a_vocabulary_without_chat_tokens_says_which_one_is_missing() {
    let error = byte_tokenizer(&SPECIAL_TOKENS[..2]).chat_prompt("A").unwrap_err();

    assert_eq!(error.to_string(), "the vocabulary has no special token <|user_end|>");
}

#[test]
fn json_with_unknown_roles_parts_or_keys_is_not_a_conversation() {
    let broken = [
        r#"{"messages": [{"role": "tool", "content": "A"}]}"#,
        r#"{"messages": [{"role": "user", "content": 1}]}"#,
        r#"{"messages": [{"role": "user", "content": "A", "name": "Tom"}]}"#,
        r#"{"messages": [{"role": "assistant", "content": [{"type": "image", "text": "A"}]}]}"#,
        r#"{"messages": [{"role": "assistant", "content": [{"type": "text"}]}]}"#,
        r"{}",
    ];
    for json in broken {
        assert!(serde_json::from_str::<Conversation>(json).is_err(), "{json}");
    }
}

#[test]
fn a_conversation_survives_json() {
    let chat = conversation(
        r#"{"messages": [{"role": "assistant", "content": [{"type": "python_output", "text": "4"}]}],
            "subject": "kept by nanochat's tasks, not a part of the chat"}"#,
    );

    let again = conversation(&serde_json::to_string(&chat).unwrap());

    assert_eq!(again, chat);
    assert_eq!(chat.messages[0].content, Content::Parts(vec![Part::PythonOutput("4".to_owned())]));
}
