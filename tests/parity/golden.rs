//! The golden files in `tests/fixtures/golden`, and comparisons with them.

use std::collections::HashMap;
use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

use burn::tensor::{Tensor, bf16, f16};
use nanoscope_checkpoint::{LoadOptions, LoadedModel, MatrixDtype, ModelFiles, WeightDtype};
use nanoscope_testing::TINY_SHAPE;
use nanoscope_transformer::{Era, Gpt, GptShape, TokenBatch};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value as Json;

/// The tolerance of a GPU, whose kernels sum in another order.
const GPU_ATOL: f32 = 1e-3;

/// The tolerance on the test device of a comparison that holds within `cpu` on a CPU.
pub(crate) fn tolerance(cpu: f32) -> f32 {
    if on_gpu() { cpu.max(GPU_ATOL) } else { cpu }
}

pub(crate) fn on_gpu() -> bool {
    let device = std::env::var("NANOSCOPE_TEST_DEVICE");
    matches!(device.as_deref(), Ok("wgpu" | "cuda"))
}

/// Returns whether the test device is flex, whose kernels are optimised in test builds. Other devices take many
/// times as long for many passes.
pub(crate) fn on_flex() -> bool {
    std::env::var("NANOSCOPE_TEST_DEVICE").map_or(true, |device| device == "flex")
}

/// A folder of golden files: a model of one era, and what that era's code computed with it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Golden {
    /// The folder in `tests/fixtures/golden`. Those called `mid_…` are named after the nanochat commit that
    /// made them; those in `hf` were written and computed by transformers.
    pub(crate) folder: &'static str,
    /// The era of a nanochat model.
    pub(crate) era: Option<Era>,
}

/// The golden folders of nanochat's models. `old` and `head` have more than one key-value head; `head_win` and
/// `mid_e7ed208` have sequences longer than the attention window.
pub(crate) const NANOCHAT: [Golden; 10] = [
    Golden::new("old", Era::E0),
    Golden::new("mid_aa530cd", Era::E1),
    Golden::new("mid_e7ed208", Era::E3),
    Golden::new("mid_aba30cb", Era::E4),
    Golden::new("mid_6ed7d1d", Era::E5),
    Golden::new("head", Era::E6),
    Golden::new("head_win", Era::E6),
    Golden::new("../hf/single", Era::E0),
    Golden::new("../hf/bf16", Era::E0),
    Golden::new("../hf/other", Era::E0),
];

/// The golden folders of other families' models, computed in float64 from the stored weights.
pub(crate) const FAMILIES: [Golden; 18] = [
    Golden::family("../families/gemma1"),
    Golden::family("../families/gemma2"),
    Golden::family("../families/gemma2_shards_bf16"),
    Golden::family("../families/gemma3"),
    Golden::family("../families/gemma3_multimodal"),
    Golden::family("../families/gemma3_scaled"),
    Golden::family("../families/gpt2"),
    Golden::family("../families/gpt2_published"),
    Golden::family("../families/llama31"),
    Golden::family("../families/llama_linear_old"),
    Golden::family("../families/llama_tied_bias"),
    Golden::family("../families/mistral"),
    Golden::family("../families/nanochat"),
    Golden::family("../families/neox_serial"),
    Golden::family("../families/pythia"),
    Golden::family("../families/pythia_published"),
    Golden::family("../families/qwen2"),
    Golden::family("../families/qwen3"),
];

/// Other families' models that have between them every part that nanochat's lack.
const EVERY_PART: [&str; 5] = ["gpt2", "pythia_published", "llama31", "gemma2", "gemma3"];

/// Every golden folder, for a property of all models. On a GPU, where each model compiles kernels of its
/// own, those of other families are some that have every part.
pub(crate) fn all() -> impl Iterator<Item = Golden> {
    let is_taken = |golden: &Golden| {
        !on_gpu() || EVERY_PART.iter().any(|name| golden.folder.ends_with(&format!("/{name}")))
    };
    NANOCHAT.into_iter().chain(FAMILIES.into_iter().filter(is_taken))
}

/// The golden folders with SAEs.
pub(crate) const WITH_SAES: [Golden; 2] =
    [Golden::new("old", Era::E0), Golden::new("head", Era::E6)];

/// A random model of each era without a golden folder; those are compared with nanochat in
/// [`more_eras`](crate::more_eras).
pub(crate) fn unseen() -> impl Iterator<Item = (String, Gpt)> {
    [Era::E0p, Era::E1w, Era::E3b, Era::E4b].into_iter().map(|era| {
        let shape = GptShape { vocab_size: 300, n_layer: 3, n_embd: 32, ..TINY_SHAPE };
        let config = era.config(shape, (era >= Era::E1w).then_some("SL")).unwrap();
        (format!("random {era}"), Gpt::random(config, 1, &nanoscope_testing::test_device()))
    })
}

impl Golden {
    pub(crate) const fn new(folder: &'static str, era: Era) -> Self {
        Self { folder, era: Some(era) }
    }

    const fn family(folder: &'static str) -> Self {
        Self { folder, era: None }
    }

    pub(crate) fn dir(self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/golden").join(self.folder)
    }

    /// The folder of the model, which is beside its numbers or with them.
    pub(crate) fn model_dir(self) -> PathBuf {
        let inner = self.dir().join("hf");
        if inner.is_dir() { inner } else { self.dir() }
    }

    /// The base model, loaded as one of its era.
    #[track_caller]
    pub(crate) fn model(self) -> LoadedModel {
        load(&self.model_dir(), self.era)
    }

    pub(crate) fn expected(self) -> Arrays {
        Arrays::read(&self.dir().join("expected.safetensors"))
    }

    /// The expected features, reconstructions and steered logits of its SAEs.
    pub(crate) fn sae_expected(self) -> Arrays {
        Arrays::read(&self.dir().join("sae_expected.safetensors"))
    }

    pub(crate) fn manifest(self) -> Json {
        let path = self.dir().join("manifest.json");
        let text =
            std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub(crate) fn tokens(self) -> TokenBatch {
        TokenBatch::new(&self.token_rows()).unwrap()
    }

    pub(crate) fn token_rows(self) -> Vec<Vec<u32>> {
        let expected = self.expected();
        let tokens = expected.ints("tokens");
        tokens.rows().map(ids).collect()
    }
}

impl Display for Golden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.era {
            Some(era) => write!(f, "{} ({era})", self.folder),
            None => f.write_str(self.folder.trim_start_matches("../")),
        }
    }
}

pub(crate) fn ids(row: &[i64]) -> Vec<u32> {
    row.iter().map(|&id| u32::try_from(id).unwrap()).collect()
}

/// Loads the model in `path` or a folder below it.
#[track_caller]
pub(crate) fn load(path: &Path, era: Option<Era>) -> LoadedModel {
    let device = nanoscope_testing::test_device();
    let files = ModelFiles::find(path).unwrap();
    files.load_with(&device, LoadOptions { era, ..Default::default() }).unwrap()
}

/// A file of arrays.
#[derive(Debug)]
pub(crate) struct Arrays {
    path: PathBuf,
    floats: HashMap<String, Array<f32>>,
    ints: HashMap<String, Array<i64>>,
}

/// Numbers in row-major order.
#[derive(Debug)]
pub(crate) struct Array<T> {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<T>,
}

impl<T> Array<T> {
    /// The slices along the last dimension.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &[T]> {
        self.values.chunks_exact(*self.shape.last().unwrap())
    }
}

impl Arrays {
    pub(crate) fn read(path: &Path) -> Self {
        let bytes =
            std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let (mut floats, mut ints) = (HashMap::new(), HashMap::new());
        for (name, view) in file.iter() {
            let (shape, data) = (view.shape().to_vec(), view.data());
            match view.dtype() {
                Dtype::F32 => {
                    let values = numbers(data, f32::from_le_bytes);
                    floats.insert(name.to_owned(), Array { shape, values });
                }
                Dtype::I32 => {
                    let values = numbers(data, i32::from_le_bytes);
                    let values = values.into_iter().map(i64::from).collect();
                    ints.insert(name.to_owned(), Array { shape, values });
                }
                Dtype::I64 => {
                    let values = numbers(data, i64::from_le_bytes);
                    ints.insert(name.to_owned(), Array { shape, values });
                }
                other => panic!("{}: {name} is of {other:?}", path.display()),
            }
        }
        Self { path: path.to_owned(), floats, ints }
    }

    #[track_caller]
    pub(crate) fn floats(&self, name: &str) -> &Array<f32> {
        let found = self.floats.get(name);
        found.unwrap_or_else(|| panic!("{} has no floats `{name}`", self.path.display()))
    }

    /// The floats `name`, if the file has them.
    pub(crate) fn find(&self, name: &str) -> Option<&Array<f32>> {
        self.floats.get(name)
    }

    /// The lengths `T` of the arrays `ids_T`.
    pub(crate) fn lengths(&self) -> Vec<String> {
        self.ints.keys().filter_map(|name| Some(name.strip_prefix("ids_")?.to_owned())).collect()
    }

    #[track_caller]
    pub(crate) fn ints(&self, name: &str) -> &Array<i64> {
        let found = self.ints.get(name);
        found.unwrap_or_else(|| panic!("{} has no integers `{name}`", self.path.display()))
    }
}

fn numbers<T, const N: usize>(bytes: &[u8], from: fn([u8; N]) -> T) -> Vec<T> {
    let (numbers, rest) = bytes.as_chunks::<N>();
    assert!(rest.is_empty());
    numbers.iter().copied().map(from).collect()
}

/// The numbers of `x` on the host.
pub(crate) fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().iter::<f32>().collect()
}

/// The largest difference between two arrays; infinite if it is not a number or the lengths differ. Equal
/// infinities, as of masked scores, do not differ.
pub(crate) fn largest_error(found: &[f32], expected: &[f32]) -> f32 {
    if found.len() != expected.len() {
        return f32::INFINITY;
    }
    let error = |(a, b): (&f32, &f32)| if a == b { 0.0 } else { (a - b).abs() };
    let errors = found.iter().zip(expected).map(error);
    errors.fold(
        0.0,
        |largest, error| {
            if error.is_nan() { f32::INFINITY } else { largest.max(error) }
        },
    )
}

/// Asserts that `found` equals `expected` within `tolerance(cpu)`.
#[track_caller]
pub(crate) fn assert_close(what: impl Display, found: &[f32], expected: &[f32], cpu: f32) {
    let (found_len, expected_len) = (found.len(), expected.len());
    assert_eq!(found_len, expected_len, "{what}: how many numbers");
    let (error, atol) = (largest_error(found, expected), tolerance(cpu));
    println!("{what}: largest error {error:.2e}, tolerance {atol:.0e}");
    assert!(error <= atol, "{what}: largest error {error:.2e}, tolerance {atol:.0e}");
}

/// Asserts that `found` equals `expected`: bit for bit on a CPU, within its noise on a GPU.
///
/// On a GPU the arithmetic depends on which outputs are kept: a kernel that is fused with its
/// neighbours rounds differently.
#[track_caller]
pub(crate) fn assert_same(what: impl Display, found: &[f32], expected: &[f32]) {
    if on_gpu() {
        assert_close(what, found, expected, 0.0);
        return;
    }
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let error = largest_error(found, expected);
    assert!(bits(found) == bits(expected), "{what}: not the same bits, largest error {error:.2e}");
}

/// The numbers of a matrix rounded to `dtype`: to 8 bits by row or by column.
pub(crate) fn rounded(
    values: &[f32],
    columns: usize,
    by_row: bool,
    dtype: MatrixDtype,
) -> Vec<f32> {
    match dtype {
        MatrixDtype::Int8 => in_8_bits(values, columns, by_row),
        MatrixDtype::Float(WeightDtype::BF16) => {
            values.iter().map(|&value| bf16::from_f32(value).to_f32()).collect()
        }
        MatrixDtype::Float(WeightDtype::F16) => {
            values.iter().map(|&value| f16::from_f32(value).to_f32()).collect()
        }
        MatrixDtype::Float(WeightDtype::F32) => values.to_vec(),
    }
}

/// Rounds each row of a matrix, or each column, to multiples of a 127th of its largest number.
fn in_8_bits(values: &[f32], columns: usize, by_row: bool) -> Vec<f32> {
    let group = |at: usize| if by_row { at / columns } else { at % columns };
    let mut largest = vec![0.0_f32; columns.max(values.len() / columns)];
    for (at, value) in values.iter().enumerate() {
        largest[group(at)] = largest[group(at)].max(value.abs());
    }
    let rounded = |(at, value): (usize, &f32)| match largest[group(at)] / 127.0 {
        0.0 => 0.0,
        factor => (value / factor).round_ties_even() * factor,
    };
    values.iter().enumerate().map(rounded).collect()
}
