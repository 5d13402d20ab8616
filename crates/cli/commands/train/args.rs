//! The flags of `nanoscope train`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, ValueEnum};
use nanoscope_hooks::HookPoint;
use nanoscope_train::{ConfigError, PartialConfig};
use nanoscope_transformer::Era;
use toml::Value;

use crate::file_key::split;

/// Train SAEs on the activations of a model
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  nanoscope train --text stories.txt --hook blocks.2.hook_resid_post --out runs/a
      a top-k SAE for the demo model, eight times as wide as the activations
  nanoscope train --model ~/.cache/nanochat --text ~/.cache/nanochat/base_data \\
      --hook blocks.10.hook_resid_post --hook blocks.12.hook_resid_post \\
      --tokens 50000000 --out runs/b
      SAEs for your own model, at two hook points from one pass
  nanoscope train --store activations --hook blocks.2.hook_resid_post --architecture jump-relu \\
      --target-l0 32 --out runs/c
      on activations stored by `nanoscope collect`
  nanoscope train --print-config --architecture batch-top-k > run.toml
      every setting, with the paper its default comes from
  nanoscope train --config run.toml --lr 1e-4 --out runs/d
  nanoscope train --resume runs/d
      continues where the run was interrupted or killed, and ends with the same SAEs
  nanoscope train --resume runs/d --steps 2000
      trains the SAEs of a run further, on the same activations

A flag overrides the same setting in --config. Ctrl-C or SIGTERM finishes the step, saves a
checkpoint and exits with 130 or 143; a second one exits at once. docs/training.md describes the
folder of a run.")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(crate) struct TrainArgs {
    /// A TOML file with settings
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print a TOML file with every setting: the values of the flags, and the defaults
    #[arg(long)]
    pub(crate) print_config: bool,
    /// The folder of the run, which must be empty or not exist
    #[arg(long, short, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Continue the run in this folder, or in that of --out
    // Empty if no folder is named; a path cannot be empty.
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = "")]
    pub(crate) resume: Option<OsString>,

    /// A hook point to train an SAE for; may be repeated
    #[arg(long, value_name = "HOOK")]
    pub(crate) hook: Vec<HookPoint>,
    /// Files, folders or URLs (s3://, https://) with text to run the model on
    #[arg(long, value_name = "PATH", num_args = 1.., group = "source")]
    pub(crate) text: Vec<PathBuf>,
    /// Instead of texts: a folder written by `nanoscope collect`, or its URL (s3://, https://)
    #[arg(long, value_name = "DIR", group = "source")]
    pub(crate) store: Option<PathBuf>,
    /// Instead of texts: a file with a tensor [..., d_in], and after a colon the name of the tensor
    /// if there are several
    #[arg(long, value_name = "FILE[:KEY]", group = "source")]
    pub(crate) activations: Option<String>,
    /// The field of JSON objects and the column of CSV and parquet files with the text
    /// [default: text]
    #[arg(long, value_name = "NAME")]
    pub(crate) text_column: Option<String>,
    /// Stop at a line or row without a text, which is otherwise passed over and counted
    #[arg(long)]
    pub(crate) strict: bool,
    /// The maximum size of a document in memory; a longer line or row is an error
    /// [default: 16777216]
    #[arg(long, value_name = "N")]
    pub(crate) max_document_bytes: Option<u32>,
    /// The number of tokens per context [default: the model's context length, at most
    /// 2048]
    #[arg(long, value_name = "N")]
    pub(crate) context: Option<u32>,
    /// The model: nanochat's base folder, a checkpoint folder or file, a Hugging Face folder, the name
    /// of a model in Hugging Face's cache, or a folder that `convert` wrote [default: the built-in
    /// demo]
    #[arg(long, short, value_name = "PATH")]
    pub(crate) model: Option<PathBuf>,
    /// The folder of the tokenizer, or its tokenizer.json [default: where nanochat puts it]
    #[arg(long, value_name = "PATH")]
    pub(crate) tokenizer: Option<PathBuf>,
    /// The nanochat era of a checkpoint that fits several: E0 to E6
    #[arg(long, value_name = "ERA")]
    pub(crate) era: Option<Era>,
    /// The backend to run on: auto, flex, ndarray, wgpu or cuda [default: auto]
    #[arg(long, short, value_name = "NAME")]
    pub(crate) device: Option<String>,

    /// The architecture of the SAEs [default: top-k]
    #[arg(long, value_enum)]
    pub(crate) architecture: Option<ArchitectureArg>,
    /// The number of features of each SAE
    #[arg(long, value_name = "N", conflicts_with = "expansion")]
    pub(crate) d_sae: Option<u32>,
    /// The number of features as a multiple of the activation width [default: 8]
    #[arg(long, value_name = "N")]
    pub(crate) expansion: Option<u32>,
    /// The number of active features per activation, for top-k, batch-top-k and matryoshka
    /// [default: 32]
    #[arg(long, value_name = "N")]
    pub(crate) k: Option<u32>,
    /// The weight of the sparsity loss, for relu and gated [default: 5]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    pub(crate) l1: Option<f64>,
    /// The target number of active features per activation, for jump-relu [default: 32]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(crate) target_l0: Option<f64>,
    /// The number of activations to train on; they are reused if the source has fewer
    /// [default: 4096000]
    #[arg(long, value_name = "N", conflicts_with = "steps")]
    pub(crate) tokens: Option<u64>,
    /// The number of training steps, instead of --tokens
    #[arg(long, value_name = "N")]
    pub(crate) steps: Option<u64>,
    /// The number of activations per step [default: 4096]
    #[arg(long, value_name = "N")]
    pub(crate) batch: Option<u32>,
    /// The learning rate [default: c / sqrt(steps · features), at most 0.02, with c 4.5 for top-k, batch-top-k
    /// and matryoshka, 3 for jump-relu and relu, 1.5 for gated]
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    pub(crate) lr: Option<f64>,
    /// The random seed; the same seed gives the same SAEs [default: 0]
    #[arg(long, value_name = "S")]
    pub(crate) seed: Option<u64>,

    /// The number of steps between lines of metrics.jsonl [default: 10]
    #[arg(long, value_name = "N")]
    pub(crate) log_every: Option<u64>,
    /// The number of steps between evaluations on held-out activations [default: 100]
    #[arg(long, value_name = "N")]
    pub(crate) eval_every: Option<u64>,
    /// The number of steps between checkpoints [default: 250]
    #[arg(long, value_name = "N")]
    pub(crate) save_every: Option<u64>,
    /// The number of segments to hold out, spread over the source, or a fraction if below 1
    /// [default: one in twenty]
    #[arg(long, value_name = "N", value_parser = number, allow_hyphen_values = true)]
    pub(crate) hold_out: Option<Value>,
    /// Start even if the training is estimated to take more memory than there is
    #[arg(long)]
    pub(crate) ignore_memory: bool,
    /// Leave out the index of the features at the end of the run
    #[arg(long)]
    pub(crate) no_index: bool,
    /// Print one JSON object at the end
    #[arg(long, short)]
    pub(crate) json: bool,
}

/// The architectures that can be trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ArchitectureArg {
    /// The k largest features of each activation (Gao et al. 2024)
    TopK,
    /// The k largest features per activation on average (Bussmann et al. 2024)
    BatchTopK,
    /// Batch-top-k with nested groups of features (Bussmann et al. 2025)
    Matryoshka,
    /// A learned threshold per feature (Rajamanoharan et al. 2024)
    JumpRelu,
    /// ReLU with an L1 penalty that warms up (Conerly et al. 2024)
    Relu,
    /// Separate gates and magnitudes (Rajamanoharan et al. 2024)
    Gated,
}

impl TrainArgs {
    /// Sets the values of the flags in `draft`, over those it has.
    pub(crate) fn apply_to(&self, mut draft: PartialConfig) -> Result<PartialConfig> {
        let mut set = |key: &str, value: Option<Value>| match value {
            Some(value) => draft.set(key, value),
            None => Ok(()),
        };
        let path = |path: &Path| -> Result<Value> { Ok(text(path)?.into()) };
        let paths = |key: &Option<PathBuf>| key.as_deref().map(path).transpose();
        let count = |number: Option<u32>| number.map(|n| Value::from(i64::from(n)));

        // First, because it removes the settings of other architectures.
        let architecture = self.architecture.and_then(|name| name.to_possible_value());
        set("recipe.method.architecture", architecture.map(|name| name.get_name().into()))?;
        if !self.hook.is_empty() {
            let names: Vec<Value> = self.hook.iter().map(|hook| hook.to_string().into()).collect();
            set("hooks", Some(names.into()))?;
        }
        if !self.text.is_empty() {
            let texts: Vec<Value> =
                self.text.iter().map(|text| path(text)).collect::<Result<_>>()?;
            set("source.text", Some(texts.into()))?;
        }
        set("source.store", paths(&self.store)?)?;
        if let Some(activations) = &self.activations {
            let (file, tensor) = split(activations);
            set("source.activations", Some(path(&file)?))?;
            set("source.tensor", tensor.map(Into::into))?;
        }
        set("source.text-column", self.text_column.as_deref().map(Into::into))?;
        set("source.strict", self.strict.then_some(Value::Boolean(true)))?;
        set("source.max-document-bytes", count(self.max_document_bytes))?;
        set("source.context", count(self.context))?;
        set("source.model", paths(&self.model)?)?;
        set("source.tokenizer", paths(&self.tokenizer)?)?;
        set("source.era", self.era.map(|era| era.to_string().into()))?;
        set("device", self.device.as_deref().map(Into::into))?;
        set("recipe.d-sae", count(self.d_sae))?;
        set("recipe.expansion", count(self.expansion))?;
        set("recipe.method.k", count(self.k))?;
        set("recipe.method.l1", self.l1.map(Into::into))?;
        set("recipe.method.target-l0", self.target_l0.map(Into::into))?;
        set("recipe.tokens", whole("recipe.tokens", self.tokens)?)?;
        set("recipe.steps", whole("recipe.steps", self.steps)?)?;
        set("recipe.batch", count(self.batch))?;
        set("recipe.optimizer.lr", self.lr.map(Into::into))?;
        set("recipe.seed", whole("recipe.seed", self.seed)?)?;
        set("run.log-every", whole("run.log-every", self.log_every)?)?;
        set("run.eval-every", whole("run.eval-every", self.eval_every)?)?;
        set("run.save-every", whole("run.save-every", self.save_every)?)?;
        set("run.hold-out", self.hold_out.clone())?;
        set("out", paths(&self.out)?)?;
        Ok(draft)
    }
}

/// A count as a TOML integer, which is signed.
fn whole(key: &'static str, number: Option<u64>) -> Result<Option<Value>, ConfigError> {
    let of = |n: u64| {
        i64::try_from(n).map(Value::from).map_err(|_| ConfigError::Range {
            key,
            found: n.to_string(),
            expected: format!("at most {}", i64::MAX),
        })
    };
    number.map(of).transpose()
}

/// A path as a string, which TOML requires.
fn text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| anyhow::anyhow!("{} is not valid UTF-8", path.display()))
}

fn number(text: &str) -> Result<Value, &'static str> {
    let whole = text.parse::<i64>().map(Value::from);
    whole.or_else(|_| text.parse::<f64>().map(Value::from)).map_err(|_| "expected a number")
}
