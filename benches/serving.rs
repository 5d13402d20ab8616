//! The server under load, on loopback.
//!
//! `cargo bench --bench serving [-- --seconds 60]`
//!
//! Starts `nanoscope serve` with the demo and acts as its clients on the same machine. Each figure is a
//! ratio of two things measured in turn in one run. The run fails on an error, a chunk that is lost or
//! out of order, and a row that is never finished.

use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::handshake;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use nanoscope_testing::nanoscope;
use serde_json::{Value, json};
use tokio::net::TcpStream;

const HOOK: &str = "blocks.3.hook_resid_post";
const CLIENTS: usize = 64;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let seconds = args.iter().position(|arg| arg == "--seconds");
    let seconds = seconds.map_or(60, |at| args[at + 1].parse().expect("seconds are a number"));
    let server = Server::start();

    load(&server, Duration::from_secs(seconds)).await;
    stalled(&server).await;
    cancelled(&server).await;
    first_token(&server).await;
    tracking(&server).await;
    compare(&server).await;
}

/// The server process.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start() -> Self {
        let mut child = nanoscope!()
            .args(["serve", "--port", "0", "--log", "warn"])
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
    fn memory(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.expect("the server runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("Linux says it");
        let kilobytes = line.split_whitespace().nth(1).expect("a number follows");
        kilobytes.parse::<f64>().expect("a number") / 1024.0
    }

    async fn ask(&self, method: &str, path: &str, body: &Value) -> Response<Incoming> {
        let stream = TcpStream::connect(&self.address).await.expect("the server accepts");
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.expect("HTTP");
        tokio::spawn(connection);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.address)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)));
        let answer = sender.send_request(request.expect("a good request")).await;
        // The connection lives until the response is read.
        answer.expect("an answer")
    }

    /// The value of a gauge or counter of `/metrics`, summed over its labels.
    async fn metric(&self, name: &str) -> f64 {
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
struct Tokens {
    body: Incoming,
    buffer: Vec<u8>,
    position: Option<u64>,
    tracked: bool,
    finished: bool,
}

impl Tokens {
    async fn start(server: &Server, body: &Value) -> Self {
        let answer = server.ask("POST", "/v1/completions", body).await;
        assert_eq!(answer.status(), 200);
        let tracked = body["nanoscope"]["track"].is_array();
        Self { body: answer.into_body(), buffer: vec![], position: None, tracked, finished: false }
    }

    /// The next chunk, or `None` at the end of the stream.
    async fn chunk(&mut self) -> Option<Value> {
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
    async fn next(&mut self) -> bool {
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

    async fn count(mut self) -> u64 {
        let mut tokens = 0;
        while self.next().await {
            tokens += 1;
        }
        tokens
    }
}

fn request(tracked: bool, seed: u64, max_tokens: u64) -> Value {
    let mut body = json!({
        "model": "nanoscope", "prompt": "Once upon a time, there was a", "stream": true,
        "seed": seed, "max_tokens": max_tokens, "temperature": 0.8,
    });
    if tracked {
        body["nanoscope"] = json!({"track": [HOOK], "top": 8});
    }
    body
}

/// Tokens per second of `clients` clients that send requests back to back for `time`.
async fn speed(server: &Server, clients: usize, tracked: bool, time: Duration) -> f64 {
    let started = Instant::now();
    let one = |client: usize| async move {
        let mut tokens = 0;
        for round in 0.. {
            if started.elapsed() >= time {
                break;
            }
            let seed = (client * 1000 + round) as u64;
            let mut stream = Tokens::start(server, &request(tracked, seed, 100)).await;
            while stream.next().await {
                if started.elapsed() < time {
                    tokens += 1;
                }
            }
        }
        tokens
    };
    let all = futures_util::future::join_all((0..clients).map(one)).await;
    all.iter().sum::<u64>() as f64 / time.as_secs_f64()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

async fn load(server: &Server, time: Duration) {
    speed(server, 1, true, Duration::from_secs(3)).await;
    let alone = speed(server, 1, true, Duration::from_secs(10)).await;
    let done = Arc::new(AtomicBool::new(false));
    let memory = async {
        let mut samples = Vec::new();
        while !done.load(Ordering::Relaxed) {
            samples.push(server.memory());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        samples
    };
    let clients = async {
        let speed = speed(server, CLIENTS, true, time).await;
        done.store(true, Ordering::Relaxed);
        speed
    };
    let (samples, together) = tokio::join!(memory, clients);
    let again = speed(server, 1, true, Duration::from_secs(10)).await;
    let alone = f64::midpoint(alone, again);
    println!("{CLIENTS} streaming clients with tracking for {} s:", time.as_secs());
    println!(
        "  {together:.0} tokens/s together, {alone:.0} one client alone: {:.2} x",
        together / alone
    );
    let warm = &samples[samples.len() / 4..];
    let half = warm.len() / 2;
    let mean = |samples: &[f64]| samples.iter().sum::<f64>() / samples.len() as f64;
    let largest = samples.iter().copied().fold(0.0, f64::max);
    println!(
        "  memory: {:.0} MB in the first half after warm-up, {:.0} MB in the second; {largest:.0} MB at most",
        mean(&warm[..half]),
        mean(&warm[half..])
    );
    println!("  no error, no chunk lost or out of order");
}

async fn stalled(server: &Server) {
    let time = Duration::from_secs(5);
    let mut ratios = Vec::new();
    for _ in 0..3 {
        let free = speed(server, 8, true, time).await;
        let mut held = Vec::new();
        for seed in 0..4 {
            // The response is never read.
            held.push(Tokens::start(server, &request(true, seed, 200)).await);
        }
        ratios.push(speed(server, 8, true, time).await / free);
        drop(held);
    }
    println!(
        "8 clients beside 4 that read nothing: {:.2} x their speed alone",
        median(&mut ratios)
    );
}

async fn cancelled(server: &Server) {
    let mut state = 1_u64;
    let mut random = |below: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut after = Vec::new();
    for round in 0..2 {
        for batch in 0..(1000 / 50) {
            let of_batch: Vec<u64> = (0..50).map(|_| random(60)).collect();
            let streams = of_batch.into_iter().enumerate().map(|(client, tokens)| async move {
                let seed = (round * 10_000 + batch * 100 + client) as u64;
                let mut stream = Tokens::start(server, &request(true, seed, 200)).await;
                for _ in 0..tokens {
                    if !stream.next().await {
                        break;
                    }
                }
            });
            futures_util::future::join_all(streams).await;
        }
        let mut waited = 0;
        while server.metric("nanoscope_running_rows").await != 0.0 {
            waited += 1;
            assert!(waited < 50, "rows are left behind");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        after.push(server.memory());
    }
    println!(
        "1,000 cancelled streams, twice: no row left; {:.0} MB after the first, {:.0} MB after the second",
        after[0], after[1]
    );
}

/// Seconds until the first token.
async fn until_first(server: &Server, body: &Value) -> f64 {
    let started = Instant::now();
    let mut stream = Tokens::start(server, body).await;
    assert!(stream.next().await);
    started.elapsed().as_secs_f64()
}

async fn first_token(server: &Server) {
    let (mut fresh, mut cached) = (Vec::new(), Vec::new());
    for round in 0..30 {
        let words = ["the dog ran to the big red house and saw a bird. "; 14].concat();
        let mut body = request(false, 1, 4);
        body["prompt"] = json!(format!("Story {round}: {words}"));
        fresh.push(until_first(server, &body).await);
        cached.push(until_first(server, &body).await);
    }
    let (fresh, cached) = (median(&mut fresh), median(&mut cached));
    println!(
        "first token of a prompt of about 180 tokens: {:.2} x as late if its beginning is cached ({:.1} ms, {:.1} ms)",
        cached / fresh,
        cached * 1e3,
        fresh * 1e3
    );
}

async fn tracking(server: &Server) {
    let time = Duration::from_secs(4);
    let mut ratios = Vec::new();
    for _ in 0..5 {
        let without = speed(server, 8, false, time).await;
        ratios.push(speed(server, 8, true, time).await / without);
    }
    println!("8 streams with one SAE tracked: {:.2} x their speed without", median(&mut ratios));
}

async fn compare(server: &Server) {
    let steer = json!([format!("{HOOK}:1909:add:27")]);
    let body = |own: Value| {
        let mut body = request(true, 7, 150);
        for (key, value) in own.as_object().expect("an object") {
            body["nanoscope"][key] = value.clone();
        }
        body
    };
    let mut ratios = Vec::new();
    for _ in 0..15 {
        let started = Instant::now();
        let both = body(json!({"steer": steer, "compare": true}));
        let mut stream = Tokens::start(server, &both).await;
        while stream.chunk().await.is_some_and(|chunk| {
            stream.finished |= !chunk["choices"][0]["finish_reason"].is_null();
            true
        }) {}
        let together = started.elapsed().as_secs_f64();
        let started = Instant::now();
        Tokens::start(server, &body(json!({"steer": steer}))).await.count().await;
        Tokens::start(server, &body(json!({}))).await.count().await;
        ratios.push(together / started.elapsed().as_secs_f64());
    }
    println!("compare: {:.2} x the time of two requests", median(&mut ratios));
}
