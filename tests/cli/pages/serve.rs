//! `nanoscope serve`, from its first line of output to SIGTERM.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nanoscope_checkpoint::{WeightDtype, save_sae};
use serde_json::{Value, json};

use crate::{CONTINUATION, OPENING, failure, nanoscope, signal};

/// Starts a server on a free port. Returns it with the address that it printed.
fn server(args: &[&str]) -> (Child, String) {
    start(nanoscope(&["serve", "--port", "0"]).args(args).into_command())
}

fn start(mut command: Command) -> (Child, String) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let address = line
        .trim()
        .split_once(" at http://")
        .filter(|(what, _)| what.starts_with("nanoscope serves"));
    let (_, address) = address.unwrap_or_else(|| panic!("{line}"));
    let address = address.trim_end_matches('/').to_owned();
    (child, address)
}

fn post(address: &str, body: &Value) -> TcpStream {
    send(address, "POST /v1/completions", &body.to_string())
}

fn send(address: &str, method_and_path: &str, body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "{method_and_path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    stream
}

/// The JSON of an answer.
fn answer(mut stream: TcpStream) -> Value {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).expect(&answer)
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
    let key = failure(&["serve", "--port", "0", "--api-key", "schlüssel"]).0;
    signal("TERM", child.id());
    child.wait().unwrap();

    assert!(key.contains("the API key has a character that no header can have"), "{key}");
    assert!(name.contains("expected a host name, for example lab.example"), "{name}");
    assert!(taken.contains("the port is in use") && taken.contains("--port 0"), "{taken}");
    assert!(open.contains("requires a key") && open.contains("--insecure"), "{open}");
    assert!(filter.contains("--log a=b=c is not a valid filter"), "{filter}");
}

/// The program with a home folder of its own.
fn at_home(home: &Path, args: &[&str]) -> Command {
    let mut command = nanoscope(args).into_command();
    command.env("HOME", home).env("XDG_DATA_HOME", home.join("data"));
    command
}

fn stdout_at_home(home: &Path, args: &[&str]) -> String {
    let output = at_home(home, args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Gives feature 1252 of an SAE a label, over two runs of the server. Returns the file that has it.
fn label_over_two_runs(home: &Path, args: &[&str], source: &str, label: &str) -> Value {
    let serve = [&["serve", "--port", "0", "--name", "demo"], args].concat();
    let path = format!("/api/saes/{source}/features/1252");
    let (mut child, address) = start(at_home(home, &serve));
    let body = json!({"label": label}).to_string();
    let saved = answer(send(&address, &format!("PUT {path}/label"), &body))["saved"].clone();
    signal("TERM", child.id());
    child.wait().unwrap();

    let (mut child, address) = start(at_home(home, &serve));
    let kept = answer(send(&address, &format!("GET {path}"), ""))["label"].clone();
    signal("TERM", child.id());
    child.wait().unwrap();
    if !saved["file"].is_null() {
        assert_eq!(kept, label);
    }
    saved
}

#[test]
fn a_label_given_on_the_page_outlives_the_server_and_is_shown_by_other_commands() {
    let home = tempfile::tempdir().unwrap();

    let saved = label_over_two_runs(home.path(), &[], "3-resid_post", "given by hand");

    // The demo lies in a cache, where nothing of a user's may be.
    let file = PathBuf::from(saved["file"].as_str().unwrap());
    assert!(file.starts_with(home.path().join("data/nanoscope/labels")), "{}", file.display());
    let found = ["features", "--hook", "blocks.3.hook_resid_post", "--grep", "given by hand"];
    assert!(stdout_at_home(home.path(), &found).contains("1252"));
    let story = ["generate", "--max-tokens", "4", "--temperature", "0", "--prompt", OPENING];
    let shown = stdout_at_home(home.path(), &story);
    assert!(shown.contains("given by hand"), "{shown}");
    // Other SAEs do not get it.
    let other = ["features", "--hook", "blocks.2.hook_resid_post", "--feature", "1252"];
    assert!(!stdout_at_home(home.path(), &other).contains("given by hand"));
}

#[test]
fn a_label_lies_beside_its_sae_and_is_lost_to_nobody() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("my saes");
    std::fs::create_dir(&dir).unwrap();
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/saes/layer_3");
    for name in ["cfg.json", "sae_weights.safetensors", "labels.json"] {
        std::fs::copy(demo.join(name), dir.join(name)).unwrap();
    }
    let came = std::fs::read(dir.join("labels.json")).unwrap();
    let sae = ["--sae", dir.to_str().unwrap()];

    let saved = label_over_two_runs(home.path(), &sae, "3-resid_post", "given by hand");

    let file = PathBuf::from(saved["file"].as_str().unwrap());
    assert_eq!(file.parent(), Some(std::fs::canonicalize(&dir).unwrap().as_path()));
    assert_eq!(std::fs::read(dir.join("labels.json")).unwrap(), came, "what came stays as it was");
    let found = [&["features", "--grep", "given by hand"], &sae[..]].concat();
    assert!(stdout_at_home(home.path(), &found).contains("1252"));
    let found = [&["features", "--grep", "dog"], &sae[..]].concat();
    assert!(stdout_at_home(home.path(), &found).contains("1909"));
}

#[test]
fn where_nothing_can_be_written_labels_stay_in_memory_with_the_reason() {
    let home = tempfile::tempdir().unwrap();
    // A file in the place of the folder, so that root cannot write there either.
    std::fs::write(home.path().join("data"), "").unwrap();

    let saved = label_over_two_runs(home.path(), &[], "3-resid_post", "given by hand");

    assert_eq!(saved["file"], Value::Null);
    assert!(saved["why_not"].as_str().unwrap().contains("could not read or write"), "{saved}");
}

#[test]
fn the_files_of_the_page_are_not_in_the_log() {
    let (mut child, address) = server(&[]);
    for path in ["/", "/assets/main.js", "/assets/nowhere.js"] {
        send(&address, &format!("GET {path}"), "").read_to_string(&mut String::new()).unwrap();
    }
    signal("TERM", child.id());
    child.wait().unwrap();

    let mut log = String::new();
    child.stderr.unwrap().read_to_string(&mut log).unwrap();
    assert!(!log.contains("main.js"), "{log}");
    assert!(log.contains("nowhere.js"), "what is not there is an event: {log}");
}

/// Saves an SAE of the output of block 1 of a model of width 32, whose features are its coordinates.
fn identity_sae_in(dir: &Path) {
    let device = nanoscope_testing::test_device();
    let sae = nanoscope_testing::identity_sae(32, 32, &device);
    let (hook, dtype) = (nanoscope_hooks::HookPoint::ResidPost(1), WeightDtype::F32);
    save_sae(dir, &sae, hook, None, dtype, &nanoscope_checkpoint::Metadata::new()).unwrap();
}

#[test]
fn neuronpedias_routes_omit_a_first_token_only_if_the_tokenizer_put_it_there() {
    let dir = tempfile::tempdir().unwrap();
    let sae = dir.path().join("sae");
    identity_sae_in(&sae);
    // Pythia's tokenizer puts nothing before a text, Gemma's a `<bos>`.
    for (family, first) in [("pythia_published", "Once"), ("gemma2", "Once")] {
        let model = format!("tests/fixtures/families/{family}/hf");
        let (mut child, address) = server(&["--model", &model, "--sae", sae.to_str().unwrap()]);
        let model = answer(send(&address, "GET /v1/models", ""))["data"][0]["id"].clone();
        let body =
            json!({"model": model, "source": "1-resid_post", "prompt": "Once upon", "index": "1"});

        let single = answer(send(&address, "POST /v1/activation/single", &body.to_string()));

        let tokens: Vec<&str> =
            single["tokens"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
        let text = tokens.concat().replace('▁', " ");
        assert!(text.trim_start().starts_with(first), "{family}: {single}");
        let values = single["activation"]["values"].as_array().unwrap();
        assert_eq!(values.len(), tokens.len(), "{family}");
        signal("TERM", child.id());
        child.wait().unwrap();
    }
}

#[test]
fn a_familys_chat_template_decides_on_the_order_of_messages() {
    let user = |text: &str| json!({"role": "user", "content": text});
    for (family, accepts) in [("llama31", true), ("gemma2", false)] {
        let (mut child, address) =
            server(&["--model", &format!("tests/fixtures/families/{family}/hf")]);
        let body = json!({"messages": [user("Hi"), user("there")], "max_tokens": 2});

        let answer = answer(send(&address, "POST /v1/chat/completions", &body.to_string()));

        assert_eq!(answer["choices"].is_array(), accepts, "{family}: {answer}");
        assert!(!answer.to_string().contains("nanochat's conversations"), "{family}: {answer}");
        signal("TERM", child.id());
        child.wait().unwrap();
    }
}

#[test]
fn the_page_is_opened_once_the_server_listens_and_a_failure_is_a_note() {
    let dir = tempfile::tempdir().unwrap();
    let opened = dir.path().join("opened");
    let opener = |script: &str| {
        use std::os::unix::fs::PermissionsExt;
        for name in ["xdg-open", "open"] {
            let path = dir.path().join(name);
            std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
    };
    let serve = || {
        let path = std::env::join_paths([dir.path(), Path::new("/bin")]).unwrap();
        let args = ["serve", "--open", "--port", "0", "--log", "error"];
        start(nanoscope(&args).env("PATH", path).into_command())
    };

    // The page can be read when it is opened.
    opener(&format!("echo \"$1\" > {0}.part && mv {0}.part {0}", opened.display()));
    let (mut child, address) = serve();
    let until = Instant::now() + Duration::from_secs(20);
    while !opened.exists() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(std::fs::read_to_string(&opened).unwrap(), format!("http://{address}/\n"));
    assert!(TcpStream::connect(&address).is_ok());
    signal("TERM", child.id());
    assert!(child.wait().unwrap().success());

    opener("exit 3");
    let (mut child, address) = serve();
    let mut note = String::new();
    BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut note).unwrap();
    assert!(note.starts_with("note: could not open a browser: ") && note.contains('3'), "{note}");
    let mut page = String::new();
    send(&address, "GET /", "").read_to_string(&mut page).unwrap();
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    signal("TERM", child.id());
    assert!(child.wait().unwrap().success());
}

/// The soft limit of open files of a process.
#[cfg(target_os = "linux")]
fn open_files(process: u32) -> u64 {
    let limits = std::fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn the_limit_of_open_files_is_raised_as_far_as_it_can_be() {
    let under = |limit: &str, args: &[&str]| {
        let program = nanoscope(&["serve", "--port", "0"]).args(args).into_command();
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{limit} && exec \"$0\" \"$@\"")]);
        shell.arg(program.get_program()).args(program.get_args());
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        let (child, address) = start(shell);
        // The address is printed before the limit is raised, and connections are accepted after it.
        let models = answer(send(&address, "GET /v1/models", ""));
        assert_eq!(models["object"], "list");
        child
    };

    let mut child = under("ulimit -Sn 128", &[]);
    assert!(open_files(child.id()) > 1000, "{}", open_files(child.id()));
    signal("TERM", child.id());
    child.wait().unwrap();

    // The hard limit cannot be raised, so there are fewer connections, and the log says so.
    let mut child = under("ulimit -n 200", &["--log", "warn"]);
    assert_eq!(open_files(child.id()), 200);
    signal("TERM", child.id());
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(log.contains("fewer connections") && log.contains("136"), "{log}");
    child.wait().unwrap();
}
