//! The server under load, on loopback.
//!
//! `cargo bench --bench serving [-- --seconds 60]`
//!
//! Starts `nanoscope serve` with the demo and acts as its clients on the same machine. What is compared is
//! measured in turn in one run. The run fails on an error, a chunk that is lost or
//! out of order, and a row that is never finished.

mod client;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::client::{Server, Tokens, request};

const HOOK: &str = "blocks.3.hook_resid_post";
const CLIENTS: usize = 64;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let seconds = args.iter().position(|arg| arg == "--seconds");
    let seconds = seconds.map_or(60, |at| args[at + 1].parse().expect("seconds are a number"));
    let server = Server::start();

    burst(&server).await;
    load(&server, Duration::from_secs(seconds)).await;
    locked_out(&server).await;
    large_bodies(&server).await;
    slow_reader(&server).await;
    stalled(&server).await;
    cancelled(&server).await;
    first_token(&server).await;
    tracking(&server).await;
    compare(&server).await;
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
            let address = format!("198.51.100.{client}");
            let mut stream = Tokens::start_as(server, &address, &request(tracked, seed, 100)).await;
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

/// Memory before and after 64 long streams.
async fn burst(server: &Server) {
    Tokens::start(server, &request(true, 0, 50)).await.count().await;
    let before = server.memory();
    let (mut during, mut after) = (Vec::new(), Vec::new());
    for round in 0..2 {
        let streams = (0..CLIENTS as u64).map(|client| async move {
            let address = format!("198.51.100.{client}");
            let body = request(true, round * 1000 + client, 1500);
            Tokens::start_as(server, &address, &body).await.count().await
        });
        futures_util::future::join_all(streams).await;
        during.push(server.memory());
        // Freed memory is kept for ten seconds.
        tokio::time::sleep(Duration::from_secs(12)).await;
        after.push(server.memory());
    }
    println!(
        "memory: {before:.0} MB; at the end of {CLIENTS} streams of up to 1,500 tokens {:.0} MB and twelve seconds \
         later {:.0} MB; of as many more {:.0} and {:.0} MB",
        during[0], after[0], during[1], after[1]
    );
}

/// The first token of one client beside another that fills its share and reads nothing.
async fn locked_out(server: &Server) {
    let mut alone = Vec::new();
    for _ in 0..10 {
        alone.push(until_first(server, &request(true, 1, 4)).await);
    }
    let mut held = Vec::new();
    for seed in 0..2 {
        let mut body = request(true, seed, 1500);
        body["n"] = json!(72);
        held.push(server.ask_as("192.0.2.1", "POST", "/v1/completions", &body).await);
    }
    let mut beside = Vec::new();
    for _ in 0..10 {
        beside.push(until_first(server, &request(true, 1, 4)).await);
    }
    let (alone, beside) = (median(&mut alone), median(&mut beside));
    println!(
        "first token beside 144 texts of a client that reads nothing: {:.0} ms, alone {:.1} ms",
        beside * 1e3,
        alone * 1e3
    );
    drop(held);
    server.until_idle().await;
}

/// The largest gap in a stream beside bodies of a megabyte of ignored fields.
async fn large_bodies(server: &Server) {
    let ignored: serde_json::Map<_, _> =
        (0..70_000).map(|at| (format!("k{at}"), Value::from(0))).collect();
    let body = json!({"prompt": "Once", "max_tokens": 1, "logit_bias": ignored});
    let mut gaps = Vec::new();
    for bodies in [0, 5] {
        let done = AtomicBool::new(false);
        let large = async {
            for _ in 0..bodies {
                server.ask_as("192.0.2.1", "POST", "/v1/completions", &body).await;
            }
            if bodies == 0 {
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            done.store(true, Ordering::Relaxed);
        };
        let stream = async {
            let mut gap = Duration::ZERO;
            for seed in 0.. {
                let mut stream = Tokens::start(server, &request(true, seed, 400)).await;
                stream.next().await;
                let mut last = Instant::now();
                while stream.next().await {
                    gap = gap.max(last.elapsed());
                    last = Instant::now();
                }
                if done.load(Ordering::Relaxed) {
                    break;
                }
            }
            gap
        };
        gaps.push(tokio::join!(stream, large).0);
    }
    println!(
        "largest gap in a stream beside 5 bodies of {:.1} MB of ignored fields: {:.0} ms, without {:.0} ms",
        body.to_string().len() as f64 / 1e6,
        gaps[1].as_secs_f64() * 1e3,
        gaps[0].as_secs_f64() * 1e3
    );
}

/// A client that reads 6 kB per second, which takes longer than a client may read nothing.
async fn slow_reader(server: &Server) {
    let mut body = request(true, 3, 150);
    body["n"] = json!(4);
    let text = body.to_string();
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(8 << 10).expect("a small buffer");
    let address = server.address.parse().expect("an address");
    let mut stream = socket.connect(address).await.expect("the server accepts");
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        server.address,
        text.len()
    );
    stream.write_all((head + &text).as_bytes()).await.expect("it is sent");
    let (started, mut read, mut part) = (Instant::now(), Vec::new(), [0; 600]);
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        match stream.read(&mut part).await.expect("nothing is cut off") {
            0 => break,
            more => read.extend_from_slice(&part[..more]),
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let is_whole = read.windows(6).any(|six| six == b"[DONE]");
    assert!(is_whole, "the slow reader was cut off after {} bytes", read.len());
    println!(
        "a client that reads {:.1} kB per second got all of {:.0} kB in {seconds:.0} s",
        read.len() as f64 / seconds / 1e3,
        read.len() as f64 / 1e3
    );
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
        server.until_idle().await;
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
