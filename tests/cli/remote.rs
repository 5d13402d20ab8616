//! Texts and stores at URLs, as far as they need no other program. tests/other_tools/remote has the rest.

use crate::failure;

const HOOK: &str = "blocks.2.hook_resid_post";

#[cfg(feature = "remote")]
#[test]
fn a_url_that_is_not_read_is_refused_with_what_is_read() {
    for (url, message) in [
        (
            "gs://bucket/texts",
            "`gs://` is not read; expected s3://BUCKET/PREFIX, https://… or http://…",
        ),
        ("file:///texts", "`file://` is not read"),
        ("s3:/bucket/texts", "`s3:` is not followed by two slashes and a name"),
        ("s3:bucket", "`s3:` is not followed by two slashes and a name"),
        ("s3://", "`` is not the name of a bucket"),
        ("https:example.org/a.txt", "`https:` is not followed by two slashes and a name"),
        ("https://example.org/texts/", "is a folder, and a web server cannot list one"),
    ] {
        for command in [
            &["collect", "--hook", HOOK, "--out", "never", "--text", url][..],
            &["train", "--hook", HOOK, "--out", "never", "--text", url],
            &["eval", "--text", url],
            &["index", "--text", url],
            &["dashboard", "--out", "never", "--text", url],
            &["label", "--via", "http://127.0.0.1:9/v1", "--as", "none", "--text", url],
        ] {
            let (error, code) = failure(command);

            assert!(error.contains(message), "{command:?}: {error}");
            assert_eq!(code, 2, "{command:?}: {error}");
        }
    }
    let (error, code) =
        failure(&["train", "--hook", HOOK, "--out", "never", "--store", "gs://b/s"]);
    assert!(error.contains("`gs://` is not read"), "{error}");
    assert_eq!(code, 2, "{error}");
}

#[cfg(feature = "remote")]
#[test]
fn a_secret_in_a_url_is_refused_and_not_repeated() {
    for url in [
        "s3://key:hunter2@bucket/texts",
        "https://me:hunter2@127.0.0.1/a.txt",
        "https://127.0.0.1/a.txt?X-Amz-Signature=hunter2",
    ] {
        let (error, code) = failure(&["eval", "--text", url]);

        assert!(error.contains("because URLs are printed and recorded"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
        assert_eq!(code, 2, "{error}");
    }
}

#[cfg(not(feature = "remote"))]
#[test]
fn a_program_without_the_feature_names_it() {
    for command in [
        &["eval", "--text", "s3://bucket/texts"][..],
        &["train", "--hook", HOOK, "--out", "never", "--store", "s3://bucket/store"],
    ] {
        let (error, _) = failure(command);

        assert!(error.contains("without the cargo feature `remote`"), "{error}");
    }
}

#[cfg(feature = "remote")]
#[test]
fn a_file_on_a_web_server_is_read_like_one_on_the_disk() {
    use std::fs;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    use crate::nanoscope;

    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let text = "Once upon a time there was a dog. The dog barked at the moon.\n".repeat(40);
    fs::write(at("a.txt"), &text).unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/texts/a.txt", server.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in server.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let request = lines.next().unwrap().unwrap();
            lines.find(|line| line.as_ref().is_ok_and(String::is_empty));
            let body = if request.starts_with("HEAD ") { "" } else { text.as_str() };
            let head = "HTTP/1.1 200 OK\r\nETag: \"one\"\r\nConnection: close\r\nContent-Length:";
            // A program that was stopped no longer reads.
            let _ = write!(stream, "{head} {}\r\n\r\n{body}", text.len());
        }
    });
    let collect = |text: &str, out: &str| {
        let out = at(out);
        let args = ["collect", "--hook", HOOK, "--context", "50", "--text", text, "--out", &out];
        nanoscope(&args).env("XDG_CACHE_HOME", at("cache")).success().stderr
    };

    collect(&at("a.txt"), "local");
    let first = collect(&url, "first");
    let second = collect(&url, "second");

    assert!(first.contains("1 file, 1 downloaded now"), "{first}");
    assert!(second.contains("1 file, 0 downloaded now"), "{second}");
    let manifest = |out: &str| fs::read_to_string(at(&format!("{out}/manifest.json"))).unwrap();
    assert_eq!(manifest("first"), manifest("local"));
    assert_eq!(manifest("second"), manifest("local"));
    let from = fs::read_to_string(at("first/collected_from.json")).unwrap();
    assert!(from.contains(&url), "{from}");
}
