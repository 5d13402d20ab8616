//! nanochat's models: where they lie, which era they are of, and their weights.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor};
use nanoscope_transformer::{Era, Gpt, GptConfig, Layout, ParamSpec, WeightSource};
use serde::Deserialize;

use crate::convert::Order;
use crate::error::CheckpointError;
use crate::folder::entries;
use crate::hugging_face;
use crate::json;
use crate::nanochat_config::{RawConfig, Recognised, recognise};
use crate::native;
use crate::shards::{INDEX_FILE, TensorSource, is_index};
use crate::tensors::Dtype;

/// A model's files, found but not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFiles {
    /// The file with the weights, or the index of those that have them.
    pub weights: PathBuf,
    /// The file that describes them; none if the weights' file does so itself.
    pub config: Option<PathBuf>,
    /// The folder of the tokenizer, if there is one where nanochat puts it.
    pub tokenizer: Option<PathBuf>,
}

/// A model read from files.
#[derive(Debug)]
pub struct LoadedModel {
    /// The model.
    pub gpt: Gpt,
    /// The era whose function it computes.
    pub era: Era,
    /// Eras with the same weights and another function, if no one said which is meant.
    pub also_fits: Vec<Era>,
}

/// Bytes of weights read so far, and in all.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// nanochat's folders of checkpoints, in the order in which one is looked for.
const SOURCES: [&str; 4] =
    ["base_checkpoints", "chatsft_checkpoints", "chatrl_checkpoints", "mid_checkpoints"];

/// Before every key if the model was compiled when it was saved.
const COMPILED: &str = "_orig_mod.";

impl ModelFiles {
    /// Finds the model at `path`: a weights file, a folder with checkpoints of several steps, a
    /// folder of such folders (`base_checkpoints`), nanochat's base folder, or a folder in our own
    /// form or in transformers' layout.
    ///
    /// Where there is a choice it is nanochat's: the tag `d<N>` with the highest `N`, else the
    /// newest folder; then the highest step. Of a base folder's sources, base comes first.
    ///
    /// # Errors
    /// [`CheckpointError::NoModel`] if there is none, [`CheckpointError::Io`] if a folder cannot
    /// be read.
    pub fn find(path: &Path) -> Result<Self, CheckpointError> {
        let metadata = fs::metadata(path).map_err(|source| CheckpointError::io(path, source))?;
        if metadata.is_file() {
            return Ok(Self::of_file(path));
        }
        let no_model = || CheckpointError::NoModel { path: path.to_owned() };
        let sources = SOURCES.iter().map(|name| path.join(name)).filter(|dir| dir.is_dir());
        for tags in sources.chain([path.to_owned()]) {
            if let Some(found) = Self::in_folder(&tags)? {
                return Ok(found);
            }
            if let Some(tag) = guess_tag(&tags)?
                && let Some(found) = Self::in_folder(&tag)?
            {
                return Ok(found);
            }
        }
        Err(no_model())
    }

    /// The model that lies directly in `dir`, of the highest step.
    fn in_folder(dir: &Path) -> Result<Option<Self>, CheckpointError> {
        // One file comes before several, as in transformers.
        for weights in [native::WEIGHTS_FILE, INDEX_FILE].map(|name| dir.join(name)) {
            if weights.is_file() {
                return Ok(Some(Self::of_file(&weights)));
            }
        }
        let steps = entries(dir)?.into_iter().filter_map(|path| Some((step_of(&path)?, path)));
        Ok(steps.max().map(|(_, path)| Self::of_file(&path)))
    }

    fn of_file(weights: &Path) -> Self {
        let config = match weights.file_name().and_then(|name| name.to_str()) {
            Some(native::WEIGHTS_FILE | INDEX_FILE) => {
                Some(weights.with_file_name(native::CONFIG_FILE))
            }
            Some(name) => name
                .strip_prefix("model_")
                .and_then(|rest| rest.strip_suffix(".pt"))
                .map(|step| weights.with_file_name(format!("meta_{step}.json"))),
            None => None,
        };
        // `<base>/base_checkpoints/d20/model_000100.pt` has its tokenizer in `<base>/tokenizer`.
        let absolute = std::path::absolute(weights).unwrap_or_else(|_| weights.to_owned());
        let tokenizer = absolute.ancestors().skip(1).take(3).find_map(|dir| {
            let own = dir.join("tokenizer.json").is_file().then(|| dir.to_owned());
            own.or_else(|| Some(dir.join("tokenizer")).filter(|dir| dir.is_dir()))
        });
        Self {
            weights: weights.to_owned(),
            config: config.filter(|path| path.is_file()),
            tokenizer,
        }
    }

    /// Reads the model onto `device`, one weight at a time.
    ///
    /// `era` settles what the weights leave open.
    ///
    /// # Errors
    /// [`CheckpointError`] naming file and tensor, with what was expected and found.
    pub fn load(
        &self,
        era: Option<Era>,
        device: &Device,
        progress: Progress<'_>,
    ) -> Result<LoadedModel, CheckpointError> {
        let description = self.describe(era)?;
        let mut source = StateDict {
            done: 0,
            total: description.bytes(),
            description: &description,
            device,
            progress,
        };
        let gpt = Gpt::load(description.config.clone(), &mut source, device)?;
        Ok(LoadedModel { gpt, era: description.era, also_fits: description.also_fits })
    }

    /// Reads everything about the model but its weights, and checks that these are all there.
    pub(crate) fn describe(&self, era: Option<Era>) -> Result<Description, CheckpointError> {
        let source = TensorSource::open(&self.weights)?;
        if native::is_native(&self.weights) || is_index(&self.weights) {
            let Some(config) = &self.config else {
                return Err(CheckpointError::NoConfig { path: self.weights.clone() });
            };
            // Only transformers writes an index.
            return if is_index(&self.weights) || hugging_face::is_transformers(config)? {
                hugging_face::describe(source, config, era)
            } else {
                native::describe(source, config, era)
            };
        }
        let value = |key| source.only().and_then(|file| file.value(key));
        let nested = value("model").is_some() && value("config").is_some();
        let raw: RawConfig = if nested {
            let value = value("config").expect("the config was just seen");
            json::from_value(&self.weights, json::from_pickle(value))?
        } else {
            self.meta()?
        };
        let prefix = prefix(&source, if nested { "model." } else { "" });
        let shape_of =
            |name: &str| source.info(&format!("{prefix}{name}")).map(|info| info.shape.clone());
        let starts = |name: &str| {
            let name = format!("{prefix}{name}");
            source.tensors().any(|(tensor, _)| tensor.starts_with(&name))
        };
        let recognised = recognise(&raw, starts, shape_of);
        let (era, also_fits) = settle(&self.weights, &recognised, era)?;
        let config = raw.config(era).map_err(|source| CheckpointError::Config {
            path: self.config.clone().unwrap_or_else(|| self.weights.clone()),
            source,
        })?;
        let raw = serde_json::to_value(&raw).expect("numbers and strings make JSON");
        let form = Form::Nanochat { prefix };
        let description = Description { source, form, config, era, also_fits, raw };
        description.check()?;
        Ok(description)
    }

    /// Every file that says what the model computes: those with the weights, by name, and the
    /// configuration.
    ///
    /// # Errors
    /// [`CheckpointError`] if there is an index and it names no files.
    pub fn all(&self) -> Result<Vec<PathBuf>, CheckpointError> {
        let mut files = TensorSource::open(&self.weights)?.files();
        files.extend(self.config.clone());
        Ok(files)
    }

    fn meta(&self) -> Result<RawConfig, CheckpointError> {
        /// nanochat writes more, different in each era; only the model's configuration is needed.
        #[derive(Deserialize)]
        struct Meta {
            model_config: RawConfig,
        }

        let Some(path) = &self.config else {
            return Err(CheckpointError::NoConfig { path: self.weights.clone() });
        };
        Ok(json::read::<Meta>(path)?.model_config)
    }
}

/// Everything known of a model before its weights are read.
#[derive(Debug)]
pub(crate) struct Description {
    pub(crate) source: TensorSource,
    pub(crate) form: Form,
    pub(crate) config: GptConfig,
    pub(crate) era: Era,
    pub(crate) also_fits: Vec<Era>,
    #[cfg_attr(not(feature = "sae"), expect(dead_code, reason = "only `inspect` shows it"))]
    /// The configuration as the file has it.
    pub(crate) raw: serde_json::Value,
}

/// Whose names and shapes the weights have.
#[derive(Debug)]
pub(crate) enum Form {
    /// nanochat's, with `prefix` before each name.
    Nanochat { prefix: String },
    /// Our own: nanochat's names, the shapes that weights have here.
    Native,
    /// transformers'. `tied`: the unembedding is the embedding.
    HuggingFace { tied: bool },
}

impl Form {
    fn name(&self, spec: &ParamSpec) -> String {
        match self {
            Self::Nanochat { prefix } => format!("{prefix}{}", spec.name),
            Self::Native => spec.name.clone(),
            Self::HuggingFace { tied } => hugging_face::name(spec, *tied),
        }
    }

    fn order(&self, spec: &ParamSpec) -> Order {
        match (self, spec.layout) {
            (Self::Native, _) | (_, Layout::Same) => Order::AsStored,
            (_, Layout::Transposed) => Order::Transposed,
        }
    }

    /// What the names of this model's weights begin with, and nothing else in the file does.
    fn root(&self) -> &str {
        match self {
            // Also weights that lack a prefix which all others have.
            Self::Nanochat { prefix } => prefix.strip_suffix(COMPILED).unwrap_or(prefix),
            Self::Native | Self::HuggingFace { .. } => "",
        }
    }
}

impl Description {
    /// Checks that each weight is there in the shape that a file has it in, and nothing else is.
    pub(crate) fn check(&self) -> Result<(), CheckpointError> {
        let mut expected = BTreeSet::new();
        for spec in self.config.params() {
            let name = self.form.name(&spec);
            let in_file = match self.form.order(&spec) {
                Order::AsStored => spec.shape,
                Order::Transposed => spec.file_shape(),
            };
            self.source.info_of_shape(&name, &in_file)?;
            expected.insert(name);
        }
        let of_model = |name: &&str| name.starts_with(self.form.root());
        match self
            .source
            .tensors()
            .map(|(name, _)| name)
            .filter(of_model)
            .find(|name| !expected.contains(*name))
        {
            Some(name) => Err(CheckpointError::UnexpectedTensor {
                path: self.source.path().to_owned(),
                tensor: name.to_owned(),
                era: self.era,
            }),
            None => Ok(()),
        }
    }

    /// Bytes of the weights in memory.
    pub(crate) fn bytes(&self) -> u64 {
        let numbers = |spec: &ParamSpec| spec.shape.iter().product::<usize>() as u64;
        self.config.params().iter().map(numbers).sum::<u64>() * Dtype::F32.size() as u64
    }
}

struct StateDict<'a> {
    description: &'a Description,
    device: &'a Device,
    done: u64,
    total: u64,
    progress: Progress<'a>,
}

impl WeightSource for StateDict<'_> {
    type Error = CheckpointError;

    fn weight<const D: usize>(&mut self, spec: &ParamSpec) -> Result<Tensor<D>, CheckpointError> {
        let Description { source, form, .. } = self.description;
        let data = source.read(&form.name(spec), &spec.shape, form.order(spec))?;
        self.done += data.num_elements() as u64 * Dtype::F32.size() as u64;
        (self.progress)(self.done, self.total);
        Ok(Tensor::from_data(data, self.device))
    }
}

/// What stands before the name of every weight.
fn prefix(source: &TensorSource, root: &str) -> String {
    let compiled = format!("{root}{COMPILED}");
    let is_compiled = source.tensors().any(|(name, _)| name.starts_with(&compiled));
    if is_compiled { compiled } else { root.to_owned() }
}

/// The era to read the weights as, and those that would read them otherwise.
fn settle(
    path: &Path,
    recognised: &Recognised,
    asked: Option<Era>,
) -> Result<(Era, Vec<Era>), CheckpointError> {
    let fits: &[Era] = match recognised {
        // Without padding the two are the same model.
        Recognised::Era(Era::E0) => &[Era::E0, Era::E0p],
        Recognised::Era(era) => std::slice::from_ref(era),
        Recognised::Ambiguous(eras) => eras,
        Recognised::Unsupported(what) => {
            return Err(CheckpointError::UnsupportedEra { path: path.to_owned(), what });
        }
    };
    match asked {
        None if fits[0] == Era::E0 => Ok((Era::E0, Vec::new())),
        None => Ok((fits[0], fits[1..].to_vec())),
        Some(era) if fits.contains(&era) => Ok((era, Vec::new())),
        Some(era) => {
            let fits = fits.to_vec();
            Err(CheckpointError::EraMismatch { path: path.to_owned(), asked: era, fits })
        }
    }
}

/// The tag that nanochat would take: `d<N>` with the highest `N`, else the newest folder.
fn guess_tag(dir: &Path) -> Result<Option<PathBuf>, CheckpointError> {
    let tags: Vec<PathBuf> = entries(dir)?.into_iter().filter(|path| path.is_dir()).collect();
    let depth = |path: &Path| {
        let digits = path.file_name()?.to_str()?.strip_prefix('d')?;
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        digits[..end].parse::<u64>().ok()
    };
    if let Some((_, path)) = tags.iter().filter_map(|path| Some((depth(path)?, path))).max() {
        return Ok(Some(path.clone()));
    }
    let modified = |path: &Path| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    Ok(tags.into_iter().filter(|path| has_steps(path)).max_by_key(|path| modified(path)))
}

fn has_steps(dir: &Path) -> bool {
    entries(dir).is_ok_and(|paths| paths.iter().any(|path| step_of(path).is_some()))
}

/// The step in `model_000100.pt`.
fn step_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix("model_")?.strip_suffix(".pt")?.parse().ok()
}
