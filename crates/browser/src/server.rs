// wasm-bindgen marks the attribute `jspi` as experimental by a deprecation.
#![cfg_attr(feature = "webgpu", allow(deprecated))]

use js_sys::{Function, Promise};
use nanoscope_server::{Config, InProcess, InProcessAnswer, Limits};
use wasm_bindgen::prelude::{JsCast, JsValue, wasm_bindgen};
use wasm_bindgen_futures::{JsFuture, spawn_local};

use crate::error::OpenError;
use crate::files::Files;

/// A model that answers the page's requests.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Server {
    server: InProcess,
}

/// An answer, whose body arrives in pieces. Freeing it ends the texts that are being written for it.
#[wasm_bindgen]
#[derive(Debug)]
pub struct Answer {
    answer: InProcessAnswer,
}

/// The limits of a server whose only client is the page that runs it.
fn limits() -> Limits {
    Limits { rows: 4, queue: 16, prefix_cache: 32 << 20, ..Limits::default() }
}

/// The exports that compute with the model. `attribute` is that of those which are suspended while a GPU is read.
macro_rules! exports {
    ($($attribute:ident)?) => {
        #[wasm_bindgen]
        impl Server {
            /// Opens the model in `model` with the SAEs in `saes`, or with those beside it. `topics` is JSON.
            ///
            /// `pause` is called after each token, with true before work that takes longer than a token. If it returns
            /// a promise, the next token waits for it, so that the worker can read its messages and send the tokens.
            ///
            /// # Errors
            /// [`OpenError`] if there is no model, a file is broken, an SAE does not fit the model, or the browser
            /// gives no access to a GPU that the program needs.
            $(#[wasm_bindgen($attribute)])?
            pub async fn open(
                model: Files,
                saes: Option<Files>,
                name: String,
                topics: Option<String>,
                pause: Function,
            ) -> Result<Self, OpenError> {
                Self::open_on_device(&model, saes.as_ref(), name, topics.as_deref(), pause).await
            }

            /// Answers a request. `path` is the path with the query, `body` is JSON or empty.
            $(#[wasm_bindgen($attribute)])?
            pub async fn answer(&self, method: String, path: String, body: Vec<u8>) -> Answer {
                Answer { answer: self.server.answer(&method, &path, body).await }
            }
        }

        #[wasm_bindgen]
        impl Answer {
            /// Waits for the next piece of the body, which includes those that have come after it; nothing after
            /// the last.
            $(#[wasm_bindgen($attribute)])?
            pub async fn next(&mut self) -> Option<Vec<u8>> {
                self.answer.next().await.map(Into::into)
            }
        }
    };
}

#[cfg(not(feature = "webgpu"))]
exports!();
#[cfg(feature = "webgpu")]
exports!(jspi);

impl Server {
    async fn open_on_device(
        model: &Files,
        saes: Option<&Files>,
        name: String,
        topics: Option<&str>,
        pause: Function,
    ) -> Result<Self, OpenError> {
        #[cfg(feature = "webgpu")]
        let device = nanoscope::device_of_browser().await?;
        #[cfg(not(feature = "webgpu"))]
        let device = nanoscope::device("auto")?;
        let served = crate::open::open(&device, model, saes, name, topics)?;
        let config = Config { limits: limits(), ..Config::default() };
        let (server, worker) = InProcess::new(served, config)?;
        let wait = async move |before_long: bool| {
            let promise = pause.call1(&JsValue::NULL, &before_long.into()).ok();
            if let Some(promise) = promise.and_then(|promise| promise.dyn_into::<Promise>().ok()) {
                // A promise that is broken is no reason to stop.
                let _ = JsFuture::from(promise).await;
            }
        };
        spawn_local(async move { worker.run_with_pauses(wait).await });
        Ok(Self { server })
    }
}

#[wasm_bindgen]
impl Answer {
    /// The HTTP status.
    #[wasm_bindgen(getter)]
    pub fn status(&self) -> u16 {
        self.answer.status()
    }

    /// The value of the header `name`, if it is there.
    pub fn header(&self, name: &str) -> Option<String> {
        self.answer.header(name).map(str::to_owned)
    }
}
