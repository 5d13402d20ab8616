//! Clients that hold much or read slowly, beside others.

use std::time::{Duration, Instant};

use nanoscope_server::{Config, Limits};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::client::{Answer, raw, read, request};
use crate::test_server::{CONTEXT, TestServer};

const ROWS: &str = "nanoscope_running_rows";
const WAITING: &str = "nanoscope_queue_length";
const UNREAD: &str = "nanoscope_held{resource=\"unread_bytes\"}";
const PASSES: &str = "nanoscope_held{resource=\"passes\"}";
const SLOW: &str = "192.0.2.1";
const OTHER: &str = "192.0.2.2";

/// The longest time that a connection may be unread where a test is about something else, on a busy machine too.
const PATIENT: Duration = Duration::from_mins(30);

/// A server that takes the addresses of clients from a header.
async fn server(limits: Limits) -> TestServer {
    TestServer::with(Config { trust_forwarded_for: true, limits, ..Config::default() }).await
}

/// A text that does not end by itself, whose stream is larger than what sockets hold.
fn long(max_tokens: usize, n: usize) -> Value {
    json!({"prompt": "the", "temperature": 0, "max_tokens": max_tokens, "n": n, "stream": true,
        "nanoscope": {"track": ["all"], "steer": ["1-resid_post:5:add:1000@all"]}})
}

fn post(client: &str, path: &str, body: &Value) -> Vec<u8> {
    request("POST", path, &[("x-forwarded-for", client)], body.to_string().as_bytes())
}

/// Sends a request of the slow client, whose answer is not read.
async fn begin(server: &TestServer, body: &Value) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    // The system's own grows to megabytes.
    socket.set_recv_buffer_size(16 << 10).unwrap();
    let mut stream = socket.connect(server.address).await.unwrap();
    stream.write_all(&post(SLOW, "/v1/completions", body)).await.unwrap();
    stream
}

/// Sends two requests that take seconds, of which one runs and one waits, without reading their answers.
async fn two_passes(server: &TestServer) -> [TcpStream; 2] {
    let text = "the dog and the cat ".repeat(150);
    let batch = json!({"model": "lab", "prompts": vec![text; 64], "sourceSet": "resid_post",
        "selectedSources": [], "sortByTokenIndexes": [], "ignoreBos": false, "numResults": 1});
    let running = server.begin("/v1/activation/all-batch", &batch).await;
    let waiting = server.begin("/v1/activation/all-batch", &batch).await;
    server.until(PASSES, 2.0).await;
    [running, waiting]
}

async fn ask(server: &TestServer, client: &str, body: &Value) -> Answer {
    raw(server.address, &post(client, "/v1/completions", body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_served_at_once_beside_one_that_fills_rows_and_queue() {
    let server = server(Limits { rows: 8, queue: 8, ..Limits::default() }).await;
    let _first = begin(&server, &long(CONTEXT, 6)).await;
    server.until(ROWS, 6.0).await;
    let _second = begin(&server, &long(CONTEXT, 6)).await;
    server.until(WAITING, 6.0).await;

    let more = ask(&server, SLOW, &json!({"prompt": "the", "max_tokens": 2})).await;
    let other = ask(&server, OTHER, &json!({"prompt": "the", "max_tokens": 2})).await;

    assert_eq!(server.metric(WAITING).await, 6.0, "the other client waited for a text to end");
    assert_eq!(other.status, 200, "{}", other.error());
    assert_eq!(more.status, 429);
    assert_eq!(more.error(), "too many requests of this client are waiting");
    assert!(more.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads_take_no_places_and_are_complete_when_they_are_read() {
    const TOKENS: usize = 2500;
    let limits = Limits { rows: 2, queue: 0, write_timeout: PATIENT, ..Limits::default() };
    let server = server(limits).await;
    let mut slow = Vec::new();
    for rows in [1.0, 2.0] {
        slow.push(begin(&server, &long(TOKENS, 1)).await);
        server.until(ROWS, rows).await;
    }
    server.until(ROWS, 0.0).await;

    let unread = server.metric(UNREAD).await;
    for client in [SLOW, OTHER] {
        let answer = ask(&server, client, &json!({"prompt": "the", "n": 2, "max_tokens": 2})).await;
        assert_eq!(answer.status, 200, "{}", answer.error());
    }

    assert!(unread > 100_000.0, "all but {unread} bytes are in sockets");
    for mut stream in slow {
        let chunks = read(&mut stream).await.chunks();
        let tokens = chunks.iter().filter(|chunk| !chunk["nanoscope"]["position"].is_null());
        assert_eq!(tokens.count(), TOKENS);
        assert_eq!(chunks.last().unwrap()["nanoscope"]["end"], "max_tokens");
    }
    assert_eq!(server.metric(UNREAD).await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_is_disconnected_and_holds_nothing() {
    let limits = Limits { write_timeout: Duration::from_millis(300), ..Limits::default() };
    let server = server(limits).await;
    let mut streams = Vec::new();
    for _ in 0..2 {
        streams.push(begin(&server, &long(CONTEXT, 1)).await);
    }
    server.until(ROWS, 2.0).await;

    server.until(ROWS, 0.0).await;

    server.until(UNREAD, 0.0).await;
    // The one that asks.
    server.until("nanoscope_held{resource=\"connections\"}", 1.0).await;
    for mut stream in streams {
        let mut text = Vec::new();
        // The server may have reset the connection.
        let _ = stream.read_to_end(&mut text).await;
        assert!(!String::from_utf8_lossy(&text).contains("[DONE]"), "the text is complete");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_ends_cleanly_when_its_client_leaves_too_much_unread() {
    let limits = Limits { unread: 1 << 20, write_timeout: PATIENT, ..Limits::default() };
    let server = server(limits).await;
    let mut slow = begin(&server, &long(CONTEXT, 2)).await;
    server.until(ROWS, 2.0).await;
    server.until(ROWS, 0.0).await;

    let refused = ask(&server, SLOW, &json!({"prompt": "the", "max_tokens": 2})).await;
    let other = ask(&server, OTHER, &long(50, 1)).await;
    let chunks = read(&mut slow).await.chunks();

    assert_eq!(refused.status, 429);
    assert!(refused.error().starts_with("this client has not read its other answers"));
    assert_eq!(other.chunks().last().unwrap()["nanoscope"]["end"], "max_tokens");
    let ends: Vec<_> = chunks.iter().filter(|c| !c["nanoscope"]["end"].is_null()).collect();
    assert_eq!(ends.len(), 2);
    for end in ends {
        assert_eq!(end["nanoscope"]["end"], "unread");
        assert_eq!(end["choices"][0]["finish_reason"], "length");
    }
    assert_eq!(server.metric(UNREAD).await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_that_are_not_read_are_bounded_too() {
    let limits = Limits { unread: 1 << 20, write_timeout: PATIENT, ..Limits::default() };
    let server = server(limits).await;
    let mut whole = long(3000, 1);
    whole["stream"] = false.into();
    let _first = begin(&server, &whole).await;
    server.until(ROWS, 1.0).await;
    server.until(ROWS, 0.0).await;
    let held = "nanoscope_held{resource=\"generations\"}";
    server.until(held, 0.0).await;
    // The answer is larger than what sockets hold.
    while server.metric(UNREAD).await < 200_000.0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    let second = ask(&server, SLOW, &whole).await;
    let other = ask(&server, OTHER, &json!({"prompt": "the", "max_tokens": 2})).await;

    assert_eq!(other.status, 200, "{}", other.error());
    match second.status {
        429 => assert!(second.error().starts_with("this client has not read"), "{second:?}"),
        200 => assert_eq!(second.json()["choices"][0]["nanoscope"]["end"], "unread"),
        status => panic!("{status}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_wait_for_a_pass_are_503_when_the_server_shuts_down() {
    let mut server = TestServer::new().await;
    let passes = two_passes(&server).await;

    server.stop();

    for mut pass in passes {
        let answer = read(&mut pass).await;
        assert_eq!(answer.status, 503, "{}", String::from_utf8_lossy(&answer.body));
        assert_eq!(answer.json()["error"]["code"], "shutting_down");
        assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_is_tokenized_while_a_pass_runs_and_another_waits() {
    let server = TestServer::new().await;
    let _passes = two_passes(&server).await;

    let answer = server.post("/v1/tokenize", &json!({"model": "lab", "text": "the dog"})).await;

    assert_eq!(answer.status, 200, "{}", answer.error());
    assert_eq!(server.metric(PASSES).await, 2.0, "a pass has ended");
}

/// The client and the server share one thread, so a stream stops while anything else runs on it.
#[tokio::test]
async fn a_stream_goes_on_while_a_large_body_is_parsed() {
    let server = TestServer::new().await;
    let mut stream = server.begin("/v1/completions", &long(CONTEXT, 1)).await;
    server.until(ROWS, 1.0).await;
    // It is parsed, and asks for nothing.
    let biases: serde_json::Map<_, _> =
        (0..60_000).map(|at| (format!("k{at}"), Value::from(0))).collect();
    let body = json!({"prompt": "the", "max_tokens": 1, "logit_bias": biases});
    let mut large = server.begin("/v1/completions", &body).await;

    // All of the body is sent.
    let (sent, mut last, mut gap) = (Instant::now(), Instant::now(), Duration::ZERO);
    let (mut events, mut of_large) = (vec![0; 64 << 10], [0; 12]);
    let took = loop {
        tokio::select! {
            read = stream.read(&mut events) => {
                assert!(read.unwrap() > 0);
                gap = gap.max(last.elapsed());
                last = Instant::now();
            }
            read = large.read_exact(&mut of_large) => {
                read.unwrap();
                break sent.elapsed();
            }
        }
    };
    gap = gap.max(last.elapsed());

    assert_eq!(&of_large, b"HTTP/1.1 200");
    println!("the largest gap is {gap:?} of {took:?}");
    assert!(gap * 2 < took, "the stream stood still for {gap:?} of {took:?}");
}
