use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// An OpenAI-compatible endpoint on this machine that answers from a rule. It stops with the test program.
#[derive(Debug)]
pub struct ChatEndpoint {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<ChatRequest>>>,
}

/// A request that an endpoint received.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatRequest {
    /// The method and the path, such as `POST /v1/chat/completions`.
    pub line: String,
    /// The header `Authorization`.
    pub authorization: Option<String>,
    /// The body; null if it is not JSON.
    pub body: Value,
}

impl ChatRequest {
    /// The text of the last message; empty without one.
    pub fn question(&self) -> &str {
        let messages = self.body["messages"].as_array();
        let last = messages.and_then(|messages| messages.last());
        last.and_then(|message| message["content"].as_str()).unwrap_or_default()
    }
}

/// An answer of an endpoint.
#[derive(Debug, Clone)]
pub struct ChatReply {
    /// The HTTP status.
    pub status: u16,
    /// Headers, such as `Retry-After: 1`.
    pub headers: Vec<String>,
    /// The body.
    pub body: Vec<u8>,
    /// The time before the answer.
    pub delay: Duration,
}

impl ChatReply {
    /// A completion with this text.
    pub fn says(text: &str) -> Self {
        let usage = json!({ "prompt_tokens": 100, "completion_tokens": 10 });
        let message = json!({ "role": "assistant", "content": text });
        let choice = json!({ "index": 0, "message": message, "finish_reason": "stop" });
        Self::new(200, json!({ "choices": [choice], "usage": usage }).to_string())
    }

    /// An answer with this status and body.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), delay: Duration::ZERO }
    }

    /// Adds a header, such as `Retry-After: 1`.
    #[must_use]
    pub fn header(mut self, header: &str) -> Self {
        self.headers.push(header.to_owned());
        self
    }
}

impl ChatEndpoint {
    /// Starts an endpoint. `rule` answers a request; it also gets the number of requests before it.
    ///
    /// # Panics
    /// If no port is free.
    pub fn start(rule: impl Fn(usize, &ChatRequest) -> ChatReply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (rule, received) = (Arc::new(rule), Arc::clone(&requests));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (rule, received) = (Arc::clone(&rule), Arc::clone(&received));
                thread::spawn(move || {
                    // A client that goes away ends only its own connection.
                    let _ = serve(&stream, |request| {
                        let before = {
                            let mut received = lock(&received);
                            received.push(request.clone());
                            received.len() - 1
                        };
                        rule(before, request)
                    });
                });
            }
        });
        Self { address, requests }
    }

    /// The address of the API.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<ChatRequest> {
        lock(&self.requests).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers one request.
fn serve(
    stream: &TcpStream,
    answer: impl FnOnce(&ChatRequest) -> ChatReply,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    let (mut length, mut authorization) = (0, None);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap_or(0),
            "authorization" => authorization = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let reply = answer(&ChatRequest { line, authorization, body });
    thread::sleep(reply.delay);
    let mut stream = stream;
    write!(stream, "HTTP/1.1 {} Said\r\nConnection: close\r\n", reply.status)?;
    write!(stream, "Content-Length: {}\r\n", reply.body.len())?;
    for header in &reply.headers {
        write!(stream, "{header}\r\n")?;
    }
    stream.write_all(b"\r\n")?;
    stream.write_all(&reply.body)?;
    stream.flush()
}
