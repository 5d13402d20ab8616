use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use nanoscope_checkpoint::python_json;
use nanoscope_hooks::HookPoint;
use nanoscope_index::{mix, token_text};
use nanoscope_runtime::InterpretableModel;
use serde_json::{Value, json};

use super::folder::{is_numbered, replace_dir, write_file};
use super::layout::file_names;
use crate::DashboardError;
use crate::dashboard::{Dashboard, FeaturePage};
use crate::gather::Example;
use crate::histogram::Histogram;

/// The number of features in a file, as in SAEDashboard by default.
const FEATURES_PER_FILE: usize = 128;
/// The number of largest coordinates of a decoder row to write, as in SAEDashboard by default.
const MAX_ALIGNED: usize = 3;

/// The files of an export that describe it, with one line each.
const DESCRIPTION_FILES: [&str; 4] =
    ["release.jsonl", "model.jsonl", "sourceset.jsonl", "source.jsonl"];
/// The folders of an export with compressed batches.
const BATCH_FOLDERS: [&str; 3] = ["features", "activations", "explanations"];

/// The names under which Neuronpedia imports an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// `modelId`, such as `nanochat-d20`.
    pub model: String,
    /// The source set, shared by the SAEs of all layers, such as `resid_post-2k`. A source is named
    /// `LAYER-SET`.
    pub set: String,
    /// The creator: `creatorId` and the related names.
    pub creator: String,
    /// The name of the text.
    pub dataset: String,
    /// The time of creation in RFC 3339, such as `2026-01-31T12:00:00Z`.
    pub created: String,
    /// The number of tokens in a context.
    pub context_len: usize,
}

impl Export {
    /// Checks that an export of an SAE at `hook` can be written to `dir`. Call it before the text is read.
    ///
    /// # Errors
    /// [`DashboardError::InvalidName`] if a name cannot be a folder name,
    /// [`DashboardError::NotReplaceable`] if the folder is something else, and [`DashboardError::Io`].
    pub fn check(&self, dir: &Path, hook: HookPoint) -> Result<(), DashboardError> {
        for name in [&self.model, &self.set] {
            check_name(name)?;
        }
        self.check_output_dir(&dir.join(&self.model).join(self.source(hook)), hook)
    }

    /// Checks that `dir` is empty, is missing, or holds an export of the same source by the same creator.
    fn check_output_dir(&self, dir: &Path, hook: HookPoint) -> Result<(), DashboardError> {
        let refused = |reason| DashboardError::NotReplaceable { path: dir.to_owned(), reason };
        if fs::symlink_metadata(dir).is_err() {
            return Ok(());
        }
        let found = file_names(dir)?;
        for name in &found {
            let inside = dir.join(name);
            if DESCRIPTION_FILES.contains(&name.as_str()) && inside.is_file() {
                continue;
            }
            if !BATCH_FOLDERS.contains(&name.as_str()) || !inside.is_dir() {
                return Err(refused(format!("it contains `{name}`")));
            }
            let is_known = |name: &str| is_numbered(name, "batch-", ".jsonl.gz");
            if let Some(other) = file_names(&inside)?.iter().find(|name| !is_known(name)) {
                return Err(refused(format!("it contains `{name}/{other}`")));
            }
        }
        let source = fs::read(dir.join("source.jsonl")).ok();
        let source = source.and_then(|text| python_json::from_slice::<Value>(&text).ok());
        let same_source = |source: Value| {
            source["id"] == self.source(hook) && source["creatorId"] == self.creator
        };
        match found.first() {
            Some(first) if !source.is_some_and(same_source) => Err(refused(format!(
                "it contains `{first}` but no source.jsonl of an export by `{}`",
                self.creator
            ))),
            _ => Ok(()),
        }
    }

    /// The id of the source. Neuronpedia reads the layer from its beginning.
    fn source(&self, hook: HookPoint) -> String {
        format!("{}-{}", hook.layer().unwrap_or(0), self.set)
    }
}

impl Dashboard {
    /// Writes Neuronpedia's import files and returns their folder.
    ///
    /// The folder is `MODEL/LAYER-SET` in `dir`, in SAEDashboard's layout: `release.jsonl`, `model.jsonl`,
    /// `sourceset.jsonl`, `source.jsonl`, `features/batch-N.jsonl.gz`, `activations/batch-N.jsonl.gz`, and
    /// `explanations/batch-N.jsonl.gz` with the labels. Automatic labels are left out, because Neuronpedia
    /// would show them as explanations. Correlations with neurons are empty, because they need activations
    /// that are not stored. An export of the same source by the same creator is replaced.
    ///
    /// # Errors
    /// [`DashboardError::InvalidName`] if a name cannot be a folder name,
    /// [`DashboardError::NotReplaceable`] if the folder is something else, [`DashboardError::Io`], and the
    /// errors of reading the SAE.
    pub fn write_neuronpedia(
        &self,
        dir: &Path,
        model: &InterpretableModel,
        export: &Export,
    ) -> Result<PathBuf, DashboardError> {
        export.check(dir, self.hook)?;
        let folder = dir.join(&export.model);
        let to = folder.join(self.source(export));
        fs::create_dir_all(&folder).map_err(|source| DashboardError::io(&folder, source))?;
        let temporary = tempfile::Builder::new()
            .prefix(".nanoscope-")
            .tempdir_in(&folder)
            .map_err(|source| DashboardError::io(&folder, source))?;
        let new = temporary.path().join("new");
        self.fill_export(&new, model, export)?;
        replace_dir(temporary, &to)?;
        Ok(to)
    }

    fn source(&self, export: &Export) -> String {
        export.source(self.hook)
    }

    fn fill_export(
        &self,
        dir: &Path,
        model: &InterpretableModel,
        export: &Export,
    ) -> Result<(), DashboardError> {
        for part in BATCH_FOLDERS {
            let part = dir.join(part);
            fs::create_dir_all(&part).map_err(|source| DashboardError::io(&part, source))?;
        }
        for (name, row) in self.descriptions(model, export) {
            write_file(&dir.join(name), format!("{row}\n").as_bytes())?;
        }
        for (number, pages) in self.features.chunks(FEATURES_PER_FILE).enumerate() {
            let indices: Vec<usize> = pages.iter().map(|page| page.feature as usize).collect();
            let directions = model.sae(self.hook)?.directions(&indices)?;
            let width = directions.dims()[1];
            let directions: Vec<f32> = directions.into_data().iter::<f32>().collect();
            let rows = pages.iter().zip(directions.chunks_exact(width));
            let features =
                rows.map(|(page, direction)| self.feature(page, direction, model, export));
            let name = format!("batch-{number}.jsonl.gz");
            write_gzip_lines(&dir.join("features").join(&name), features)?;
            let activations = pages.iter().flat_map(|page| self.activations(page, model, export));
            write_gzip_lines(&dir.join("activations").join(&name), activations)?;
            let labelled = pages.iter().filter(|page| page.label.is_some());
            let explanations: Vec<Value> =
                labelled.map(|page| self.explanation(page, export)).collect();
            if !explanations.is_empty() {
                write_gzip_lines(&dir.join("explanations").join(&name), explanations)?;
            }
        }
        Ok(())
    }

    /// The descriptive files, with one line each.
    fn descriptions(
        &self,
        model: &InterpretableModel,
        export: &Export,
    ) -> [(&'static str, Value); 4] {
        let Export { model: id, set, creator, dataset, created, context_len } = export;
        let shape = &model.gpt().config().shape;
        let release = format!("{id}-{set}");
        [
            (
                "release.jsonl",
                json!({
                    "name": release, "description": format!("SAEs of {id}"),
                    "creatorName": creator, "creatorId": creator, "visibility": "PUBLIC",
                    "isNewUi": false, "featured": false,
                    "descriptionShort": format!("SAEs of {id}"), "urls": [],
                    "creatorEmail": null, "creatorNameShort": creator,
                    "defaultSourceSetName": set, "defaultSourceId": self.source(export),
                    "defaultUmapSourceIds": [], "createdAt": created,
                }),
            ),
            (
                "model.jsonl",
                json!({
                    "id": id, "instruct": false, "creatorId": creator, "displayNameShort": id,
                    "displayName": id, "tlensId": null, "dimension": shape.n_embd,
                    "visibility": "PUBLIC", "defaultSourceSetName": set,
                    "defaultSourceId": self.source(export), "inferenceEnabled": false,
                    "layers": shape.n_layer, "neuronsPerLayer": shape.n_embd,
                    "createdAt": created, "owner": creator, "updatedAt": created,
                    "website": null,
                }),
            ),
            (
                "sourceset.jsonl",
                json!({
                    "modelId": id, "name": set, "creatorId": creator, "hasDashboards": true,
                    "visibility": "PUBLIC", "description": format!("SAEs of {id}"), "type": "SAE",
                    "creatorName": creator, "urls": [], "creatorEmail": null,
                    "releaseName": release, "defaultOfModelId": null, "defaultRange": 1,
                    "defaultShowBreaks": true, "showDfa": false, "showCorrelated": true,
                    "showHeadAttribution": false, "showUmap": false, "createdAt": created,
                }),
            ),
            (
                "source.jsonl",
                json!({
                    "id": self.source(export), "modelId": id, "setName": set,
                    "creatorId": creator, "hasDashboards": true, "inferenceEnabled": false,
                    "inferenceHosts": [], "saelensConfig": null, "saelensRelease": null,
                    "saelensSaeId": null, "hfRepoId": null, "hfFolderId": null,
                    "visibility": "PUBLIC", "defaultOfModelId": null, "hasUmap": false,
                    "hasUmapLogSparsity": false, "hasUmapClusters": false,
                    "num_prompts": self.contexts, "num_tokens_in_prompt": context_len,
                    "dataset": dataset, "notes": null, "createdAt": created,
                }),
            ),
        ]
    }

    fn feature(
        &self,
        page: &FeaturePage,
        direction: &[f32],
        model: &InterpretableModel,
        export: &Export,
    ) -> Value {
        let activity = &page.activity;
        let text = |&(id, _): &(u32, f32)| token_text(model.tokenizer(), id);
        let effect = |ends: &dyn Fn(&nanoscope_runtime::LogitEffect) -> Vec<(u32, f32)>| {
            let ends = page.effect.as_ref().map(ends).unwrap_or_default();
            let texts: Vec<String> = ends.iter().map(text).collect();
            (texts, rounded(ends.iter().map(|&(_, value)| value)))
        };
        let (pos_str, pos_values) = effect(&|effect| effect.promoted.clone());
        let (neg_str, neg_values) = effect(&|effect| effect.suppressed.clone());
        let (aligned, aligned_values, aligned_l1) = alignment(direction);
        let (near, cosines): (Vec<u32>, Vec<f32>) = page.nearest.iter().copied().unzip();
        let together = |of: fn(&crate::CoActivation) -> f64| {
            rounded(page.co_activations.iter().map(|t| of(t) as f32))
        };
        let fires = (page.fires > 0).then_some(&activity.histogram);
        json!({
            "modelId": export.model, "layer": self.source(export),
            "index": page.feature.to_string(), "creatorId": export.creator,
            "createdAt": export.created, "maxActApprox": round(activity.histogram.high),
            "hasVector": false, "vector": [], "vectorLabel": null,
            "vectorDefaultSteerStrength": 10, "hookName": self.hook.to_string(),
            "topkCosSimIndices": near, "topkCosSimValues": rounded(cosines),
            "neuron_alignment_indices": aligned, "neuron_alignment_values": aligned_values,
            "neuron_alignment_l1": aligned_l1,
            "correlated_neurons_indices": [], "correlated_neurons_pearson": [],
            "correlated_neurons_l1": [],
            "correlated_features_indices":
                page.co_activations.iter().map(|t| t.feature).collect::<Vec<_>>(),
            "correlated_features_pearson": together(|t| t.pearson),
            // SAEDashboard stores the cosine under the name l1.
            "correlated_features_l1": together(|t| t.cosine),
            "neg_str": neg_str, "neg_values": neg_values,
            "pos_str": pos_str, "pos_values": pos_values,
            "frac_nonzero": self.density(page),
            "freq_hist_data_bar_heights": heights(fires),
            "freq_hist_data_bar_values": centers(fires),
            "logits_hist_data_bar_heights": heights(page.effects.as_ref()),
            "logits_hist_data_bar_values": centers(page.effects.as_ref()),
            "decoder_weights_dist": [], "sourceSetName": export.set,
        })
    }

    fn activations(
        &self,
        page: &FeaturePage,
        model: &InterpretableModel,
        export: &Export,
    ) -> Vec<Value> {
        let activity = &page.activity;
        // −1 marks the top activations, as in SAEDashboard.
        let strongest = activity
            .strongest
            .iter()
            .map(|example| (example, [-1.0, f64::from(round(activity.histogram.high)), -1.0]));
        let sampled = activity.quantiles.iter().flat_map(|quantile| {
            let share = quantile.count as f64 / page.fires as f64;
            let bin = [round(quantile.from).into(), round(quantile.to).into(), share];
            quantile.examples.iter().map(move |example| (example, bin))
        });
        let row = |(number, (example, bin)): (usize, (&Example, [f64; 3]))| {
            let mut values = vec![0.0_f32; example.tokens.len()];
            for &(at, value) in &example.values {
                values[at as usize] = value;
            }
            let first = |wanted: f32| values.iter().position(|&value| value == wanted);
            let max = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let min = values.iter().copied().fold(f32::INFINITY, f32::min);
            let tokens = example.tokens.iter().map(|&id| token_text(model.tokenizer(), id));
            json!({
                "id": self.id(export, page.feature, number as u64),
                "tokens": tokens.collect::<Vec<_>>(), "index": page.feature.to_string(),
                "layer": self.source(export), "modelId": export.model,
                "maxValue": round(max), "maxValueTokenIndex": first(max),
                "minValue": round(min), "values": rounded(values.iter().copied()),
                "creatorId": export.creator, "dataSource": export.dataset,
                "dataIndex": example.context.to_string(), "dfaValues": [],
                "dfaTargetIndex": null, "dfaMaxValue": null, "createdAt": export.created,
                "lossValues": [], "logitContributions": null, "binMin": bin[0],
                "binMax": bin[1], "binContains": bin[2], "qualifyingTokenIndex": example.peak,
                "zIndices": null, "zValues": null,
            })
        };
        strongest.chain(sampled).enumerate().map(row).collect()
    }

    fn explanation(&self, page: &FeaturePage, export: &Export) -> Value {
        json!({
            "id": self.id(export, page.feature, u64::MAX), "modelId": export.model,
            "layer": self.source(export), "index": page.feature.to_string(),
            "description": page.label, "authorId": export.creator, "typeName": null,
            "explanationModelName": null, "triggeredByUserId": null, "notes": null,
            "scoreV1": null, "scoreV2": null,
            // Coordinates of Neuronpedia's UMAP, which dashboards do not have; 0 is its default.
            "umap_x": 0, "umap_y": 0, "umap_cluster": null,
            "embedding": null, "createdAt": export.created, "updatedAt": export.created,
        })
    }

    /// A unique id of 25 characters, in the form of Neuronpedia's ids.
    fn id(&self, export: &Export, feature: u32, number: u64) -> String {
        let names = [&export.model, &export.set, &export.created].map(|name| name.bytes());
        let mut hash = self.fingerprint;
        names.into_iter().flatten().for_each(|byte| hash = mix(hash ^ u64::from(byte)));
        let hash = mix(hash ^ u64::from(feature));
        let (high, low) = (mix(hash ^ number), mix(mix(hash) ^ number) as u32);
        format!("c{high:016x}{low:08x}")
    }
}

/// The largest coordinates of a decoder row: their indices, values and shares of the row's L1 norm.
fn alignment(direction: &[f32]) -> (Vec<usize>, Vec<f32>, Vec<f32>) {
    let mut order: Vec<usize> = (0..direction.len()).collect();
    order.sort_by(|&a, &b| direction[b].abs().total_cmp(&direction[a].abs()).then(a.cmp(&b)));
    order.truncate(MAX_ALIGNED);
    let l1: f32 = direction.iter().map(|x| x.abs()).sum();
    let share = |&at: &usize| if l1 > 0.0 { direction[at].abs() / l1 } else { 0.0 };
    let values = rounded(order.iter().map(|&at| direction[at]));
    let shares = rounded(order.iter().map(share));
    (order, values, shares)
}

fn heights(histogram: Option<&Histogram>) -> Vec<u32> {
    histogram.map_or_else(Vec::new, |histogram| histogram.counts.clone())
}

fn centers(histogram: Option<&Histogram>) -> Vec<f32> {
    histogram.map_or_else(Vec::new, |histogram| rounded(histogram.centers()))
}

/// Rounds to three decimal places, as SAEDashboard does.
fn rounded(values: impl IntoIterator<Item = f32>) -> Vec<f32> {
    values.into_iter().map(round).collect()
}

fn round(value: f32) -> f32 {
    if value.is_finite() { ((f64::from(value) * 1000.0).round() / 1000.0) as f32 } else { 0.0 }
}

fn write_gzip_lines(
    path: &Path,
    rows: impl IntoIterator<Item = Value>,
) -> Result<(), DashboardError> {
    let io = |source| DashboardError::io(path, source);
    let file = fs::File::create(path).map_err(io)?;
    let mut encoder = GzEncoder::new(std::io::BufWriter::new(file), Compression::default());
    for row in rows {
        writeln!(encoder, "{row}").map_err(io)?;
    }
    encoder.finish().and_then(|mut file| file.flush()).map_err(io)
}

/// Checks that `name` can be used as a folder name and cannot escape its parent folder.
fn check_name(name: &str) -> Result<(), DashboardError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !name.is_empty() && name.chars().all(plain) && !name.starts_with('.') {
        Ok(())
    } else {
        Err(DashboardError::InvalidName { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leads_elsewhere_is_refused() {
        for name in ["", ".", "..", "a/b", "../a", "/", "a b", "a\\b", ".hidden", "é"] {
            assert!(check_name(name).is_err(), "{name}");
        }
        assert!(check_name("nanochat-d20_v1.5").is_ok());
    }

    #[test]
    fn only_nothing_or_an_export_by_the_same_creator_is_written_over() {
        let dir = tempfile::TempDir::new().unwrap();
        let export = Export {
            model: "model".to_owned(),
            set: "set".to_owned(),
            creator: "nanoscope".to_owned(),
            dataset: String::new(),
            created: String::new(),
            context_len: 8,
        };
        let place = dir.path().join("model/2-set");
        let with = |files: &[(&str, &str)]| {
            let _ = fs::remove_dir_all(&place);
            fs::create_dir_all(&place).unwrap();
            for (name, text) in files {
                fs::create_dir_all(place.join(name).parent().unwrap()).unwrap();
                fs::write(place.join(name), text).unwrap();
            }
            let hook = HookPoint::ResidPost(2);
            export.check(dir.path(), hook).map_err(|error| error.to_string())
        };
        let source = ("source.jsonl", r#"{"id": "2-set", "creatorId": "nanoscope"}"#);
        let batch = ("features/batch-0.jsonl.gz", "");

        assert_eq!(with(&[]), Ok(()));
        assert_eq!(with(&[source, batch, ("model.jsonl", "")]), Ok(()));
        let refused = [
            (vec![source, ("thesis.tex", "")], "`thesis.tex`"),
            (vec![source, ("features/thesis.tex", "")], "`features/thesis.tex`"),
            (vec![source, ("features", "")], "`features`"),
            (vec![source, ("model.jsonl/thesis.tex", "")], "`model.jsonl`"),
            (vec![batch], "`features` but no source.jsonl of an export by `nanoscope`"),
            (
                vec![("source.jsonl", r#"{"id": "2-set", "creatorId": "another"}"#)],
                "`source.jsonl` but no source.jsonl of an export by `nanoscope`",
            ),
        ];
        for (files, found) in refused {
            let error = with(&files).unwrap_err();
            assert!(error.contains(found), "{error}");
        }
    }

    #[test]
    fn alignment_names_the_largest_coordinates() {
        let (indices, values, shares) = alignment(&[0.5, -3.0, 0.0, 1.0, 0.5]);

        assert_eq!(indices, [1, 3, 0]);
        assert_eq!(values, [-3.0, 1.0, 0.5]);
        assert_eq!(shares, [0.6, 0.2, 0.1]);
    }
}
