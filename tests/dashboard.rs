//! `nanoscope dashboard` on the built-in demo: what its pages say is what the model does.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use flate2::read::GzDecoder;
use nanoscope_checkpoint::{Labels, ModelFiles, load_saes, load_tokenizer};
use nanoscope_corpus::{Context, Corpus, CorpusOptions, SpoolOptions, Tokens};
use nanoscope_dashboard::unpack;
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{InterpretableModel, LogitEffect};
use nanoscope_sae::SparseFeatures;
use nanoscope_transformer::TokenBatch;
use serde_json::Value;
use tempfile::TempDir;

const HOOK: HookPoint = HookPoint::ResidPost(2);
const FEATURES: std::ops::Range<u32> = 0..70;
/// Values are written with four digits.
const RTOL: f64 = 6e-4;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/dashboard").join(name)
}

fn command(out: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nanoscope"));
    command
        .args(["dashboard", "--hook", &HOOK.to_string(), "--text"])
        .arg(fixture("stories.jsonl"))
        .arg("--out")
        .arg(out)
        .args(args)
        .env("XDG_CACHE_HOME", Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard"))
        .env("NO_COLOR", "1");
    command
}

#[track_caller]
fn success(out: &Path, args: &[&str]) -> String {
    let Output { status, stdout, stderr } = command(out, args).output().unwrap();
    assert!(status.success(), "{args:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

#[track_caller]
fn failure(out: &Path, args: &[&str]) -> String {
    let output = command(out, args).output().unwrap();
    assert!(!output.status.success(), "{args:?} should have failed");
    String::from_utf8(output.stderr).unwrap()
}

/// The packed data of a dashboard.
fn data(out: &Path, name: &str) -> Value {
    let script = fs::read(out.join("data").join(format!("{name}.js"))).unwrap();
    let (packed, value) = unpack(&script).unwrap();
    assert_eq!(packed, name);
    value
}

/// The pages of the features in `FEATURES`.
fn pages(out: &Path) -> Vec<Value> {
    let chunks = (0..FEATURES.end.div_ceil(64)).map(|n| data(out, &format!("features-{n}")));
    chunks.flat_map(|chunk| chunk.as_array().unwrap().clone()).collect()
}

/// All below `dir` by path.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.insert(path.strip_prefix(dir).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    files
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The demo, loaded here, and the contexts that the command reads.
fn demo() -> (InterpretableModel, Vec<(Context, SparseFeatures)>) {
    let device = nanoscope_device::by_name("auto").unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo");
    let found = ModelFiles::find(&root).unwrap();
    let loaded = found.load(None, &device, &mut |_, _| {}).unwrap();
    let tokenizer = load_tokenizer(found.tokenizer.as_ref().unwrap()).unwrap();
    let sae = load_saes([root.join("saes/layer_2")], &device).unwrap().remove(0).sae;
    let corpus = Corpus::open(&[fixture("stories.jsonl")], &CorpusOptions::default()).unwrap();
    let options = SpoolOptions::new(loaded.gpt.config().shape.sequence_len);
    let go_on = &mut |_| std::ops::ControlFlow::Continue(());
    let tokens = Tokens::spool(&corpus, &tokenizer, &options, go_on).unwrap();
    let model = InterpretableModel::new(loaded.gpt).with_tokenizer(tokenizer).unwrap();
    let model = model.with_sae(HOOK, sae).unwrap();
    let contexts = (0..tokens.contexts()).map(|index| tokens.context(index).unwrap());
    let run = |context: Context| {
        let batch = TokenBatch::new(std::slice::from_ref(&context.tokens)).unwrap();
        let features = model.features_at(HOOK, &batch).unwrap();
        (context, features)
    };
    let contexts = contexts.map(run).collect();
    (model, contexts)
}

fn float(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[track_caller]
fn close(found: f64, expected: f64, what: &str) {
    let off = (found - expected).abs();
    assert!(off <= RTOL * expected.abs() + 1e-9, "{what}: {found}, expected {expected}");
}

#[test]
fn the_pages_say_what_the_model_does() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("pages");
    let range = format!("{}..{}", FEATURES.start, FEATURES.end);
    let printed = success(&out, &["--features", &range]);
    let index = data(&out, "index");
    let (model, contexts) = demo();
    let sae = model.sae(HOOK).unwrap();
    let tokenizer = model.tokenizer().unwrap();

    let counted = |context: &Context, at: usize| !tokenizer.is_special(context.tokens[at]);
    let all: usize = contexts
        .iter()
        .map(|(context, _)| (0..context.tokens.len()).filter(|&at| counted(context, at)).count())
        .sum();
    assert_eq!(index["about"]["tokens"], all);
    assert!(printed.contains(&format!("70 features on {all} tokens")), "{printed}");
    let weights: Vec<usize> = FEATURES.map(|feature| feature as usize).collect();
    let weights = model.feature_weights(HOOK, &weights, 10).unwrap();
    let mut examples = 0;
    let pages = pages(&out);
    assert_eq!((pages.len(), weights.len()), (FEATURES.len(), FEATURES.len()));
    let moments = Moments::of(&contexts, counted, all);
    let mut together = 0;
    for ((page, weights), expected) in pages.iter().zip(&weights).zip(FEATURES) {
        let feature = page["feature"].as_u64().unwrap() as u32;
        assert_eq!(feature, expected);
        let what = format!("feature {feature}");
        let values: Vec<f32> = contexts
            .iter()
            .flat_map(|(context, features)| {
                let at = (0..features.rows()).filter(|&at| counted(context, at));
                at.map(|at| features.get(at, feature)).filter(|&value| value != 0.0)
            })
            .collect();
        let max = values.iter().copied().fold(0.0, f32::max);
        assert_eq!(index["fires"][feature as usize], values.len(), "{what}");
        close(float(&page["high"]), max.into(), &what);
        let sum: f64 = values.iter().copied().map(f64::from).sum();
        close(float(&page["mean"]), sum / all as f64, &what);
        let bars = page["histogram"].as_array().unwrap();
        assert_eq!(bars.iter().map(|n| n.as_u64().unwrap()).sum::<u64>(), values.len() as u64);

        let check = |example: &Value| {
            examples += 1;
            let number = |at: usize| example[at].as_u64().unwrap() as usize;
            let (context, features) = &contexts[number(0)];
            let (position, peak) = (number(1), number(2));
            let tokens: Vec<u64> =
                example[3].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
            assert!(tokens.len() <= 33, "{what}");
            let from = position - peak;
            let pairs = example[4].as_array().unwrap();
            let mut shown = vec![0.0; tokens.len()];
            for pair in pairs.chunks_exact(2) {
                shown[pair[0].as_u64().unwrap() as usize] = float(&pair[1]);
            }
            for (at, &id) in tokens.iter().enumerate() {
                assert_eq!(u64::from(context.tokens[from + at]), id, "{what}");
                assert_eq!(context.documents[from + at], context.documents[position], "{what}");
                let value = f64::from(features.get(from + at, feature));
                let few = 10.0 * RTOL * value.abs() + 1e-9;
                assert!((shown[at] - value).abs() <= few, "{what}: {} for {value}", shown[at]);
            }
            assert!(counted(context, position), "{what}");
            shown[peak]
        };
        let mut check = check;
        let strongest: Vec<f64> =
            page["strongest"].as_array().unwrap().iter().map(&mut check).collect();
        assert!(strongest.len() <= 20 && strongest.is_sorted_by(|a, b| a >= b), "{what}");
        if let Some(&first) = strongest.first() {
            close(first, max.into(), &what);
        }
        let quantiles = page["quantiles"].as_array().unwrap();
        let mut in_quantiles = 0;
        for (number, quantile) in quantiles.iter().enumerate() {
            let edge = |n: usize| f64::from(max) * n as f64 / 5.0;
            in_quantiles += quantile[0].as_u64().unwrap();
            let sampled = quantile[1].as_array().unwrap();
            assert_eq!(sampled.len() as u64, quantile[0].as_u64().unwrap().min(5), "{what}");
            for value in sampled.iter().map(&mut check) {
                let (low, high) = (edge(number) * (1.0 - RTOL), edge(number + 1) * (1.0 + RTOL));
                assert!(low <= value && value <= high, "{what}: {value} in {low}..{high}");
            }
        }
        assert_eq!(in_quantiles, values.len() as u64, "{what}");

        logits(page, LogitEffect::of(weights.effects.as_ref().unwrap(), 10), &what);
        let nearest = sae.nearest(feature as usize, 10).unwrap();
        let found = page["nearest"].as_array().unwrap();
        assert_eq!((found.len(), nearest.len()), (10, 10), "{what}");
        assert!(found.iter().zip(nearest).all(|(found, (other, _))| found[0] == other), "{what}");
        together += moments.check(page, feature, &contexts, counted);
    }
    assert!(examples > 500, "{examples} examples were looked at");
    assert!(together > 300, "{together} features that fire together were looked at");
}

/// Checks the tokens that a page has as promoted and as suppressed.
#[track_caller]
fn logits(page: &Value, effect: LogitEffect, what: &str) {
    for (key, expected) in [("promoted", effect.promoted), ("suppressed", effect.suppressed)] {
        let found = page[key].as_array().unwrap();
        assert_eq!((found.len(), expected.len()), (10, 10), "{what}: {key}");
        for (found, (id, value)) in found.iter().zip(expected) {
            assert_eq!(found[0], id, "{what}");
            let value = f64::from(value);
            assert!((float(&found[1]) - value).abs() < 6e-3 * value.abs(), "{what}: {found}");
        }
    }
}

/// Of each feature of the SAE how often it fires, its sum and its sum of squares over the tokens that
/// count.
struct Moments {
    tokens: f64,
    of: Vec<[f64; 3]>,
}

impl Moments {
    fn of(
        contexts: &[(Context, SparseFeatures)],
        counted: impl Fn(&Context, usize) -> bool,
        tokens: usize,
    ) -> Self {
        let mut of = vec![[0.0; 3]; contexts[0].1.d_sae()];
        for (context, features) in contexts {
            for at in (0..features.rows()).filter(|&at| counted(context, at)) {
                for (feature, value) in features.row(at) {
                    let value = f64::from(value);
                    let [fires, sum, squares] = &mut of[feature as usize];
                    *fires += 1.0;
                    *sum += value;
                    *squares += value * value;
                }
            }
        }
        Self { tokens: tokens as f64, of }
    }

    /// Checks the features that a page has as firing together with its own against those of all that
    /// have the largest Jaccard index. Gives how many there are.
    #[track_caller]
    fn check(
        &self,
        page: &Value,
        feature: u32,
        contexts: &[(Context, SparseFeatures)],
        counted: impl Fn(&Context, usize) -> bool,
    ) -> usize {
        let mut both: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
        for (context, features) in contexts {
            for at in (0..features.rows()).filter(|&at| counted(context, at)) {
                let own = f64::from(features.get(at, feature));
                if own == 0.0 {
                    continue;
                }
                for (other, value) in features.row(at).filter(|&(other, _)| other != feature) {
                    let (count, product) = both.entry(other).or_default();
                    *count += 1.0;
                    *product += own * f64::from(value);
                }
            }
        }
        let [fires, sum, squares] = self.of[feature as usize];
        let measured = both.into_iter().map(|(other, (count, product))| {
            let [others, others_sum, others_squares] = self.of[other as usize];
            let covariance = self.tokens * product - sum * others_sum;
            let variances = (self.tokens * squares - sum * sum)
                * (self.tokens * others_squares - others_sum * others_sum);
            (
                other,
                [count / (fires + others - count), count / fires, covariance / variances.sqrt()],
            )
        });
        let mut measured: Vec<(u32, [f64; 3])> = measured.collect();
        measured.sort_by(|(_, a), (_, b)| b[0].total_cmp(&a[0]).then(b[2].total_cmp(&a[2])));
        measured.truncate(10);

        let found = page["together"].as_array().unwrap();
        let ids = |ids: Vec<u64>| ids.into_iter().collect::<std::collections::BTreeSet<u64>>();
        assert_eq!(
            ids(found.iter().map(|found| found[0].as_u64().unwrap()).collect()),
            ids(measured.iter().map(|&(other, _)| other.into()).collect()),
            "{feature}"
        );
        for found in found {
            let (other, expected) = measured.iter().find(|(other, _)| found[0] == *other).unwrap();
            for (number, expected) in expected.iter().enumerate() {
                let off = (float(&found[1][number]) - expected).abs();
                let what = ["jaccard", "share", "pearson"][number];
                assert!(off <= 6e-3 * expected.abs() + 1e-6, "{what} of {feature} with {other}");
            }
        }
        found.len()
    }
}

/// The first address of another place in `text`, with what follows it. SVG's namespace is none, and
/// what stands after a space is a comment.
fn url(text: &str) -> Option<String> {
    let text = text.replace("http://www.w3.org/2000/svg", "");
    let relative = text.match_indices("//").map(|(at, _)| at);
    let relative = relative.filter(|&at| !text[..at].ends_with(char::is_whitespace) && at > 0);
    let schemes = ["http:", "https:", "ws:", "wss:"];
    let at = schemes.iter().filter_map(|scheme| text.find(scheme)).chain(relative).min()?;
    Some(text[at..].chars().take(40).collect())
}

#[test]
fn an_address_is_found_however_it_is_written() {
    for text in ["a https://b", "src=\"//b\"", "url(//b)", "\"HTTP://b\"", "'wss:' + b"] {
        assert!(url(&text.to_lowercase()).is_some(), "{text}");
    }
    assert_eq!(url("f(\"http://www.w3.org/2000/svg\"); // a comment\n/// another"), None);
}

#[test]
fn no_text_of_others_is_in_a_file_as_it_is() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("pages");
    let labels = fixture("labels.json");
    success(&out, &["--features", "0..12", "--labels", labels.to_str().unwrap()]);

    for (path, bytes) in files(&out) {
        let text = String::from_utf8(bytes).unwrap();
        if !path.starts_with("data") {
            assert_eq!(url(&text.to_lowercase()), None, "{}", path.display());
        }
        assert!(!text.contains("hacked") && !text.contains("Lily"), "{}", path.display());
        if path.starts_with("data") {
            assert!(!text.contains(['<', '>', '&', '\'', '\\']), "{}", path.display());
        }
    }
    let index = data(&out, "index");
    assert_eq!(index["labels"]["3"], "<img src=x onerror=window.hacked=7>");
    assert_eq!(index["labels"]["8"], "quotes ' \" ` & \u{202e} reversed \u{2028} line");
    // Marked by where it stands; a person's label does not change it.
    assert!(index["auto"][3].as_str().unwrap().contains("promotes"));
    let texts: Vec<&str> =
        index["tokens"]["texts"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
    assert!(texts.iter().any(|text| text.contains('<')), "no window has the hostile text");
    let page = String::from_utf8(fs::read(out.join("index.html")).unwrap()).unwrap();
    assert!(page.contains("default-src 'none'"), "{page}");
}

#[test]
fn same_text_and_seed_give_the_same_files() {
    let dir = TempDir::new().unwrap();
    let make = |name: &str, seed: &str| {
        let out = dir.path().join(name);
        success(&out, &["--features", "0..20", "--seed", seed]);
        files(&out)
    };

    let first = make("a", "1");
    assert!(first == make("b", "1"), "the second is another");
    assert!(first != make("c", "2"), "the seed is not used");
}

#[test]
fn labels_in_the_folder_are_read_and_stay_there() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("pages");
    let small = ["--features", "0..12", "--tokens", "600"];
    success(&out, &small);
    let own = r#"{"4": "kept <b>", "0": "x", "11": "", "2047": "no page"}"#;
    fs::write(out.join("labels.json"), own).unwrap();

    success(&out, &small);
    let json = success(&out, &[&small[..], &["--json"]].concat());

    assert_eq!(fs::read_to_string(out.join("labels.json")).unwrap(), own);
    assert_eq!(data(&out, "index")["labels"]["4"], "kept <b>");
    // What the page gives back for download: the labels of all features, and those taken away.
    assert_eq!(data(&out, "index")["labels"]["11"], "");
    assert_eq!(data(&out, "index")["labels"]["2047"], "no page");
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/saes/layer_2");
    let beside = Labels::read(&beside, 2048).unwrap();
    let all = data(&out, "index")["labels"].as_object().unwrap().len();
    assert!(all >= beside.len(), "{all} labels of {}", beside.len());
    let read = Labels::read(&out, 2048).unwrap();
    assert_eq!(read.get(4), Some("kept <b>"));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["features"], &json["hook"]), (&12.into(), &HOOK.to_string().into()));
    assert!(json["page"].as_str().unwrap().ends_with("pages/index.html"), "{json}");
}

#[test]
fn what_is_no_dashboard_is_left_alone_and_nothing_half_made_stays() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("thesis");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("thesis.tex"), "years of work").unwrap();

    let error = failure(&out, &["--features", "0..4", "--tokens", "600"]);
    assert!(error.contains("thesis: it contains `thesis.tex`"), "{error}");
    let new = dir.path().join("pages");
    let error = failure(&new, &["--features", "0..4000"]);
    assert!(
        error.contains("features 0..4000 are not a range of the SAE's features, 0..2048"),
        "{error}"
    );
    // Before the text is read, which has no context of that length.
    let error = failure(&new, &["--features", "0..4000", "--tokens", "1"]);
    assert!(error.contains("features 0..4000 are not a range"), "{error}");
    let error = failure(&new, &["--features", "9..4"]);
    assert!(error.contains("there is nothing in 9..4"), "{error}");
    let error = failure(
        &new,
        &[
            "--name",
            "../up",
            "--neuronpedia",
            dir.path().to_str().unwrap(),
            "--tokens",
            "600",
            "--features",
            "0..4",
        ],
    );
    assert!(error.contains("`../up` is not a folder name"), "{error}");
    assert_eq!(names(&out), ["thesis.tex"]);
    assert_eq!(names(dir.path()), ["thesis"]);
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_what_was_there() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("pages");
    success(&out, &["--features", "0..4", "--tokens", "600"]);
    let before = files(&out);

    // Twice as late each time, until it has ended by itself, as interrupted.
    let mut wait = Duration::from_millis(50);
    loop {
        let run = command(&out, &["--features", "0..2048"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(wait);
        let kill = Command::new("kill").args(["-INT", &run.id().to_string()]).status().unwrap();
        assert!(kill.success());
        let Output { status, stderr, .. } = run.wait_with_output().unwrap();
        let error = String::from_utf8(stderr).unwrap();
        assert!(!status.success(), "it was never interrupted: done after {wait:?}");
        assert!(files(&out) == before, "after {wait:?}");
        assert_eq!(names(dir.path()), ["pages"], "after {wait:?}");
        // Before it watches for the signal, that kills it.
        if status.code().is_some() {
            assert!(error.contains("interrupted"), "after {wait:?}: {error}");
            break;
        }
        wait *= 2;
    }
}

#[test]
fn an_export_has_what_neuronpedia_imports() {
    let dir = TempDir::new().unwrap();
    let exports = dir.path().join("exports");
    let labels = fixture("labels.json");
    let args = [
        "--features",
        "0..12",
        "--neuronpedia",
        exports.to_str().unwrap(),
        "--labels",
        labels.to_str().unwrap(),
    ];
    let out = dir.path().join("pages");
    success(&out, &args);
    success(&out, &args);

    let folder = exports.join("nanoscope-demo/2-resid_post-2048");
    assert_eq!(names(&exports.join("nanoscope-demo")), ["2-resid_post-2048"]);
    assert_eq!(
        names(&folder),
        [
            "activations",
            "explanations",
            "features",
            "model.jsonl",
            "release.jsonl",
            "source.jsonl",
            "sourceset.jsonl"
        ]
    );
    let lines = |path: &str| {
        let mut text = String::new();
        let file = fs::File::open(folder.join(path)).unwrap();
        GzDecoder::new(file).read_to_string(&mut text).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    let features = lines("features/batch-0.jsonl.gz");
    assert_eq!(features.len(), 12);
    let pages = data(&out, "features-0");
    for (feature, page) in features.iter().zip(pages.as_array().unwrap()) {
        assert_eq!(feature["index"], page["feature"].to_string());
        assert_eq!(feature["layer"], "2-resid_post-2048");
        for list in ["pos_str", "pos_values", "neg_str", "neg_values"] {
            assert_eq!(feature[list].as_array().unwrap().len(), 10, "{list}");
        }
        assert!((float(&feature["pos_values"][0]) - float(&page["promoted"][0][1])).abs() < 6e-3);
        let heights = feature["freq_hist_data_bar_heights"].as_array().unwrap();
        let fires: u64 = heights.iter().map(|n| n.as_u64().unwrap()).sum();
        let bars = page["histogram"].as_array().unwrap();
        assert_eq!(fires, bars.iter().map(|n| n.as_u64().unwrap()).sum::<u64>());
        assert_eq!(
            feature["logits_hist_data_bar_heights"]
                .as_array()
                .unwrap()
                .iter()
                .map(|n| n.as_u64().unwrap())
                .sum::<u64>(),
            4096
        );
    }
    let activations = lines("activations/batch-0.jsonl.gz");
    let mut ids: Vec<&str> = activations.iter().map(|row| row["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), activations.len());
    assert!(ids.iter().all(|id| id.len() == 25), "{ids:?}");
    for row in &activations {
        let values = row["values"].as_array().unwrap();
        assert_eq!(row["tokens"].as_array().unwrap().len(), values.len());
        let at = row["maxValueTokenIndex"].as_u64().unwrap() as usize;
        assert_eq!(values[at], row["maxValue"]);
        let qualifying = row["qualifyingTokenIndex"].as_u64().unwrap() as usize;
        if float(&row["binMin"]) >= 0.0 {
            let value = float(&values[qualifying]);
            let (low, high) = (float(&row["binMin"]) - 1e-3, float(&row["binMax"]) + 1e-3);
            assert!(low <= value && value <= high, "{row}");
        }
    }

    // The labels, and no others: an automatic one is no explanation. We read them back ourselves.
    let read = Labels::read(&folder, 2048).unwrap();
    assert_eq!(read.get(11), Some("a label about snails"));
    assert_eq!(read.get(5), Some("</script><script>window.hacked=8</script>"));
    let index = data(&out, "index");
    let labels = index["labels"].as_object().unwrap();
    let labelled = labels.keys().filter(|key| key.parse::<u32>().unwrap() < 12).count();
    assert!(labelled > 0 && read.len() == labelled, "{} of {labelled}", read.len());
    assert!(labelled < 12, "every feature has a label");
}
