//! `nanoscope serve`, from its first line of output to SIGTERM.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{CONTINUATION, OPENING, failure, nanoscope, signal};

/// Starts a server on a free port. Returns it with the address that it printed.
fn server(args: &[&str]) -> (Child, String) {
    let mut child = nanoscope(&["serve", "--port", "0"])
        .args(args)
        .into_command()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("nanoscope serves demo at http://");
    let address = address.unwrap_or_else(|| panic!("{line}")).trim_end_matches('/').to_owned();
    (child, address)
}

fn post(address: &str, body: &Value) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    let body = body.to_string();
    write!(
        stream,
        "POST /v1/completions HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    stream
}

#[test]
fn the_demo_is_served_as_it_generates_and_sigterm_ends_it() {
    let (mut child, address) = server(&["--log-format", "json"]);
    let mut body = json!({"prompt": OPENING, "temperature": 0, "max_tokens": 30});

    let mut answer = String::new();
    post(&address, &body).read_to_string(&mut answer).unwrap();
    body["stream"] = true.into();
    body["max_tokens"] = 400.into();
    body["n"] = 8.into();
    // This response is never read.
    let _stalled = post(&address, &body);
    std::thread::sleep(Duration::from_millis(300));
    let began = Instant::now();
    signal("TERM", child.id());
    let status = child.wait().unwrap();

    let json: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    let tokens = json["choices"][0]["nanoscope"]["tokens"].as_array().unwrap();
    let ids: Vec<_> = tokens.iter().map(|token| token["token_id"].as_u64().unwrap()).collect();
    assert_eq!(ids[..29], CONTINUATION[..29]);
    assert!(status.success(), "{status}");
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
    let mut log = String::new();
    child.stderr.unwrap().read_to_string(&mut log).unwrap();
    let first: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    assert_eq!(first["fields"]["path"], "/v1/completions");
    assert_eq!(first["fields"]["tokens"], 30);
    assert!(!log.contains(OPENING), "{log}");
}

#[test]
fn what_cannot_be_served_is_refused_with_what_to_do() {
    let (mut child, address) = server(&[]);
    let port = address.rsplit_once(':').unwrap().1;

    let taken = failure(&["serve", "--port", port]).0;
    let open = failure(&["serve", "--port", "0", "--host", "0.0.0.0"]).0;
    let filter = failure(&["serve", "--port", "0", "--log", "a=b=c"]).0;
    let name = failure(&["serve", "--port", "0", "--public-name", "https://lab.example"]).0;
    signal("TERM", child.id());
    child.wait().unwrap();

    assert!(name.contains("expected a host name, for example lab.example"), "{name}");
    assert!(taken.contains("the port is in use") && taken.contains("--port 0"), "{taken}");
    assert!(open.contains("requires a key") && open.contains("--insecure"), "{open}");
    assert!(filter.contains("--log a=b=c is not a valid filter"), "{filter}");
}
