//! A running server with a small random model, and a second copy of the model to compare with.

use std::net::SocketAddr;
use std::time::Duration;

use burn::tensor::Tensor;
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{Generation, InterpretableModel, Plan, Sampling};
use nanoscope_sae::{Architecture, Sae, SaeConfig, SaeWeights};
use nanoscope_server::{Config, Limits, ServeError, ServedModel, serve};
use nanoscope_testing::{TINY_SHAPE, tiny_gpt};
use nanoscope_tokenizer::{Tokenizer, TokenizerParts};
use nanoscope_transformer::GptShape;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::client::{Answer, raw, request};

pub(crate) const HOOK: HookPoint = HookPoint::ResidPost(1);
/// The model's context length in tokens: enough for a text that takes seconds.
pub(crate) const CONTEXT: usize = 4096;

const SPECIAL: [&str; 5] =
    ["<|bos|>", "<|user_start|>", "<|user_end|>", "<|assistant_start|>", "<|assistant_end|>"];

pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    /// A copy of the served model.
    pub(crate) model: InterpretableModel,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<Result<(), ServeError>>,
}

impl TestServer {
    pub(crate) async fn new() -> Self {
        Self::with(Config::default()).await
    }

    pub(crate) async fn with_limits(limits: Limits) -> Self {
        Self::with(Config { limits, ..Config::default() }).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        Self::named("lab", config).await
    }

    pub(crate) async fn named(name: &str, config: Config) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let sae_info = [(HOOK, nanoscope_server::SaeInfo::default())].into();
        let scope = nanoscope::Microscope::new(model());
        let served = ServedModel { sae_info, ..ServedModel::new(scope, name.to_owned()) };
        let (stop, stopped) = oneshot::channel();
        let served = serve(listener, served, config, async { drop(stopped.await) });
        Self { address, model: model(), stop: Some(stop), served: tokio::spawn(served) }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        raw(self.address, &request("GET", path, &[], b"")).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        raw(self.address, &request("POST", path, &[], body.to_string().as_bytes())).await
    }

    /// The answer to a valid completion request.
    pub(crate) async fn complete(&self, body: &Value) -> Value {
        let answer = self.post("/v1/completions", body).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        answer.json()
    }

    /// Sends a request without reading any of the answer.
    pub(crate) async fn begin(&self, path: &str, body: &Value) -> TcpStream {
        use tokio::io::AsyncWriteExt;

        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let bytes = request("POST", path, &[], body.to_string().as_bytes());
        stream.write_all(&bytes).await.unwrap();
        stream
    }

    /// The value of a metric.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let text = String::from_utf8(self.get("/metrics").await.body).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }

    /// Waits until a metric has the given value.
    pub(crate) async fn until(&self, name: &str, value: f64) {
        for _ in 0..6000 {
            if self.metric(name).await == value {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{name} is {}, not {value}", self.metric(name).await);
    }

    /// Starts the server's shutdown.
    pub(crate) fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits until the server has shut down.
    pub(crate) async fn stopped(self) {
        self.served.await.unwrap().unwrap();
    }

    /// The token ids with which the server prompts the model for a text.
    pub(crate) fn ids(&self, text: &str) -> Vec<u32> {
        let tokenizer = self.model.tokenizer().unwrap();
        let mut ids = vec![tokenizer.bos().unwrap()];
        ids.extend(tokenizer.encode(text).unwrap());
        ids
    }

    pub(crate) fn generate(&self, text: &str, plan: &Plan, sampling: &Sampling) -> Generation<'_> {
        self.model.generate(&self.ids(text), plan, sampling).unwrap()
    }
}

/// A model of two blocks with random weights, whose tokens are all bytes and a few words, with an SAE of
/// unit vectors.
fn model() -> InterpretableModel {
    let device = nanoscope_testing::test_device();
    let words = ["the", " dog", " cat", "é", " and", "ing"];
    let single = (0..=u8::MAX).map(|byte| vec![byte]);
    let ranks: Vec<_> =
        single.chain(words.iter().map(|word| word.as_bytes().to_vec())).zip(0..).collect();
    let first = ranks.len() as u32;
    let special_tokens = SPECIAL.iter().map(ToString::to_string).zip(first..).collect();
    let tokenizer =
        Tokenizer::new(TokenizerParts { pattern: r" ?\w+|\W+".to_owned(), ranks, special_tokens });
    let tokenizer = tokenizer.unwrap();
    let shape =
        GptShape { sequence_len: CONTEXT, vocab_size: tokenizer.vocab_size(), ..TINY_SHAPE };
    let gpt = tiny_gpt(shape, &device);
    let eye = || Tensor::eye(64, &device);
    let zeros = || Tensor::zeros([64], &device);
    let sae = Sae::new(
        SaeConfig::new(64, 64, Architecture::SignedTopK { k: 4 }).unwrap(),
        SaeWeights::new(eye(), zeros(), eye(), zeros()),
    );
    let model = InterpretableModel::new(gpt).with_sae(HOOK, sae.unwrap()).unwrap();
    model.with_tokenizer(tokenizer).unwrap()
}
