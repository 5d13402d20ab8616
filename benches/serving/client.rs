//! The server process, and streams that are checked as they arrive.

use std::process::{Child, Stdio};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::handshake;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use nanoscope_testing::nanoscope;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::HOOK;

/// The server process.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
}

impl Server {
    pub(crate) fn start() -> Self {
        let mut child = nanoscope!()
            .args(["serve", "--port", "0", "--log", "warn", "--trust-forwarded-for"])
            .into_command()
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary was built with the bench");
        let stdout = child.stdout.take().expect("it was piped");
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stdout));
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, rest) = line.split_once("http://")?;
            Some(rest.trim_end_matches('/').split('/').next()?.trim().to_owned())
        });
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address: address.expect("it says where it listens") }
    }

    /// Resident memory in megabytes.
    pub(crate) fn memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the server runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("Linux says it");
        let kilobytes = line.split_whitespace().nth(1).expect("a number follows");
        kilobytes.parse::<f64>().expect("a number") / 1024.0
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, body: &Value) -> Response<Incoming> {
        self.ask_as("127.0.0.1", method, path, body).await
    }

    /// Asks as the client with the address `client`.
    pub(crate) async fn ask_as(
        &self,
        client: &str,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Response<Incoming> {
        let stream = TcpStream::connect(&self.address).await.expect("the server accepts");
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.expect("HTTP");
        tokio::spawn(connection);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.address)
            .header("x-forwarded-for", client)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)));
        let answer = sender.send_request(request.expect("a good request")).await;
        // The connection lives until the response is read.
        answer.expect("an answer")
    }

    /// Waits until no generation runs.
    pub(crate) async fn until_idle(&self) {
        let mut waited = 0;
        while self.metric("nanoscope_running_rows").await != 0.0 {
            waited += 1;
            assert!(waited < 50, "rows are left behind");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The value of a gauge or counter of `/metrics`, summed over its labels.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let answer = self.ask("GET", "/metrics", &Value::Null).await;
        let text = answer.into_body().collect().await.expect("a body").to_bytes();
        let text = String::from_utf8(text.to_vec()).expect("text");
        let lines = text.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']))
        });
        let values: Vec<f64> = lines
            .map(|line| line.rsplit(' ').next().expect("a value").parse().expect("a number"))
            .collect();
        assert!(!values.is_empty(), "no {name} in the metrics");
        values.iter().sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A stream of tokens, checked as it arrives.
pub(crate) struct Tokens {
    body: Incoming,
    buffer: Vec<u8>,
    position: Option<u64>,
    tracked: bool,
    pub(crate) finished: bool,
}

impl Tokens {
    pub(crate) async fn start(server: &Server, body: &Value) -> Self {
        Self::start_as(server, "127.0.0.1", body).await
    }

    /// Starts a stream of the client with the address `client`.
    pub(crate) async fn start_as(server: &Server, client: &str, body: &Value) -> Self {
        let answer = server.ask_as(client, "POST", "/v1/completions", body).await;
        assert_eq!(answer.status(), 200);
        let tracked = body["nanoscope"]["track"].is_array();
        Self { body: answer.into_body(), buffer: vec![], position: None, tracked, finished: false }
    }

    /// The next chunk, or `None` at the end of the stream.
    pub(crate) async fn chunk(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\n\n") {
                let event: Vec<u8> = self.buffer.drain(..end + 2).collect();
                let event = std::str::from_utf8(&event).expect("events are text").trim();
                let Some(data) = event.strip_prefix("data: ") else { continue };
                if data == "[DONE]" {
                    assert!(self.finished, "a stream ended without a reason");
                    return None;
                }
                let chunk: Value = serde_json::from_str(data).expect("a chunk is JSON");
                assert!(chunk.get("error").is_none(), "{chunk}");
                return Some(chunk);
            }
            let frame = self.body.frame().await.expect("a stream says that it is done");
            if let Ok(data) = frame.expect("nothing is cut off").into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }

    /// Waits for the next token. Returns false at the end.
    pub(crate) async fn next(&mut self) -> bool {
        while let Some(chunk) = self.chunk().await {
            if !chunk["choices"][0]["finish_reason"].is_null() {
                self.finished = true;
            }
            let own = &chunk["nanoscope"];
            if let Some(position) = own["position"].as_u64() {
                let expected = self.position.map_or(position, |before| before + 1);
                assert_eq!(position, expected, "a chunk is lost or out of order");
                self.position = Some(position);
                let features = own["features"][HOOK].as_array().is_some_and(|f| !f.is_empty());
                assert_eq!(features, self.tracked, "{chunk}");
                return true;
            }
        }
        false
    }

    pub(crate) async fn count(mut self) -> u64 {
        let mut tokens = 0;
        while self.next().await {
            tokens += 1;
        }
        tokens
    }
}

/// A completion of up to `max_tokens` tokens.
pub(crate) fn request(tracked: bool, seed: u64, max_tokens: u64) -> Value {
    let mut body = json!({
        "model": "nanoscope", "prompt": "Once upon a time, there was a", "stream": true,
        "seed": seed, "max_tokens": max_tokens, "temperature": 0.8,
    });
    if tracked {
        body["nanoscope"] = json!({"track": [HOOK], "top": 8});
    }
    body
}
