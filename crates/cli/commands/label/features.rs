//! The features to label, and the file of their labels.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Result;
use nanoscope::Microscope;
use nanoscope_checkpoint::{Labels, sae_folders};
use nanoscope_hooks::HookPoint;
use nanoscope_label::ExplanationFile;

use super::args::LabelArgs;
use crate::load::are_saes_kept;
use crate::terminal::display::counted;
use crate::terminal::messages::{Hint, note};

/// The file to append to.
pub(super) fn out(args: &LabelArgs, scope: &Microscope, hook: HookPoint) -> Result<PathBuf> {
    if let Some(out) = &args.out {
        return Ok(out.clone());
    }
    let missing = |why| Hint::new(why, "name the file with --out FILE");
    if !are_saes_kept(&args.model) {
        return Err(missing("the folder of the built-in SAEs is not kept").into());
    }
    let file = scope.labels().get(&hook).and_then(Labels::explanations_file);
    let file = file.ok_or_else(|| missing("the SAE has no folder"))?;
    // The folder without links: a file that is itself a link is another file's, for example a download's.
    let folder = file.parent().and_then(|folder| folder.canonicalize().ok()).unwrap_or_default();
    let name = file.file_name().unwrap_or_default();
    if !sae_folders(&folder.join(name), true).contains(&folder) {
        return Err(missing("the SAE lies in a cache, where a file would change a download").into());
    }
    let is_same = |labels: &&Labels| labels.explanations_file().as_ref() == Some(&file);
    if scope.labels().values().filter(is_same).count() > 1 {
        let why =
            "several SAEs are in one folder, and a file there would label the features of all";
        return Err(missing(why).into());
    }
    Ok(file)
}

/// The features that the flags name, or those without a label, less those that the file has already.
///
/// # Errors
/// A [`Hint`] if a named feature is not in the SAE.
pub(super) fn wanted(
    args: &LabelArgs,
    labels: Option<&Labels>,
    file: &ExplanationFile,
    d_sae: usize,
) -> Result<BTreeSet<u32>> {
    let named: Option<BTreeSet<u32>> = match &args.features {
        Some(range) => Some(range.clone().collect()),
        None if args.feature.is_empty() => None,
        None => Some(args.feature.iter().copied().collect()),
    };
    if let Some(&last) = named.as_ref().and_then(BTreeSet::last)
        && last as usize >= d_sae
    {
        let error =
            format!("feature {last} is not in the SAE, whose features are 0 to {}", d_sae - 1);
        return Err(Hint::new(error, "choose others with --feature or --features").into());
    }
    // Labels of other files take precedence over those in this one, so a new one would not be seen.
    let is_labelled = |feature: &u32| {
        labels.is_some_and(|labels| labels.get(*feature).is_some())
            && !file.done().contains(feature)
            && !file.outdated().contains(feature)
    };
    let is_named = named.is_some();
    let mut wanted = named.unwrap_or_else(|| (0..d_sae as u32).collect());
    if is_named {
        let hidden = wanted.iter().filter(|feature| is_labelled(feature)).count() as u64;
        if hidden > 0 {
            let labelled = counted(hidden, "feature", "features");
            note(&format!("{labelled} with a label from another file, which takes precedence"));
        }
    } else {
        wanted.retain(|feature| !is_labelled(feature));
    }
    Ok(wanted.difference(file.done()).copied().collect())
}
