//! Rejected requests, and the reasons in the responses.

use nanoscope_server::{Config, Limits};
use serde_json::{Value, json};

use crate::client::{raw, request};
use crate::test_server::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn each_wrong_field_is_named() {
    let server = TestServer::new().await;
    let with = |field: &str, value: Value| {
        let mut body = json!({"prompt": "the"});
        body[field] = value;
        body
    };
    let served = |value: Value| with("nanoscope", value);
    let steer = |value: Value| served(json!({"steer": [value]}));
    let cases = [
        (json!({}), "prompt", "missing field `prompt`"),
        (with("prompt", json!(3)), "prompt", "a string, a list of strings"),
        (with("prompt", json!([])), "prompt", "prompt: empty"),
        (with("prompt", json!([1, "a"])), "prompt", "a string, a list of strings"),
        (with("prompt", json!([99_999])), "prompt", "token id 99999 is outside the vocabulary"),
        (with("max_tokens", json!(-3)), "max_tokens", "expected 0 to 4096, found -3"),
        (with("max_tokens", json!(1e300)), "max_tokens", "invalid type"),
        (with("max_tokens", json!(u64::MAX)), "max_tokens", "expected 0 to 4096"),
        (with("temperature", json!(-0.5)), "temperature", "must be 0 or more"),
        (with("temperature", json!(1e300)), "temperature", "inf"),
        (with("temperature", json!("hot")), "temperature", "invalid type: string"),
        (with("top_p", json!(0)), "top_p", "above 0"),
        (with("top_k", json!(-2)), "top_k", "invalid value"),
        (with("n", json!(0)), "n", "expected 1 to 128, found 0"),
        (with("n", json!(1000)), "n", "found 1000"),
        (with("seed", json!(-2)), "seed", "invalid value"),
        (with("seed", json!(1_u64 << 53)), "seed", "expected less than 2^53"),
        (with("stop", json!("x".repeat(1001))), "stop", "at most 1000 bytes"),
        (with("add_special_tokens", json!(false)), "add_special_tokens", "begins with <|bos|>"),
        (with("special_tokens", json!(1)), "special_tokens", "expected a boolean"),
        (
            with("stream_options", json!({"include_usgae": true})),
            "stream_options.include_usgae",
            "unknown field `include_usgae`",
        ),
        (
            with("stream_options", json!({"continuous_usage_stats": true})),
            "stream_options.continuous_usage_stats",
            "not supported",
        ),
        (with("stop", json!([1])), "stop", "a string or a list of strings"),
        (with("stop", json!(vec!["x"; 17])), "stop", "at most 16 strings are allowed, found 17"),
        (with("logprobs", json!(6)), "logprobs", "expected at most 5, found 6"),
        (with("frequency_penalty", json!(3)), "frequency_penalty", "-2"),
        (with("stream", json!("yes")), "stream", "expected a boolean"),
        (with("model", json!("gpt-4")), "model", "this server serves `lab`"),
        (with("suffix", json!(" end")), "suffix", "this parameter is not supported"),
        (with("temprature", json!(1)), "temprature", "this parameter is not supported"),
        (with("best_of", json!(4)), "best_of", "this parameter is not supported"),
        (with("logit_bias", json!({"5": 100})), "logit_bias", "this parameter is not supported"),
        (served(json!(3)), "nanoscope", "invalid type: integer"),
        (served(json!([])), "nanoscope", "expected a JSON object, found a list"),
        (json!([["the"], 3]), "", "expected a JSON object, found a list"),
        (served(json!({"trak": []})), "nanoscope.trak", "unknown field `trak`"),
        (served(json!({"track": ["0-mlp"]})), "nanoscope.track[0]", "unknown SAE `0-mlp`"),
        (served(json!({"top": -1})), "nanoscope.top", "invalid value"),
        (served(json!({"why": "all"})), "nanoscope.why", "expected a number of causes"),
        (served(json!({"why": 101})), "nanoscope.why", "at most 100 causes"),
        (
            served(json!({"compare": true})),
            "nanoscope.compare",
            "requires interventions in nanoscope.steer",
        ),
        (served(json!({"steer": "x"})), "nanoscope.steer", "expected a sequence"),
        (steer(json!("1-resid_post:99999:ablate")), "", "feature 99999 is out of range"),
        (steer(json!("1-resid_post:1:boost:2")), "nanoscope.steer[0]", "unknown operation `boost`"),
        (
            steer(json!({"hook": "1-resid_post", "feature": 1.5, "op": "ablate"})),
            "nanoscope.steer[0].feature",
            "whole number",
        ),
        (steer(json!("blocks.0.hook_resid_post:calm:add:1")), "", "needs the vector `calm`"),
        (
            served(json!({"steer": ["1-resid_post:v:add:1"], "vectors": {"v": [1, 2]}})),
            "",
            "the vector `v` has 2 numbers",
        ),
        (served(json!({"vectors": {"v": [1e300]}})), "", "not finite"),
        (
            served(json!({"stop_when": ["1-resid_post:1"]})),
            "nanoscope.stop_when[0]",
            "is not a condition",
        ),
    ];
    for (body, field, says) in cases {
        let answer = server.post("/v1/completions", &body).await;
        let (error, param) = (answer.error(), answer.json()["error"]["param"].clone());

        let status = if field == "model" { 404 } else { 400 };
        assert_eq!(answer.status, status, "{body}: {error}");
        assert!(error.contains(says), "{body}: {error}");
        assert_eq!(param.as_str().unwrap_or_default(), field, "{body}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_invalid_conversation_is_rejected() {
    let server = TestServer::new().await;
    let user = json!({"role": "user", "content": "hi"});
    let cases = [
        (json!({}), "missing field `messages`"),
        (json!({"messages": []}), "the last message must be the user's"),
        (json!({"messages": [{"role": "assistant", "content": "a"}]}), "must be the user's"),
        (json!({"messages": [user, user]}), "messages[1].role: expected assistant, found user"),
        (json!({"messages": [user, user]}), "join messages of the user"),
        (json!({"messages": [{"role": "assistant", "content": "a"}, user]}), "the user begins"),
        (
            json!({"messages": [user, {"role": "assistant", "content": "a"},
                {"role": "assistant", "content": "a"}, user]}),
            "messages[2].role: expected user, found assistant",
        ),
        (
            json!({"messages": [user, {"role": "system", "content": "a"}, user]}),
            "messages[1].role: expected assistant, found system",
        ),
        (
            json!({"messages": [{"role": "system", "content": "a"},
                {"role": "system", "content": "a"}, user]}),
            "a system message is only allowed before all others",
        ),
        (
            json!({"messages": [user, {"role": "assistant", "content": null}, user]}),
            "messages[1].content: missing or null",
        ),
        (
            json!({"messages": [user, {"role": "assistant", "content": "",
                "tool_calls": [{"id": "a"}]}, user]}),
            "messages[1].tool_calls: calls of tools are not supported",
        ),
        (json!({"messages": [user], "max_tokens": 0}), "max_tokens: expected 1 or more"),
        (json!({"messages": [user], "special_tokens": true}), "special_tokens: messages are"),
        (json!({"messages": [user], "add_special_tokens": true}), "add_special_tokens: the chat"),
        (
            json!({"messages": [{"role": "tool", "content": "a"}]}),
            "messages[0].role: unknown role `tool`",
        ),
        (json!({"messages": [{"role": "user"}]}), "messages[0].content: missing"),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
            "messages[0].content: parts of type `image_url` are not supported",
        ),
        (
            json!({"messages": [user], "tools": [{"type": "function"}]}),
            "tools: this parameter is not supported",
        ),
        (
            json!({"messages": [user], "response_format": {"type": "json_object"}}),
            "response_format: this parameter",
        ),
        (json!({"messages": [user], "top_logprobs": 3}), "requires `logprobs` to be true"),
        (
            json!({"messages": [user], "logprobs": true, "top_logprobs": 21}),
            "expected at most 20, found 21",
        ),
    ];
    for (body, says) in cases {
        let answer = server.post("/v1/chat/completions", &body).await;

        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.error().contains(says), "{body}: {}", answer.error());
    }
    let harmless = json!({"messages": [user], "max_tokens": 1, "user": "u", "metadata": {"a": "b"},
        "store": false, "tools": [], "response_format": {"type": "text"}, "logit_bias": null});
    assert_eq!(server.post("/v1/chat/completions", &harmless).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_ask_for_nothing_give_the_answer_without_them() {
    let server = TestServer::new().await;
    let values = [
        ("min_p", json!(0)),
        ("repetition_penalty", json!(1.0)),
        ("repeat_penalty", json!(1)),
        ("top_k", json!(0)),
        ("top_k", json!(-1)),
        ("top_p", json!(1)),
        ("stop", json!("")),
        ("stop", json!([])),
        ("stop", json!(["", ""])),
        ("stop", json!(null)),
        ("presence_penalty", json!(0)),
        ("frequency_penalty", json!(0.0)),
        ("n", json!(1.0)),
        ("best_of", json!(1)),
        ("logit_bias", json!({})),
        ("suffix", json!("")),
        ("logprobs", json!(false)),
        ("stream", json!(false)),
        ("stream_options", json!({})),
        ("stream_options", json!({"include_usage": false})),
        ("add_special_tokens", json!(null)),
        ("special_tokens", json!(false)),
        ("mirostat", json!(0)),
        ("mirostat_tau", json!(5.0)),
        ("ignore_eos", json!(false)),
        ("skip_special_tokens", json!(false)),
        ("use_beam_search", json!(false)),
        ("max_tokens", json!(6.0)),
        ("seed", json!(-1)),
    ];
    let chat = json!([{"role": "user", "content": "the"}]);
    for (path, field, prompt) in
        [("/v1/completions", "prompt", json!("the")), ("/v1/chat/completions", "messages", chat)]
    {
        let mut plain = json!({"temperature": 0, "max_tokens": 6});
        plain[field] = prompt;
        let expected = server.post(path, &plain).await.choices();
        for (name, value) in &values {
            let mut body = plain.clone();
            body[*name] = value.clone();

            let answer = server.post(path, &body).await;

            assert_eq!(answer.status, 200, "{path} {name}: {value}: {}", answer.head);
            assert_eq!(answer.choices(), expected, "{path} {name}: {value}");
        }
        // As many as there is room for.
        plain["max_tokens"] = json!(-1);
        plain["nanoscope"] = json!({"stop_when": ["1-resid_post:0>-1e30"]});
        assert_eq!(server.post(path, &plain).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_chat_clients_send_is_accepted_or_refused_with_the_message_that_is_wrong() {
    let server = TestServer::new().await;
    let hi = json!([{"role": "user", "content": "hi"}]);
    for (field, value) in [
        ("min_p", json!(0)),
        ("repetition_penalty", json!(1.0)),
        ("top_k", json!(0)),
        ("top_k", json!(-1)),
        ("stop", json!("")),
        ("seed", json!(-1)),
    ] {
        let mut body = json!({"messages": hi, "temperature": 0, "max_tokens": 2});
        body[field] = value;
        let answer = server.post("/v1/chat/completions", &body).await;
        assert_eq!(answer.status, 200, "{body}");
    }
    let (user, assistant) = (("user", "a"), ("assistant", "hello"));
    for (roles, at, says) in [
        ([user, user].as_slice(), "messages[1].role", "join messages of the user"),
        (&[assistant, user], "messages[0].role", "the user begins a conversation"),
        (&[user, assistant, assistant, user], "messages[2].role", "expected user"),
        (&[user, ("system", "a"), user], "messages[1].role", "expected assistant, found system"),
    ] {
        let message = |(role, content): &(&str, &str)| json!({"role": role, "content": content});
        let body = json!({"messages": roles.iter().map(message).collect::<Vec<_>>()});
        let answer = server.post("/v1/chat/completions", &body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.json()["error"]["param"], at, "{body}");
        assert!(answer.error().contains(says), "{}", answer.error());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_body_is_refused_by_its_encoding() {
    let server = TestServer::new().await;
    let body = json!({"prompt": "the", "max_tokens": 1}).to_string();
    for (encoding, status) in
        [("gzip", 415), ("GZIP", 415), ("identity, br", 415), ("identity", 200), ("", 200)]
    {
        for path in ["/v1/completions", "/v1/tokenize"] {
            let headers = [("content-encoding", encoding)];
            let answer =
                raw(server.address, &request("POST", path, &headers, body.as_bytes())).await;

            if status == 415 {
                assert!(answer.error().contains(encoding), "{encoding}: {}", answer.error());
            }
            assert!(answer.status == status || path != "/v1/completions", "{encoding}");
            assert_eq!(answer.status == 415, status == 415, "{path} {encoding}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_are_rejected_with_a_reason() {
    let server = TestServer::with_limits(Limits { body: 100_000, ..Limits::default() }).await;
    let post = |body: &[u8]| request("POST", "/v1/completions", &[], body);
    let deep = [b"[".repeat(50_000), b"]".repeat(50_000)].concat();
    let nested = [b"{\"prompt\":".repeat(5000), b"1".to_vec(), b"}".repeat(5000)].concat();
    let long = json!({"prompt": "the dog ".repeat(12_000)}).to_string();
    let large = json!({"prompt": "a".repeat(1_000_000)}).to_string();
    let header = format!("x-a: {}\r\n", "b".repeat(100_000));
    let head = |rest: &str| format!("GET / HTTP/1.1\r\nhost: localhost\r\n{rest}\r\n").into_bytes();
    let cases: [(Vec<u8>, u16); 17] = [
        (post(b""), 400),
        (post(b"{"), 400),
        (post(b"null"), 400),
        (post(b"{\"prompt\": \"a\"} x"), 400),
        (post(b"{\"prompt\": \"\xff\xfe\"}"), 400),
        (post(b"{\"prompt\": \"\\ud800\"}"), 400),
        (post(b"{\"prompt\": \"a\", \"temperature\": 1e999}"), 400),
        (post(b"{\"prompt\": \"a\", \"temperature\": NaN}"), 400),
        (post(&deep), 400),
        (post(&nested), 400),
        (post(long.as_bytes()), 400),
        (post(large.as_bytes()), 413),
        (request("PUT", "/v1/completions", &[], b"{}"), 405),
        (request("GET", "/v1/nothing", &[], b""), 404),
        (request("GET", "/v1/models/gpt-4", &[], b""), 404),
        (head(&header), 431),
        (head(&"a: b\r\n".repeat(1000)), 431),
    ];
    for (bytes, status) in cases {
        let answer = raw(server.address, &bytes).await;

        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
        assert_eq!(answer.status, status, "{start}");
        // hyper answers with a bare status if the bytes are not an HTTP request at all.
        assert!(status == 431 || !answer.error().is_empty(), "{start}");
    }
    let garbage = raw(server.address, b"\x16\x03\x01 hello\r\n\r\n").await;
    assert_eq!(garbage.status, 400);
    assert_eq!(
        server.complete(&json!({"prompt": "the", "max_tokens": 1})).await["object"],
        "text_completion"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_key_only_who_has_it_is_answered() {
    let config = Config { api_keys: vec!["sesame".to_owned()], ..Config::default() };
    let server = TestServer::with(config).await;
    let ask = async |headers: &[(&str, &str)], path: &str| {
        raw(server.address, &request("GET", path, headers, b"")).await.status
    };

    assert_eq!(ask(&[], "/v1/models").await, 401);
    assert_eq!(ask(&[("authorization", "Bearer wrong")], "/v1/models").await, 401);
    assert_eq!(ask(&[], "/metrics").await, 401);
    assert_eq!(ask(&[], "/v1/nothing").await, 401);
    assert_eq!(ask(&[("authorization", "Bearer sesame")], "/v1/models").await, 200);
    assert_eq!(ask(&[("x-secret-key", "sesame")], "/v1/models").await, 200);
    assert_eq!(ask(&[], "/").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_others_are_not_answered_and_ours_is_told_to_load_nothing_else() {
    let server = TestServer::new().await;
    let ask = async |headers: &[(&str, &str)]| {
        raw(server.address, &request("GET", "/v1/models", headers, b"")).await
    };

    assert_eq!(ask(&[("host", "evil.example")]).await.status, 403);
    assert_eq!(ask(&[("origin", "http://evil.example")]).await.status, 403);
    assert_eq!(ask(&[("origin", "null")]).await.status, 403);
    assert_eq!(ask(&[("host", "127.0.0.1"), ("origin", "http://127.0.0.1")]).await.status, 200);
    let answer = server.get("/").await;
    let policy = answer.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none';") && policy.contains("frame-ancestors 'none'"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_is_listed_and_found_by_its_name() {
    let server = TestServer::new().await;

    let list = server.get("/v1/models").await.json();
    let one = server.get("/v1/models/lab").await.json();

    assert_eq!(list["data"], json!([one]));
    let whole = server.get("/v1/models").await;
    assert_eq!(whole.header("content-length"), Some(whole.body.len().to_string().as_str()));
    assert_eq!((&one["id"], &one["object"]), (&json!("lab"), &json!("model")));
    assert_eq!(server.get("/v1/models/default").await.status, 200);

    let owned = TestServer::named("somebody/tiny", Config::default()).await;
    for path in ["/v1/models/somebody/tiny", "/v1/models/somebody%2Ftiny"] {
        assert_eq!(owned.get(path).await.json()["id"], "somebody/tiny", "{path}");
    }
    let other = owned.get("/v1/models/somebody/else").await;
    assert_eq!((other.status, &other.json()["error"]["param"]), (404, &json!("model")));
    let not_text = owned.get("/v1/models/%ff").await;
    assert_eq!(not_text.status, 400, "{}", not_text.error());
}
