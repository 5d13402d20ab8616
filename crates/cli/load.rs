//! Loading of a model and its SAEs from flags.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use nanoscope::{Microscope, SteeringShares, VectorFile};
use nanoscope_checkpoint::{
    Labels, MatrixDtype, ModelFiles, ModelKind, SaePath, UserLabels, python_json,
};
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{Intervention, Op, Plan, Scale, Splice};
use nanoscope_tokenizer::Tokenizer;
use nanoscope_transformer::Era;
use serde_json::Value;

use crate::args::{GptArgs, MemoryArgs, ModelArgs, PlanArgs, SpliceArg, Track};
use crate::demo;
use crate::preflight::{check_memory, is_cpu};
use crate::read_file::read_file;
use crate::terminal::display::sanitized;
use crate::terminal::messages::{Hint, note};
use crate::terminal::progress::with_spinner;

/// nanochat's folders for checkpoints trained on conversations.
const CHAT_CHECKPOINTS: [&str; 3] =
    ["mid_checkpoints", "chatsft_checkpoints", "chatrl_checkpoints"];

/// The smallest file size for which loading shows a progress bar.
const PROGRESS_BYTES: u64 = 100 << 20;
/// The smallest size of a model in memory that is printed before it is loaded.
const NOTED_BYTES: u64 = 1 << 30;

const NAME_TOKENIZER: &str =
    "name its folder with --tokenizer, or pass token ids to `nanoscope run --tokens`";

/// Opens the model with its tokenizer and its SAEs, and with the labels that people gave on a page of
/// `nanoscope serve`.
pub(crate) fn open(args: &ModelArgs) -> Result<Microscope> {
    let mut scope = open_without_user_labels(args)?;
    for (hook, file) in sae_files(&scope) {
        let d_sae = scope.model().sae(hook)?.config().d_sae();
        let given = UserLabels::find(&file, d_sae, are_saes_kept(args))?;
        scope.labels_mut().entry(hook).or_default().add_user_labels(given);
    }
    Ok(scope)
}

/// The files of the SAEs, by hook point.
pub(crate) fn sae_files(scope: &Microscope) -> BTreeMap<HookPoint, PathBuf> {
    let file = |(&hook, labels): (&HookPoint, &Labels)| Some((hook, labels.sae_file()?.to_owned()));
    scope.labels().iter().filter_map(file).collect()
}

/// False for the demo's SAEs, which are unpacked to a folder that can be deleted at any time.
pub(crate) fn are_saes_kept(args: &ModelArgs) -> bool {
    args.gpt.model.is_some() || !args.sae.is_empty()
}

/// Opens the model with its tokenizer and its SAEs.
pub(crate) fn open_without_user_labels(args: &ModelArgs) -> Result<Microscope> {
    let (mut scope, saes) = open_without_saes(args)?;
    with_spinner("loading the SAEs", || scope.add_saes(saes, &args.sae_options()))
        .map_err(unwrapped)?;
    note_saes(&scope);
    Ok(scope)
}

/// Prints what was done to the model for its SAEs, and signs that they belong to another.
pub(crate) fn note_saes(scope: &Microscope) {
    for warning in scope.warnings() {
        note(&sanitized(warning));
    }
    if scope.is_centred() {
        note(
            "the residual stream is less its mean, as the SAEs were trained (center_writing_weights)",
        );
    }
}

/// Opens the model with its tokenizer. Returns it with the paths of the SAEs: those of the flags, or
/// the demo's own with the demo model.
pub(crate) fn open_without_saes(args: &ModelArgs) -> Result<(Microscope, Vec<SaePath>)> {
    let (path, demo) = model_path(&args.gpt)?;
    let scope = open_at(&path, &args.gpt, args.memory)?;
    let saes = if demo && args.sae.is_empty() {
        vec![path.join(demo::SAES).into()]
    } else {
        args.sae.clone()
    };
    Ok((scope, saes))
}

/// Opens the model with its tokenizer, for a command that needs no SAEs.
pub(crate) fn open_model(args: &GptArgs, memory: MemoryArgs) -> Result<Microscope> {
    open_at(&model_path(args)?.0, args, memory)
}

/// The path of the model, and whether it is the demo.
fn model_path(args: &GptArgs) -> Result<(PathBuf, bool)> {
    match &args.model {
        Some(path) => Ok((path.clone(), false)),
        None => Ok((demo::unpack()?, true)),
    }
}

fn open_at(path: &Path, args: &GptArgs, memory: MemoryArgs) -> Result<Microscope> {
    let device = nanoscope_device::by_name(&args.device)?;
    let dtype = memory.dtype.map(MatrixDtype::from);
    let needed = ModelFiles::find(path)?.memory_bytes(&device, args.era, dtype)?;
    if needed >= NOTED_BYTES {
        note(&format!("the model takes {} of memory", HumanBytes(needed)));
    }
    let hint =
        "hold it in 16 bits with --dtype bf16 or in 8 with --dtype int8, or take a smaller one";
    check_memory("the model", needed, hint, memory.ignore_memory || !is_cpu(&args.device))?;
    let bar = ProgressBar::hidden();
    let mut options = Microscope::options().progress(|done, total| show(&bar, done, total));
    if let Some(era) = args.era {
        options = options.era(era);
    }
    if let Some(dir) = &args.tokenizer {
        options = options.tokenizer(dir);
    }
    if let Some(dtype) = dtype {
        options = options.dtype(dtype);
    }
    let scope = options.open(path, &device).map_err(unwrapped)?;
    bar.finish_and_clear();
    if let Some(origin) = scope.origin() {
        note_ambiguous_era(origin.kind, &origin.also_fits);
    }
    Ok(scope)
}

/// Builds the plan for the flags.
pub(crate) fn plan(scope: &Microscope, args: &PlanArgs) -> Result<Plan> {
    let saes = scope.model().saes();
    let mut plan = Plan::new();
    plan.stop_when.clone_from(&args.stop_when);
    for track in &args.track {
        match track {
            Track::Hook(hook) => drop(plan.track.insert(*hook)),
            Track::All if saes.is_empty() => {
                let hint = Hint::new("no SAE is loaded to track", "load one with --sae PATH");
                return Err(hint.into());
            }
            Track::All => plan.track.extend(saes.keys()),
        }
    }
    if args.track.is_empty() {
        plan.track.extend(saes.keys().next_back());
    }
    let default = default_hook(&plan, saes.keys());
    for spec in &args.steer {
        plan.interventions.push(spec.at(default).map_err(|error| match default {
            Some(_) => anyhow::Error::new(error),
            None => Hint::new("no SAE is loaded to steer", "load one with --sae PATH").into(),
        })?);
    }
    if args.splice == Some(SpliceArg::Reconstruct) {
        for intervention in &mut plan.interventions {
            intervention.splice = Splice::Reconstruct;
        }
    }
    for path in &args.steer_file {
        plan.interventions.extend(read_interventions(path, default)?);
    }
    note_strong(scope, &plan.interventions);
    for vector in &args.vector {
        plan.vectors.push(load_vector(vector, &plan.interventions)?);
    }
    Ok(plan)
}

/// The hook point of a feature that is given without one: of the deepest tracked SAE, or of the deepest.
pub(crate) fn default_hook<'h>(
    plan: &'h Plan,
    mut saes: impl DoubleEndedIterator<Item = &'h HookPoint>,
) -> Option<HookPoint> {
    plan.track.last().or_else(|| saes.next_back()).copied()
}

/// Prints a note about each index that was needed and could not be read.
pub(crate) fn note_indexes(scope: &Microscope) {
    for problem in scope.names().problems() {
        note(&format!("{}; names are made without it", sanitized(problem)));
    }
}

/// Prints a note about interventions whose share of the norm breaks most texts, as far as that was measured.
fn note_strong(scope: &Microscope, interventions: &[Intervention]) {
    for intervention in interventions {
        let (Op::Add(share, Scale::Norm) | Op::Orthogonal(share, Scale::Norm)) = intervention.op
        else {
            continue;
        };
        let shares = scope.names().index(intervention.hook).and_then(|index| index.shares.clone());
        let Some(SteeringShares { default, breaks: Some(breaks), .. }) = shares else { continue };
        if share.abs() >= breaks {
            note(&format!(
                "{intervention}: {:.0} % of the norm and more break most texts at {}; {:.0} % leaves them fluent",
                100.0 * breaks,
                intervention.hook,
                100.0 * default,
            ));
        }
    }
}

/// The tokenizer of the model, or an error with `hint` if it has none.
pub(crate) fn tokenizer<'s>(scope: &'s Microscope, hint: &'static str) -> Result<&'s Tokenizer> {
    scope.tokenizer().map_err(|_| Hint::new("the model has no tokenizer", hint).into())
}

/// The tokenizer of the model, for a command that could take token ids instead.
pub(crate) fn text_tokenizer(scope: &Microscope) -> Result<&Tokenizer> {
    tokenizer(scope, NAME_TOKENIZER)
}

/// Returns whether the model has a chat template, or lies where nanochat puts models trained on
/// conversations.
pub(crate) fn is_chat_model(scope: &Microscope) -> bool {
    let tokenizer = scope.model().tokenizer();
    if tokenizer.is_some_and(|tokenizer| tokenizer.chat_template().is_some()) {
        return true;
    }
    scope.origin().is_some_and(|origin| {
        let mut parts = origin.files.weights.components();
        parts.any(|part| CHAT_CHECKPOINTS.iter().any(|dir| part.as_os_str() == *dir))
    })
}

/// Prints a note about the chosen era if the checkpoint fits several.
pub(crate) fn note_ambiguous_era(kind: ModelKind, also_fits: &[Era]) {
    let Some(era) = kind.era().filter(|_| !also_fits.is_empty()) else {
        return;
    };
    let eras: Vec<_> = also_fits.iter().map(ToString::to_string).collect();
    note(&format!(
        "the checkpoint fits the eras {era}, {}; reading it as {era} (choose with --era)",
        eras.join(", "),
    ));
}

/// Takes an error out of the enum around it, so that hints and exit codes find it by its type.
pub(crate) fn unwrapped(error: nanoscope::Error) -> anyhow::Error {
    match error {
        nanoscope::Error::Checkpoint(error) => (*error).into(),
        nanoscope::Error::Runtime(error) => (*error).into(),
        nanoscope::Error::Tokenizer(error) => error.into(),
        other => other.into(),
    }
}

fn load_vector(
    vector: &VectorFile,
    interventions: &[Intervention],
) -> Result<(nanoscope_runtime::VectorName, Vec<f32>)> {
    vector.load(interventions).map_err(|error| match error {
        nanoscope::Error::UnusedVector { .. } => {
            let hint = "use it by its name: --steer HOOK:NAME:add:3";
            Hint::new("a --vector is not used by any intervention", hint).into()
        }
        nanoscope::Error::VectorInSeveralLayers { .. } => {
            let hint =
                "give the direction of each layer its own name: --vector a3=FILE#direction.3";
            Hint::new("a control vector is used in several layers", hint).into()
        }
        other => unwrapped(other),
    })
}

/// The interventions in a file; a text without a hook point is about the feature at `default`.
fn read_interventions(path: &Path, default: Option<HookPoint>) -> Result<Vec<Intervention>> {
    let text = read_file(path)?;
    let wrong = || format!("{} is not a JSON list of interventions", path.display());
    let list: Vec<Value> = python_json::from_slice(&text).with_context(wrong)?;
    let read = |value: Value| match value {
        Value::String(text) => Ok(Intervention::parse_at(&text, default)?),
        object => Ok(serde_json::from_value(object)?),
    };
    list.into_iter().map(read).collect::<Result<_>>().with_context(wrong)
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
