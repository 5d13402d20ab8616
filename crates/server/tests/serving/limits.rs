//! Limits: full queues, slow clients, shutdown and large requests.

use std::time::{Duration, Instant};

use nanoscope_server::Limits;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{raw, read, request};
use crate::test_server::{CONTEXT, TestServer};

const ROWS: &str = "nanoscope_running_rows";

/// A request whose text takes seconds: it is steered so strongly that it repeats one token, which does
/// not end the text.
fn long() -> Value {
    json!({"prompt": "the", "temperature": 0, "max_tokens": CONTEXT, "stream": true,
        "nanoscope": {"track": ["all"], "steer": ["1-resid_post:5:add:1000@all"]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_to_a_full_queue_is_told_to_retry() {
    let server = TestServer::with_limits(Limits { rows: 1, queue: 1, ..Limits::default() }).await;
    let running = server.begin("/v1/completions", &long()).await;
    server.until(ROWS, 1.0).await;
    let waiting = server.begin("/v1/completions", &long()).await;
    server.until("nanoscope_queue_length", 1.0).await;

    let refused = server.post("/v1/completions", &json!({"prompt": "the"})).await;
    let never = server.post("/v1/completions", &json!({"prompt": "the", "n": 3})).await;
    drop(waiting);
    drop(running);
    server.until(ROWS, 0.0).await;
    let answer =
        server.complete(&json!({"prompt": "the", "max_tokens": 2, "temperature": 0})).await;

    assert_eq!(refused.status, 429);
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(refused.json()["error"]["code"], "rate_limit_exceeded");
    assert_eq!(never.status, 400, "{}", never.error());
    assert_eq!(never.json()["error"]["param"], "n");
    assert_eq!(answer["usage"]["completion_tokens"], 2);
    assert_eq!(server.metric("nanoscope_refusals_total{status=\"429\"}").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_frees_its_rows() {
    let server = TestServer::new().await;
    let mut body = long();
    body["n"] = 3.into();
    let mut whole = body.clone();
    whole["stream"] = false.into();
    for body in [body, whole] {
        let stream = server.begin("/v1/completions", &body).await;
        server.until(ROWS, 3.0).await;

        drop(stream);

        server.until(ROWS, 0.0).await;
    }
    // The prompt takes two of the positions.
    let whole = 6.0 * (CONTEXT - 2) as f64;
    let tokens = server.metric("nanoscope_tokens_generated_total").await;
    assert!(tokens < whole, "{tokens} tokens: they ran to their ends");
    // Texts that were cut are counted too.
    assert!(server.metric("nanoscope_generation_seconds_total").await > 0.0);
    assert!(server.metric("nanoscope_tokens_per_second_count").await >= 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn shutting_down_ends_streams_with_the_reason_and_cuts_off_who_does_not_read() {
    let limits =
        Limits { shutdown_grace: Duration::from_millis(1500), rows: 3, ..Limits::default() };
    let mut server = TestServer::with_limits(limits).await;
    let mut reader = server.begin("/v1/completions", &long()).await;
    let mut stalled = long();
    stalled["n"] = 2.into();
    let _stalled = server.begin("/v1/completions", &stalled).await;
    server.until(ROWS, 3.0).await;
    let reader = tokio::spawn(async move { read(&mut reader).await });
    let mut echo = long();
    echo["echo"] = true.into();
    let mut waiting = server.begin("/v1/completions", &echo).await;
    let chat = json!({"messages": [{"role": "user", "content": "the"}], "stream": true});
    let mut chatting = server.begin("/v1/chat/completions", &chat).await;
    let mut whole = server.begin("/v1/completions", &json!({"prompt": "the"})).await;
    server.until("nanoscope_queue_length", 3.0).await;
    let address = server.address;
    let began = Instant::now();

    server.stop();

    let chunks = reader.await.unwrap().chunks();
    let last = chunks.last().unwrap();
    assert_eq!(last["nanoscope"]["end"], "shutting_down");
    assert_eq!(last["choices"][0]["finish_reason"], "length");
    // A text that did not begin is an error, streamed or not.
    for waiting in [&mut waiting, &mut chatting, &mut whole] {
        let waited = read(waiting).await;
        assert_eq!(waited.status, 503, "{}", waited.error());
        assert_eq!(waited.json()["error"]["code"], "shutting_down");
        assert!(waited.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    }
    server.stopped().await;
    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
    assert!(TcpStream::connect(address).await.is_err(), "the port is still open");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_ends_when_its_time_is_up() {
    let limits = Limits { request_timeout: Duration::from_secs(1), ..Limits::default() };
    let server = TestServer::with_limits(limits).await;
    let mut body = long();
    body["stream"] = false.into();
    body["n"] = 8.into();

    let answer = server.complete(&body).await;

    let choice = &answer["choices"][0];
    assert_eq!(choice["nanoscope"]["end"], "time_out");
    assert_eq!(choice["finish_reason"], "length");
    assert!(answer["usage"]["completion_tokens"].as_u64().unwrap() > 0);
    server.until(ROWS, 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_does_not_begin_in_time_is_an_error_with_a_time_to_retry() {
    let limits = Limits { request_timeout: Duration::from_millis(1), rows: 1, ..Limits::default() };
    let server = TestServer::with_limits(limits).await;
    for stream in [false, true] {
        let mut body = long();
        body["stream"] = stream.into();
        body["prompt"] = json!("the dog and the cat ".repeat(100));
        let answer = server.post("/v1/completions", &body).await;

        assert_eq!(answer.status, 503, "{}", String::from_utf8_lossy(&answer.body));
        assert_eq!(answer.json()["error"]["code"], "time_out");
        assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_only_ends_its_requests_gets_its_answer() {
    let server = TestServer::new().await;
    let mut body = json!({"prompt": "the", "temperature": 0, "max_tokens": 12});
    let expected = server.post("/v1/completions", &body).await.choices();
    for stream in [false, true] {
        body["stream"] = stream.into();
        let mut client = server.begin("/v1/completions", &body).await;
        client.shutdown().await.unwrap();

        let answer = read(&mut client).await;

        assert_eq!(answer.status, 200);
        if stream {
            let chunks = answer.chunks();
            let pieces = chunks.iter().map(|chunk| chunk["choices"][0]["text"].as_str().unwrap());
            assert_eq!(pieces.collect::<String>(), expected[0]["text"].as_str().unwrap());
        } else {
            assert_eq!(answer.choices(), expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_ended_its_requests_and_waits_is_probed_and_gets_its_answer() {
    let server = TestServer::new().await;
    // The first probe is due after a second, and machines differ in speed.
    for n in [1, 2, 4, 8, 16] {
        let mut slow = long();
        slow["stream"] = false.into();
        slow["max_tokens"] = 2000.into();
        slow["n"] = n.into();
        let began = Instant::now();
        let mut client = server.begin("/v1/completions", &slow).await;
        client.shutdown().await.unwrap();
        let mut bytes = Vec::new();
        client.read_to_end(&mut bytes).await.unwrap();

        let text = String::from_utf8(bytes).unwrap();
        let last = text.trim_start_matches("HTTP/1.1 100 Continue\r\n\r\n");
        assert!(last.starts_with("HTTP/1.1 200 "), "{}", &text[..text.len().min(200)]);
        assert!(last.contains(&format!("\"completion_tokens\":{}", 2000 * n)));
        if began.elapsed() > Duration::from_secs(2) {
            assert!(last.len() < text.len(), "no probe");
            return;
        }
    }
    panic!("no answer took two seconds");
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_asked_for_as_http_says() {
    let server = TestServer::new().await;
    let ask = async |head: &str| {
        let bytes = format!("GET /v1/models {head}connection: close\r\n\r\n");
        raw(server.address, bytes.as_bytes()).await.status
    };

    assert_eq!(ask("HTTP/1.1\r\nhost: localhost\r\n").await, 200);
    assert_eq!(ask("HTTP/1.1\r\n").await, 400);
    assert_eq!(ask("HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n").await, 400);
    assert_eq!(ask("HTTP/1.0\r\n").await, 200);
    assert_eq!(ask("HTTP/1.0\r\nhost: evil.example\r\n").await, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_too_slow_is_not_waited_for() {
    let limits = Limits { read_timeout: Duration::from_millis(300), ..Limits::default() };
    let server = TestServer::with_limits(limits).await;
    let began = Instant::now();

    let mut head = TcpStream::connect(server.address).await.unwrap();
    head.write_all(b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\nx-a: ").await.unwrap();
    let mut rest = Vec::new();
    let _ = head.read_to_end(&mut rest).await;
    let mut body = request("POST", "/v1/completions", &[], b"{\"prompt\": \"the\"}");
    body.truncate(body.len() - 3);
    let slow = raw(server.address, &body).await;

    assert_eq!(slow.status, 408, "{}", slow.error());
    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_are_refused_and_those_before_it_are_not() {
    let server = TestServer::with_limits(Limits { connections: 2, ..Limits::default() }).await;
    let mut first = server.begin("/v1/completions", &long()).await;
    let _second = server.begin("/v1/completions", &long()).await;
    tokio::time::sleep(Duration::from_millis(200)).await;

    let mut third = TcpStream::connect(server.address).await.unwrap();
    let refused = read(&mut third).await;

    assert_eq!(refused.status, 503);
    let mut byte = [0];
    assert_eq!(first.read(&mut byte).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_that_begins_like_one_before_is_not_run_again_from_the_start() {
    let server = TestServer::new().await;
    let prompt = "the dog and the cat ".repeat(20);
    let body = json!({"prompt": prompt, "temperature": 0, "max_tokens": 5});

    let first = server.complete(&body).await;
    let second = server.complete(&body).await;

    assert_eq!(first["choices"][0]["nanoscope"]["reused"], 0);
    let reused = second["choices"][0]["nanoscope"]["reused"].as_u64().unwrap();
    assert!(reused >= 64, "{reused}");
    assert_eq!(second["usage"]["prompt_tokens_details"]["cached_tokens"], reused);
    assert_eq!(second["choices"][0]["text"], first["choices"][0]["text"]);
    assert_eq!(server.metric("nanoscope_prefix_hits_total").await, 1.0);

    // The prompt counts once, and so do its cached tokens.
    let mut three = body;
    three["n"] = 3.into();
    let whole = server.complete(&three).await;
    three["stream"] = true.into();
    three["stream_options"] = json!({"include_usage": true});
    let chunks = server.post("/v1/completions", &three).await.chunks();
    for usage in [&whole["usage"], &chunks.last().unwrap()["usage"]] {
        assert_eq!(usage["prompt_tokens"], first["usage"]["prompt_tokens"]);
        assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], reused);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_texts_than_there_can_be_are_refused_before_anything_is_made_of_them() {
    let server = TestServer::with_limits(Limits { rows: 1, queue: 1, ..Limits::default() }).await;
    let compare = json!({"compare": true, "steer": ["1-resid_post:5:add:1"]});
    let chat = json!([{"role": "user", "content": "the"}]);
    // The ids are not in the vocabulary: the request is rejected before they are checked.
    let cases = [
        ("/v1/completions", json!({"prompt": [[99_999], [99_999], [99_999]]}), "prompt", 3),
        ("/v1/completions", json!({"prompt": [[99_999], [99_999]], "n": 2}), "n", 4),
        ("/v1/completions", json!({"prompt": [99_999], "n": 3}), "n", 3),
        ("/v1/completions", json!({"prompt": [99_999], "n": 2, "nanoscope": compare}), "n", 4),
        ("/v1/chat/completions", json!({"messages": chat, "n": 128}), "n", 128),
    ];
    for (path, body, field, count) in cases {
        let answer = server.post(path, &body).await;

        assert_eq!(answer.status, 400, "{body}: {}", answer.error());
        let says =
            format!("{field}: {count} texts requested at once, but this server takes at most 2");
        assert_eq!(answer.error(), says, "{body}");
        assert_eq!(answer.json()["error"]["param"], field, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_does_not_say_how_many_tokens_gets_no_more_than_the_limit() {
    let server = TestServer::with_limits(Limits { max_tokens: 3, ..Limits::default() }).await;
    let mut body = long();
    body["stream"] = false.into();
    body.as_object_mut().unwrap().remove("max_tokens");

    let answer = server.complete(&body).await;

    assert_eq!(answer["usage"]["completion_tokens"], 3);
    assert_eq!(answer["choices"][0]["nanoscope"]["end"], "max_tokens");
}
