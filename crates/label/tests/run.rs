//! Runs against an endpoint that answers from rules.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use nanoscope_checkpoint::Labels;
use nanoscope_label::{
    Answer, Client, ClientOptions, Endpoint, Event, Excerpt, Explained, ExplanationFile,
    LabelError, Material, Message, Origin, TestContext, label,
};
use nanoscope_testing::{ChatEndpoint, ChatReply, ChatRequest, byte_tokenizer};
use serde_json::{Value, json};

const FEATURES: usize = 100;

fn excerpt(text: &str) -> Excerpt {
    let tokens: Vec<u32> = text.bytes().map(u32::from).collect();
    let at = text.find("dog").unwrap_or(0) as u32;
    Excerpt::new(&byte_tokenizer(&[]), &tokens, &[(at, 1.0), (at + 1, 1.0), (at + 2, 1.0)])
}

/// A feature of dogs: one of its four contexts does not name them, and one of the others does.
fn material(feature: u32) -> Material {
    let context = |(text, fires): (&str, bool)| TestContext { excerpt: excerpt(text), fires };
    let contexts = [
        ("a dog ran", true),
        ("the sun", false),
        ("my dog", true),
        ("it barked", true),
        ("a hot dog", false),
        ("one dog", true),
        ("a tree", false),
        ("rain", false),
    ];
    Material {
        feature,
        density: 0.01,
        max: 1.0,
        shown: vec![excerpt("a dog sat"), excerpt("big dog")],
        contexts: contexts.map(context).into(),
    }
}

/// A model that explains everything as dogs and finds them by the word.
fn about_dogs(request: &ChatRequest) -> ChatReply {
    let question = request.question();
    if !question.starts_with("Description: dogs\n") {
        assert!(question.contains("Excerpt 1: a <<dog>> sat"), "{question}");
        return ChatReply::says("They name pets.\n[EXPLANATION]: dogs");
    }
    assert!(!question.contains("<<"), "{question}");
    let excerpts = question.lines().filter(|line| line.starts_with("Excerpt "));
    let verdicts: Vec<&str> =
        excerpts.map(|line| if line.contains("dog") { "1" } else { "0" }).collect();
    ChatReply::says(&format!("[{}]", verdicts.join(", ")))
}

fn client(endpoint: &ChatEndpoint, key: Option<&str>) -> Client {
    let options = ClientOptions {
        timeout: Duration::from_secs(20),
        first_wait: Duration::from_millis(1),
        ..ClientOptions::default()
    };
    Client::new(Endpoint::parse(&endpoint.url()).unwrap(), "m", key, options).unwrap()
}

fn file(path: &Path) -> ExplanationFile {
    let origin = Origin { hook: "h".to_owned(), sae: 1, settings: "s".to_owned() };
    ExplanationFile::read(path, origin).unwrap()
}

/// Runs until all is done, and returns what was labelled and the features without an explanation.
fn run(
    endpoint: &ChatEndpoint,
    features: std::ops::Range<u32>,
    concurrency: usize,
    path: &Path,
) -> (Result<(), LabelError>, Vec<Explained>, Vec<u32>) {
    let (mut labelled, mut unusable) = (Vec::new(), Vec::new());
    let work = features.map(material).collect();
    let result = label(client(endpoint, None), work, concurrency, &mut file(path), &mut |event| {
        match event {
            Event::Waiting => {}
            Event::Labelled(explained) => labelled.push(explained.clone()),
            Event::Unusable { feature, .. } => unusable.push(feature),
        }
        ControlFlow::Continue(())
    });
    (result, labelled, unusable)
}

/// The answer to one question, and the number of requests for it.
fn ask(
    key: Option<&str>,
    rule: impl Fn(usize, &ChatRequest) -> ChatReply + Send + Sync + 'static,
) -> (Result<Answer, LabelError>, Vec<ChatRequest>) {
    let endpoint = ChatEndpoint::start(rule);
    let message = Message { role: "user", content: "hello".to_owned() };
    let answer = client(&endpoint, key).ask(&[message], &AtomicBool::new(false));
    (answer, endpoint.requests())
}

#[test]
fn features_are_explained_scored_and_written() {
    let endpoint = ChatEndpoint::start(|_, request| about_dogs(request));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("explanations.jsonl");

    let (result, mut labelled, unusable) = run(&endpoint, 0..9, 4, &path);

    result.unwrap();
    assert!(unusable.is_empty());
    labelled.sort_by_key(|explained| explained.feature);
    assert_eq!(
        labelled.iter().map(|one| one.feature).collect::<Vec<_>>(),
        (0..9).collect::<Vec<_>>()
    );
    for explained in &labelled {
        assert_eq!(explained.explanation, "dogs");
        // 3 of 4 found, 3 of 4 rejected.
        assert_eq!(explained.detection.balanced_accuracy(), Some(0.75));
        assert_eq!((explained.usage.prompt_tokens, explained.usage.completion_tokens), (200, 20));
    }
    assert_eq!(endpoint.requests().len(), 18);
    let labels = Labels::read(dir.path(), FEATURES).unwrap();
    assert_eq!(labels.len(), 9);
    assert!(labels.iter().all(|(feature, label)| label == "dogs" && labels.is_automatic(feature)));
    assert_eq!(file(&path).done().len(), 9);
}

#[test]
fn a_request_is_as_openai_defines_it() {
    let (answer, requests) = ask(Some("sk-1"), |_, _| ChatReply::says("hi"));

    assert_eq!(answer.unwrap().text, "hi");
    assert_eq!(
        requests,
        [ChatRequest {
            line: "POST /v1/chat/completions".to_owned(),
            authorization: Some("Bearer sk-1".to_owned()),
            body: json!({
                "model": "m", "messages": [{"role": "user", "content": "hello"}],
                "max_tokens": 1024, "temperature": 0,
            }),
        }]
    );
    let (_, requests) = ask(None, |_, _| ChatReply::says("hi"));
    assert_eq!(requests[0].authorization, None);
}

#[test]
fn a_busy_endpoint_is_asked_again_after_the_wait_that_it_names() {
    let begun = Instant::now();
    let (answer, requests) = ask(None, |before, _| match before {
        0 => ChatReply::new(429, "{}").header("Retry-After: 0.4"),
        1 => ChatReply::new(500, "no"),
        2 => ChatReply::new(503, "<html>"),
        _ => ChatReply::says("hi"),
    });

    assert_eq!(answer.unwrap().text, "hi");
    assert_eq!(requests.len(), 4);
    assert!(begun.elapsed() >= Duration::from_millis(400));
}

#[test]
fn an_endpoint_that_stays_busy_is_given_up() {
    for (status, body, says) in [
        (429, r#"{"error":{"message":"quota"}}"#, "answered 429: quota"),
        (500, "oops", "answered 500"),
        (502, "", "answered 502"),
    ] {
        let (answer, requests) = ask(None, move |_, _| ChatReply::new(status, body));

        let error = answer.unwrap_err();
        assert!(matches!(error, LabelError::Refused { .. }), "{error:?}");
        assert!(error.to_string().ends_with(says), "{error}");
        assert_eq!(requests.len(), 6, "{status}");
    }
    let (answer, requests) = ask(None, |_, _| ChatReply::new(429, "").header("Retry-After: 86400"));
    assert_eq!(requests.len(), 1);
    let error = answer.unwrap_err().to_string();
    assert!(error.ends_with("answered 429 and asks to wait 86400 seconds"), "{error}");
}

#[test]
fn what_will_not_pass_is_not_asked_again() {
    let huge = json!({"choices": [{"message": {"content": "x".repeat(2 << 20)}}]}).to_string();
    for (reply, says) in [
        (ChatReply::new(401, r#"{"error":{"message":"bad key"}}"#), "answered 401: bad key"),
        (ChatReply::new(404, "<html>Not Found"), "answered 404"),
        (ChatReply::new(400, r#"{"error":"no such model"}"#), "answered 400: no such model"),
        (ChatReply::new(302, "").header("Location: http://127.0.0.1:1/"), "answered 302"),
        (ChatReply::new(200, "<html>"), "the answer is not JSON"),
        (ChatReply::new(200, b"\xff\xfe\0".as_slice()), "the answer is not JSON"),
        (ChatReply::new(200, "[".repeat(10_000)), "expected a string at line 1 column 4"),
        (ChatReply::new(200, "{}"), "missing field `choices`"),
        (ChatReply::new(200, r#"{"choices":[]}"#), "it has no choices"),
        (ChatReply::new(200, r#"{"error":{"message":"out of credit"}}"#), "out of credit"),
        (ChatReply::new(200, huge), "an answer of more than 1048576 bytes"),
        (ChatReply::new(404, "x".repeat(2 << 20)), "an answer of more than 1048576 bytes"),
    ] {
        let (answer, requests) = ask(None, move |_, _| reply.clone());

        let error = answer.unwrap_err().to_string();
        assert!(error.contains(says), "{says}: {error}");
        assert_eq!(requests.len(), 1, "{says}");
    }
}

#[test]
fn parameters_that_newer_models_refuse_are_given_up() {
    let (answer, requests) = ask(None, |_, request| {
        let refused =
            |message: &str| ChatReply::new(400, json!({"error": {"message": message}}).to_string());
        if request.body.get("max_tokens").is_some() {
            return refused("'max_tokens' is not supported. Use 'max_completion_tokens' instead.");
        }
        if request.body.get("temperature").is_some() {
            return refused("Unsupported value: 'temperature' does not support 0.");
        }
        ChatReply::says("hi")
    });

    assert_eq!(answer.unwrap().text, "hi");
    assert_eq!(requests.len(), 3);
    assert_eq!(requests[2].body["max_completion_tokens"], 1024);
}

#[test]
fn an_endpoint_that_is_not_there_is_an_error_at_once() {
    let options = ClientOptions { first_wait: Duration::from_mins(1), ..ClientOptions::default() };
    // Port 1 is reserved, and nothing listens there.
    let endpoint = Endpoint::parse("http://127.0.0.1:1/v1").unwrap();
    let client = Client::new(endpoint, "m", None, options).unwrap();
    let begun = Instant::now();
    let error = client.ask(&[], &AtomicBool::new(false)).unwrap_err();

    assert!(matches!(error, LabelError::Unreachable { .. }), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn an_answer_that_does_not_come_is_waited_for_twice() {
    let endpoint = ChatEndpoint::start(|_, _| ChatReply {
        delay: Duration::from_secs(30),
        ..ChatReply::says("late")
    });
    let options = ClientOptions {
        timeout: Duration::from_millis(200),
        first_wait: Duration::from_millis(1),
        ..ClientOptions::default()
    };
    let client =
        Client::new(Endpoint::parse(&endpoint.url()).unwrap(), "m", None, options).unwrap();
    let begun = Instant::now();
    let error = client.ask(&[], &AtomicBool::new(false)).unwrap_err();

    assert!(matches!(error, LabelError::Unreachable { .. }), "{error:?}");
    // The endpoint may notice a request only after the client has given it up.
    while begun.elapsed() < Duration::from_secs(30) && endpoint.requests().len() < 2 {
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(endpoint.requests().len(), 2);
}

#[test]
fn a_key_that_no_header_can_have_is_refused() {
    let endpoint = Endpoint::parse("http://localhost/v1").unwrap();
    let client = Client::new(endpoint, "m", Some("sk\n1"), ClientOptions::default());

    assert!(matches!(client, Err(LabelError::Key)));
}

#[test]
fn a_key_is_in_no_debug_output() {
    let endpoint = Endpoint::parse("http://localhost/v1").unwrap();
    let client = Client::new(endpoint, "m", Some("secret"), ClientOptions::default()).unwrap();

    assert!(!format!("{client:?}").contains("secret"));
}

#[test]
fn verdicts_that_cannot_be_read_leave_a_label_without_a_score() {
    let endpoint = ChatEndpoint::start(|_, request| {
        let is_test = request.question().starts_with("Description:");
        ChatReply::says(if is_test { "all of them!" } else { "[EXPLANATION]: dogs" })
    });
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("explanations.jsonl");
    let (result, labelled, _) = run(&endpoint, 0..1, 1, &path);

    result.unwrap();
    assert_eq!(labelled[0].detection.contexts(), 0);
    let line: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!((&line["score"], &line["nanoscope"]["tested"]), (&Value::Null, &json!(0)));
}

#[test]
fn some_answers_without_an_explanation_are_passed_over_and_many_end_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("explanations.jsonl");
    let sometimes = ChatEndpoint::start(|before, request| match before {
        0 | 1 => ChatReply::says(" \n"),
        _ => about_dogs(request),
    });
    let (result, labelled, unusable) = run(&sometimes, 0..4, 1, &path);
    result.unwrap();
    assert_eq!((labelled.len(), unusable), (2, vec![0, 1]));

    let never = ChatEndpoint::start(|_, _| ChatReply::says("…"));
    let (result, labelled, unusable) = run(&never, 10..40, 1, &path);
    assert!(matches!(result, Err(LabelError::NoExplanations { count: 5, .. })), "{result:?}");
    assert!(labelled.is_empty() && (5..7).contains(&unusable.len()), "{unusable:?}");
    assert!((5..7).contains(&never.requests().len()));
}

#[test]
fn after_an_error_what_is_done_stays_and_the_next_run_has_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("explanations.jsonl");
    let breaks = ChatEndpoint::start(|before, request| match before {
        0..6 => about_dogs(request),
        _ => ChatReply::new(401, r#"{"error":{"message":"key expired"}}"#),
    });
    let (result, labelled, _) = run(&breaks, 0..9, 1, &path);

    let error = result.unwrap_err().to_string();
    assert!(error.ends_with("answered 401: key expired"), "{error}");
    assert_eq!(labelled.len(), 3);
    assert_eq!(breaks.requests().len(), 7);
    assert_eq!(file(&path).done().iter().copied().collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn an_interruption_does_not_wait_for_answers() {
    let endpoint = ChatEndpoint::start(|before, request| ChatReply {
        delay: if before < 2 { Duration::ZERO } else { Duration::from_secs(15) },
        ..about_dogs(request)
    });
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("explanations.jsonl");
    let begun = Instant::now();
    let mut labelled = 0;
    let work = (0..9).map(material).collect();
    let result = label(client(&endpoint, None), work, 1, &mut file(&path), &mut |event| {
        labelled += usize::from(matches!(event, Event::Labelled(_)));
        let is_waiting = matches!(event, Event::Waiting) && labelled == 1;
        if is_waiting { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });

    assert!(matches!(result, Err(LabelError::Interrupted)), "{result:?}");
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(file(&path).done().len(), 1);
}
