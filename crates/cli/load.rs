//! Loading of a model and its SAEs from flags.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use nanoscope_checkpoint::{
    Labels, LoadOptions, LoadedModel, ModelFiles, SaeOptions, SaePath, WeightDtype, load_saes_with,
    load_tokenizer, load_vector,
};
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{
    Condition, InterpretableModel, Intervention, Plan, Splice, Target, VectorName,
};
use nanoscope_tokenizer::Tokenizer;
use nanoscope_transformer::Era;

use crate::args::{GptArgs, ModelArgs, PlanArgs, SpliceArg, Track, VectorFlag};
use crate::demo;
use crate::terminal::messages::{Hint, note};
use crate::terminal::progress::with_spinner;

/// A model without SAEs, and the files it was loaded from.
pub(crate) struct Loaded {
    pub(crate) model: InterpretableModel,
    pub(crate) era: Era,
    pub(crate) files: ModelFiles,
    /// The folder of the demo, if the model is the demo.
    pub(crate) demo: Option<PathBuf>,
}

/// A model with its SAEs and the labels of their features.
pub(crate) struct Scope {
    pub(crate) model: InterpretableModel,
    pub(crate) labels: BTreeMap<HookPoint, Labels>,
    /// True if the model lies where nanochat puts models trained on conversations.
    pub(crate) converses: bool,
}

/// The parts of a plan.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct PlanParts {
    pub(crate) track: BTreeSet<HookPoint>,
    pub(crate) steer: Vec<Intervention>,
    pub(crate) vectors: Vec<(VectorName, Vec<f32>)>,
    pub(crate) stop_when: Vec<Condition>,
}

impl PlanParts {
    pub(crate) fn plan(&self) -> Plan {
        let plan = self.track.iter().copied().fold(Plan::new(), Plan::track);
        let vectors = self.vectors.iter().cloned();
        let plan = vectors.fold(plan, |plan, (name, values)| plan.vector(name, values));
        let plan = self.steer.iter().cloned().fold(plan, Plan::intervene);
        self.stop_when.iter().copied().fold(plan, Plan::stop_when)
    }
}

/// nanochat's folders for checkpoints trained on conversations.
const CHAT_CHECKPOINTS: [&str; 3] =
    ["mid_checkpoints", "chatsft_checkpoints", "chatrl_checkpoints"];

/// The smallest file size for which loading shows a progress bar.
const PROGRESS_BYTES: u64 = 100 << 20;

impl Loaded {
    pub(crate) fn new(args: &GptArgs) -> Result<Self> {
        let device = nanoscope_device::by_name(&args.device)?;
        let demo = args.model.is_none().then(demo::unpack).transpose()?;
        let path =
            args.model.clone().or(demo.clone()).expect("the demo replaces a missing --model");

        let files = ModelFiles::find(&path)?;
        let bar = ProgressBar::hidden();
        let loaded = files.load_with(
            &device,
            LoadOptions {
                era: args.era,
                progress: Some(&mut |done, total| show(&bar, done, total)),
            },
        )?;
        bar.finish_and_clear();
        note_ambiguous_era(&loaded);

        let mut model = InterpretableModel::new(loaded.gpt);
        let tokenizer = args.tokenizer.as_ref().or(files.tokenizer.as_ref());
        if let Some(dir) = tokenizer {
            model = model.with_tokenizer(load_tokenizer(dir)?).with_context(|| {
                format!("the tokenizer in {} does not fit the model", dir.display())
            })?;
        }
        Ok(Self { model, era: loaded.era, files, demo })
    }

    pub(crate) fn tokenizer(&self) -> Result<&Tokenizer> {
        tokenizer(&self.model, "name its folder with --tokenizer")
    }
}

/// The tokenizer of `model`, or an error with `hint` if the model has none.
pub(crate) fn tokenizer<'m>(
    model: &'m InterpretableModel,
    hint: &'static str,
) -> Result<&'m Tokenizer> {
    let hint = || Hint::new("the model has no tokenizer", hint).into();
    model.tokenizer().ok_or_else(hint)
}

impl Scope {
    pub(crate) fn load(args: &ModelArgs) -> Result<Self> {
        let loaded = Loaded::new(&args.gpt)?;
        let paths = sae_paths(&loaded, args);
        let converses = CHAT_CHECKPOINTS
            .iter()
            .any(|dir| loaded.files.weights.components().any(|part| part.as_os_str() == *dir));
        let mut model = loaded.model;
        let device = model.gpt().device().clone();
        let dtype = args.sae_dtype.map_or(WeightDtype::F32, Into::into);
        let mut labels = BTreeMap::new();
        for sae in with_spinner("loading the SAEs", || {
            load_saes_with(paths, &device, &SaeOptions { dtype, ..Default::default() })
        })? {
            let (hook, hook_out) = (sae.hook()?, sae.hook_out()?);
            let put = match hook_out {
                Some(write) if write != hook => model.with_transcoder(hook, write, sae.sae),
                _ => model.with_sae(hook, sae.sae),
            };
            model =
                put.with_context(|| format!("{} does not fit the model", sae.path.display()))?;
            labels.insert(hook, sae.labels);
        }
        Ok(Self { model, labels, converses })
    }

    /// Builds the plan for the flags.
    pub(crate) fn plan(&self, args: &PlanArgs) -> Result<Plan> {
        Ok(self.plan_parts(args)?.plan())
    }

    pub(crate) fn plan_parts(&self, args: &PlanArgs) -> Result<PlanParts> {
        let mut parts = PlanParts { stop_when: args.stop_when.clone(), ..PlanParts::default() };
        for track in &args.track {
            match track {
                Track::Hook(hook) => drop(parts.track.insert(*hook)),
                Track::All if self.model.saes().is_empty() => {
                    let hint = Hint::new("no SAE is loaded to track", "load one with --sae PATH");
                    return Err(hint.into());
                }
                Track::All => parts.track.extend(self.model.saes().keys()),
            }
        }
        if args.track.is_empty() {
            parts.track.extend(self.model.saes().keys().next_back());
        }
        parts.steer.clone_from(&args.steer);
        if args.splice == Some(SpliceArg::Reconstruct) {
            for intervention in &mut parts.steer {
                intervention.splice = Splice::Reconstruct;
            }
        }
        for path in &args.steer_file {
            parts.steer.extend(read_interventions(path)?);
        }
        parts.vectors = vectors(&args.vector, &parts.steer)?;
        Ok(parts)
    }

    /// Tokenizes `text` with `<|bos|>` before it, as nanochat models are prompted.
    pub(crate) fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let tokenizer = self.tokenizer()?;
        let mut ids: Vec<u32> = tokenizer.bos().into_iter().collect();
        ids.extend(tokenizer.encode(text)?);
        Ok(ids)
    }

    /// Tokenizes `text` as a user message for a chat model.
    pub(crate) fn encode_chat(&self, text: &str) -> Result<Vec<u32>> {
        Ok(self.tokenizer()?.chat_prompt(text)?)
    }

    pub(crate) fn tokenizer(&self) -> Result<&Tokenizer> {
        let hint =
            "name its folder with --tokenizer, or pass token ids to `nanoscope run --tokens`";
        tokenizer(&self.model, hint)
    }
}

/// Loads the model with its tokenizer. Returns it with the paths of the SAEs, which are not loaded.
pub(crate) fn load_bare(args: &ModelArgs) -> Result<(InterpretableModel, Vec<SaePath>)> {
    let loaded = Loaded::new(&args.gpt)?;
    let paths = sae_paths(&loaded, args);
    Ok((loaded.model, paths))
}

/// The paths of the SAEs: those of the flags, or the demo's own with the demo model.
fn sae_paths(loaded: &Loaded, args: &ModelArgs) -> Vec<SaePath> {
    match (&loaded.demo, args.sae.is_empty()) {
        (Some(demo), true) => vec![demo.join(demo::SAES).into()],
        _ => args.sae.clone(),
    }
}

/// Loads the vectors that the flags name. A control vector has one direction per layer; the layer
/// is that of the interventions that use the vector.
fn vectors(flags: &[VectorFlag], used: &[Intervention]) -> Result<Vec<(VectorName, Vec<f32>)>> {
    let mut vectors = Vec::new();
    for VectorFlag { name, path, key } in flags {
        let uses = used.iter().filter(|used| used.target == Target::Vector(name.clone()));
        let layers: BTreeSet<_> = uses.map(|used| used.hook.layer()).collect();
        if layers.is_empty() {
            let hint = "use it by its name: --steer HOOK:NAME:add:3";
            return Err(Hint::new("a --vector is not used by any intervention", hint).into());
        }
        if key.is_none() && layers.len() > 1 && path.extension().is_some_and(|ext| ext == "gguf") {
            let hint =
                "give the direction of each layer its own name: --vector a3=FILE#direction.3";
            return Err(Hint::new("a control vector is used in several layers", hint).into());
        }
        let layer = layers.first().copied().flatten();
        vectors.push((name.clone(), load_vector(path, key.as_deref(), layer)?));
    }
    Ok(vectors)
}

fn read_interventions(path: &Path) -> Result<Vec<Intervention>> {
    let text = std::fs::read(path).with_context(|| format!("could not read {}", path.display()))?;
    serde_json::from_slice(&text)
        .with_context(|| format!("{} is not a JSON list of interventions", path.display()))
}

/// Prints a note about the chosen era if the checkpoint fits several.
pub(crate) fn note_ambiguous_era(loaded: &LoadedModel) {
    if loaded.also_fits.is_empty() {
        return;
    }
    let eras: Vec<_> = loaded.also_fits.iter().map(ToString::to_string).collect();
    note(&format!(
        "the checkpoint fits the eras {era}, {}; reading it as {era} (choose with --era)",
        eras.join(", "),
        era = loaded.era,
    ));
}

fn show(bar: &ProgressBar, done: u64, total: u64) {
    if total < PROGRESS_BYTES {
        return;
    }
    if bar.is_hidden() && done < total {
        bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("loading {bar:30} {bytes}/{total_bytes} {eta}");
        bar.set_style(style.expect("the template is a constant"));
    }
    bar.set_length(total);
    bar.set_position(done);
}
