//! The server without sockets and threads.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::Request;
use axum::response::Response;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use tower::ServiceExt;

use crate::app::app;
use crate::config::{Config, Limits};
use crate::error::{ApiError, ServeError};
use crate::generation::IdleWorker;
use crate::http::origin::AllowedHosts;
use crate::served_model::ServedModel;
use crate::state::AppState;

/// A server that answers requests of its own process: the same paths, bodies and events as over HTTP.
///
/// ```
/// use nanoscope::Microscope;
/// use nanoscope_server::{Config, InProcess, ServedModel};
/// # fn model() -> nanoscope_runtime::InterpretableModel { unimplemented!() }
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let served = ServedModel::new(Microscope::new(model()), "mine".to_owned());
/// let (server, worker) = InProcess::new(served, Config::default())?;
/// let writes = worker.run_with_pauses(async |_| tokio::task::yield_now().await);
/// let asks = async {
///     let body = br#"{"prompt": "Once upon a time", "stream": true}"#.to_vec();
///     let mut answer = server.answer("POST", "/v1/completions", body).await;
///     while let Some(event) = answer.next().await {
///         println!("{}", String::from_utf8_lossy(&event));
///     }
/// };
/// tokio::select! { () = writes => {}, () = asks => {} }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct InProcess {
    app: Router,
    state: AppState,
}

/// The part of an [`InProcess`] server that generates texts.
#[derive(Debug)]
pub struct TextWorker(IdleWorker);

/// A response, whose body arrives in pieces. Dropping it ends the texts that are being written for it.
#[derive(Debug)]
pub struct InProcessAnswer {
    response: Response,
    has_ended: bool,
}

impl InProcess {
    /// A server of `served`, and the worker that has to run for its texts. Of the limits in `config`, those of
    /// connections and of clients mean nothing here: there is one client, which may use everything.
    ///
    /// # Errors
    /// [`ServeError`] if the model has no tokenizer or the edited labels cannot be read.
    pub fn new(served: ServedModel, config: Config) -> Result<(Self, TextWorker), ServeError> {
        let hosts = AllowedHosts::for_address(std::net::Ipv4Addr::LOCALHOST.into(), &[]);
        // Its process is the only client, with one connection.
        let config = Config { limits: Limits { client_share: 100, ..config.limits }, ..config };
        let (state, worker) = AppState::open(served, config, 1)?;
        Ok((Self { app: app(state.clone(), hosts), state }, TextWorker(worker)))
    }

    /// Answers a request. `path` is the path with the query, `body` is JSON or empty.
    ///
    /// The first piece of a text waits for the worker.
    pub async fn answer(&self, method: &str, path: &str, body: Vec<u8>) -> InProcessAnswer {
        let request = Request::builder().method(method).uri(path).header("host", "localhost");
        let response = match request.body(Body::from(body)) {
            Ok(request) => match self.app.clone().oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            },
            Err(error) => axum::response::IntoResponse::into_response(ApiError::from_error(&error)),
        };
        InProcessAnswer { response, has_ended: false }
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        self.state.close();
    }
}

impl TextWorker {
    /// Generates the texts of all requests until the server is dropped, which ends them. After each step `pause`
    /// is awaited, in which the thread does other work. It is told whether a steered text is read again next, for
    /// its fluency, which takes longer than a step.
    pub async fn run_with_pauses(self, pause: impl AsyncFn(bool)) {
        self.0.run_with_pauses(pause).await;
    }
}

impl InProcessAnswer {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// The value of the header `name`, if it is there and text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// Waits for the next piece of the body, which includes those that have come after it; `None` after the last.
    pub async fn next(&mut self) -> Option<Bytes> {
        let mut piece = Vec::from(self.frame().await?);
        while let Some(Some(more)) = self.frame().now_or_never() {
            piece.extend_from_slice(&more);
        }
        Some(piece.into())
    }

    /// Waits for the next frame of the body that has data.
    async fn frame(&mut self) -> Option<Bytes> {
        while !self.has_ended {
            // A body of this process cannot break off.
            match self.response.body_mut().frame().await {
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data() {
                        return Some(piece);
                    }
                }
                // A body must not be asked again after its end.
                _ => self.has_ended = true,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::server_fixture::{application, ask_text, served_model};

    async fn text_of(mut answer: InProcessAnswer) -> String {
        let mut text = Vec::new();
        while let Some(piece) = answer.next().await {
            text.extend_from_slice(&piece);
        }
        String::from_utf8(text).unwrap()
    }

    /// Lets other work on the thread go on.
    async fn pause(_: bool) {
        tokio::task::yield_now().await;
    }

    /// Runs `work` with a server on one thread.
    async fn with_server<T>(work: impl AsyncFnOnce(&InProcess) -> T) -> T {
        let (server, worker) = InProcess::new(served_model(), Config::default()).unwrap();
        tokio::select! {
            () = worker.run_with_pauses(pause) => panic!("the worker ended"),
            done = work(&server) => done,
        }
    }

    /// Removes what differs between two answers to the same request.
    fn events(text: &str) -> Vec<Value> {
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        let data = data.filter(|data| *data != "[DONE]");
        data.map(|data| {
            let mut event: Value = serde_json::from_str(data).unwrap();
            for changing in ["id", "created"] {
                event.as_object_mut().unwrap().remove(changing);
            }
            event
        })
        .collect()
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_stream_with_features_and_steering_is_the_one_that_goes_over_http() {
        let body = json!({
            "prompt": "Once", "stream": true, "max_tokens": 8, "seed": 7, "temperature": 0.9,
            "nanoscope": {"track": ["all"], "top": 3, "steer": ["1-resid_post:7:add:30%"], "compare": true},
        });

        let here = with_server(async |server| {
            let answer = server.answer("POST", "/v1/completions", body.to_string().into()).await;
            assert_eq!(answer.status(), 200);
            text_of(answer).await
        })
        .await;

        let app = application(served_model(), Config::default());
        let (_, there) = ask_text(&app, "POST", "/v1/completions", &body).await;
        // The two texts of a comparison take turns as the thread does.
        let of_text = |text: &str, index: u64| -> Vec<Value> {
            let of = |event: &Value| event["choices"][0]["index"] == index;
            events(text).into_iter().filter(of).collect()
        };
        for index in [0, 1] {
            let (here, there) = (of_text(&here, index), of_text(&there, index));
            // The opening, tokens of a model that may stop by itself, and the end.
            assert!(here.len() >= 3 && here[1]["nanoscope"]["features"].is_object(), "{here:?}");
            assert!(here.last().unwrap()["choices"][0]["finish_reason"].is_string(), "{here:?}");
            assert_eq!(here, there);
        }
        assert!(here.ends_with("data: [DONE]\n\n"), "{here}");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_worker_ends_with_its_server_and_so_do_the_texts() {
        let (server, worker) = InProcess::new(served_model(), Config::default()).unwrap();
        let body = json!({"prompt": "Once", "stream": true, "max_tokens": 40, "temperature": 0});
        let asks = async move {
            let body = body.to_string();
            let mut answer = server.answer("POST", "/v1/completions", body.into()).await;
            answer.next().await.unwrap();
            drop(server);
            text_of(answer).await
        };

        let ((), text) = tokio::join!(worker.run_with_pauses(pause), asks);

        assert!(text.contains("shutting_down"), "{text}");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_text_ends_when_its_answer_is_dropped() {
        let body = json!({"prompt": "Once", "stream": true, "max_tokens": 40});

        let metrics = with_server(async |server| {
            let body = body.to_string();
            let mut answer = server.answer("POST", "/v1/completions", body.into()).await;
            answer.next().await.unwrap();
            drop(answer);
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
            text_of(server.answer("GET", "/metrics", Vec::new()).await).await
        })
        .await;

        assert!(metrics.contains("nanoscope_running_rows 0"), "{metrics}");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn other_paths_and_broken_requests_are_answered_as_over_http() {
        with_server(async |server| {
            let about = server.answer("GET", "/api/about", Vec::new()).await;
            assert_eq!(about.status(), 200);
            let about: Value = serde_json::from_str(&text_of(about).await).unwrap();
            assert_eq!(about["name"], "tiny");
            let cases = [("GET", "/nowhere", 404), ("GET", "/api/attribute", 405)];
            let broken = [
                ("POST", "/v1/completions", 400),
                ("A B", "/api/about", 400),
                ("GET", "no path", 400),
            ];
            for (method, path, status) in cases.into_iter().chain(broken) {
                let answer = server.answer(method, path, b"{".to_vec()).await;
                assert_eq!(answer.status(), status, "{method} {path}");
                let text = text_of(answer).await;
                assert!(text.starts_with("{\"error\":"), "{method} {path}: {text}");
            }
        })
        .await;
    }
}
