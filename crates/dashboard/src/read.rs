use std::path::{Path, PathBuf};

use nanoscope_checkpoint::python_json;
use nanoscope_hooks::HookPoint;
use nanoscope_index::fingerprint;
use nanoscope_runtime::InterpretableModel;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::DashboardError;
use crate::bounded::read_at_most;
use crate::data_script::unpack_as;
use crate::write::{ABOUT, DATA, FORMAT, MAX_ABOUT_BYTES, VERSION};

/// The maximum size of a data file in bytes, packed and unpacked. The index of a million features has about a
/// hundred megabytes.
const MAX_PACKED: u64 = 128 << 20;
const MAX_UNPACKED: u64 = 256 << 20;
/// The maximum number of top tokens in a summary.
const MAX_TOP_TOKENS: usize = 10;

/// Reads features from a folder written by [`Dashboard::write`](crate::Dashboard::write).
///
/// The folder is treated as untrusted: sizes are limited, and every index is checked before it is used.
#[derive(Debug)]
pub struct DashboardReader {
    dir: PathBuf,
    hook: HookPoint,
    fingerprint: u64,
    d_sae: u32,
    /// The first feature with a page.
    start: u32,
    per_file: u32,
    tokens: u64,
    fires: Vec<u64>,
    /// The ids of the tokens with a text, in ascending order, and their texts.
    ids: Vec<u32>,
    texts: Vec<String>,
}

/// The statistics and top activations of a feature, as stored in a dashboard.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureSummary {
    /// The number of tokens on which the feature fires.
    pub fires: u64,
    /// The share of tokens on which the feature fires.
    pub density: f64,
    /// The max activation on the text.
    pub max: f64,
    /// The mean activation over all tokens, including those on which the feature does not fire.
    pub mean: f64,
    /// The tokens at the peaks of the examples with their counts, the most frequent first.
    pub top_tokens: Vec<(String, usize)>,
    /// The top activations, the largest first.
    pub examples: Vec<ExampleText>,
}

/// A token on which a feature fires, with the text around it.
#[derive(Debug, Clone, PartialEq)]
pub struct ExampleText {
    /// The texts of the token and its neighbours.
    pub tokens: Vec<String>,
    /// Indices into `tokens` with a nonzero activation, and the activations.
    pub values: Vec<(usize, f64)>,
    /// The index into `tokens` of the example's token.
    pub peak: usize,
}

#[derive(Deserialize)]
struct RawAbout {
    format: String,
    version: u32,
    hook: String,
    fingerprint: String,
    d_sae: u32,
    features: [u32; 2],
    tokens: u64,
}

#[derive(Deserialize)]
struct RawIndex {
    about: RawAbout,
    per_file: u32,
    fires: Vec<u64>,
    tokens: RawTokens,
}

#[derive(Deserialize)]
struct RawTokens {
    ids: Vec<u32>,
    texts: Vec<String>,
}

#[derive(Deserialize)]
struct RawPage {
    feature: u32,
    mean: Option<f64>,
    high: Option<f64>,
    strongest: Vec<RawExample>,
    quantiles: Vec<(u64, Vec<RawExample>)>,
}

/// Context, position, peak, token ids, and indices alternating with activations.
type RawExample = (u64, u32, u32, Vec<u32>, Vec<Option<f64>>);

impl DashboardReader {
    /// Opens the folder `dir` and reads its index. The data of features is read on demand.
    ///
    /// # Errors
    /// [`DashboardError::Io`], and [`DashboardError::InvalidDashboard`] if the folder is not a dashboard of
    /// this version.
    pub fn open(dir: &Path) -> Result<Self, DashboardError> {
        let path = dir.join(ABOUT);
        let unreadable =
            |reason: String| DashboardError::InvalidDashboard { path: path.clone(), reason };
        let about = read_at_most(&path, MAX_ABOUT_BYTES)?;
        let about: RawAbout =
            python_json::from_slice(&about).map_err(|error| unreadable(error.to_string()))?;
        about.check().map_err(unreadable)?;

        let path = dir.join(DATA).join("index.js");
        let unreadable = |reason: &str| {
            let (path, reason) = (path.clone(), reason.to_owned());
            DashboardError::InvalidDashboard { path, reason }
        };
        let index: RawIndex = packed(&path, "index")?;
        index.about.check().map_err(|reason| unreadable(&reason))?;
        let RawIndex { about, per_file, fires, tokens } = index;
        let [start, end] = about.features;
        if fires.len() != (end - start) as usize {
            return Err(unreadable("`fires` does not have one number for each feature"));
        }
        if per_file == 0 {
            return Err(unreadable("`per_file` is 0"));
        }
        if tokens.ids.len() != tokens.texts.len() || !tokens.ids.is_sorted_by(|a, b| a < b) {
            return Err(unreadable("`tokens` does not have ascending ids with one text each"));
        }
        let hook = about.hook.parse().map_err(|_| unreadable("`hook` is not a hook point"))?;
        let fingerprint = u64::from_str_radix(&about.fingerprint, 16)
            .map_err(|_| unreadable("`fingerprint` is not a hexadecimal number"))?;
        Ok(Self {
            dir: dir.to_owned(),
            hook,
            fingerprint,
            d_sae: about.d_sae,
            start,
            per_file,
            tokens: about.tokens,
            fires,
            ids: tokens.ids,
            texts: tokens.texts,
        })
    }

    /// The hook point of the dashboard's SAE.
    pub fn hook(&self) -> HookPoint {
        self.hook
    }

    /// The number of tokens of the text that count.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Checks that the dashboard was made for the SAE that `model` has at the hook point.
    ///
    /// # Errors
    /// [`DashboardError::SaeMismatch`], and [`DashboardError::Runtime`] if the hook point has no SAE.
    pub fn check(&self, model: &InterpretableModel) -> Result<(), DashboardError> {
        let hook = self.hook;
        let d_sae = model.sae(hook)?.config().d_sae();
        let expected = fingerprint(model, hook)?;
        if expected == self.fingerprint && d_sae == self.d_sae as usize {
            return Ok(());
        }
        let (path, found) = (self.dir.clone(), self.fingerprint);
        Err(DashboardError::SaeMismatch { path, hook, expected, found })
    }

    /// Reads the summary of `feature`, or returns `None` if the feature has no page.
    ///
    /// # Errors
    /// [`DashboardError::Io`], and [`DashboardError::InvalidDashboard`] if the data is malformed.
    pub fn feature(&self, feature: u32) -> Result<Option<FeatureSummary>, DashboardError> {
        let Some(at) = feature.checked_sub(self.start) else { return Ok(None) };
        let Some(&fires) = self.fires.get(at as usize) else { return Ok(None) };
        let name = format!("features-{}", at / self.per_file);
        let path = self.dir.join(DATA).join(format!("{name}.js"));
        let unreadable = |reason: &str| {
            let (path, reason) = (path.clone(), reason.to_owned());
            DashboardError::InvalidDashboard { path, reason }
        };
        let mut pages: Vec<RawPage> = packed(&path, &name)?;
        let within = (at % self.per_file) as usize;
        if pages.get(within).is_none_or(|page| page.feature != feature) {
            return Err(unreadable(&format!("feature {feature} is missing at index {within}")));
        }
        let page = pages.swap_remove(within);
        if [page.mean, page.high].into_iter().flatten().any(|value| !value.is_finite()) {
            return Err(unreadable("the mean or the max activation is not finite"));
        }

        let mut peaks: Vec<(u32, usize)> = Vec::new();
        let sampled = page.quantiles.iter().flat_map(|(_, examples)| examples);
        for (_, _, peak, tokens, _) in page.strongest.iter().chain(sampled) {
            let id = *tokens
                .get(*peak as usize)
                .ok_or_else(|| unreadable("the peak of an example is out of range"))?;
            match peaks.iter_mut().find(|(known, _)| *known == id) {
                Some((_, count)) => *count += 1,
                None => peaks.push((id, 1)),
            }
        }
        // The sort is stable, so of equal counts the token of the stronger example comes first.
        peaks.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        peaks.truncate(MAX_TOP_TOKENS);
        let text = |id: u32| {
            let at = self.ids.binary_search(&id).map_err(|_| unreadable("a token has no text"))?;
            Ok::<_, DashboardError>(self.texts[at].clone())
        };
        let example = |(_, _, peak, tokens, values): &RawExample| {
            let values = values.chunks(2).map(|pair| match pair {
                &[Some(at), Some(value)]
                    if at >= 0.0 && at < tokens.len() as f64 && value.is_finite() =>
                {
                    Ok((at as usize, value))
                }
                _ => Err(unreadable("an activation of an example is out of range")),
            });
            Ok::<_, DashboardError>(ExampleText {
                tokens: tokens.iter().copied().map(text).collect::<Result<_, _>>()?,
                values: values.collect::<Result<_, _>>()?,
                peak: *peak as usize,
            })
        };
        Ok(Some(FeatureSummary {
            fires,
            density: fires as f64 / self.tokens as f64,
            max: page.high.unwrap_or_default(),
            mean: page.mean.unwrap_or_default(),
            top_tokens: peaks
                .into_iter()
                .map(|(id, count)| Ok((text(id)?, count)))
                .collect::<Result<_, DashboardError>>()?,
            examples: page.strongest.iter().map(example).collect::<Result<_, _>>()?,
        }))
    }
}

impl RawAbout {
    fn check(&self) -> Result<(), String> {
        if self.format != FORMAT {
            return Err(format!("its format is not `{FORMAT}`"));
        }
        if self.version != VERSION {
            return Err(format!("its version is {}, expected {VERSION}", self.version));
        }
        let [start, end] = self.features;
        if start >= end || end > self.d_sae || self.tokens == 0 {
            return Err(format!(
                "features {start}..{end} of {} on {} tokens are not valid",
                self.d_sae, self.tokens
            ));
        }
        Ok(())
    }
}

fn packed<T: DeserializeOwned>(path: &Path, name: &str) -> Result<T, DashboardError> {
    let script = read_at_most(path, MAX_PACKED)?;
    let unreadable =
        |reason: String| DashboardError::InvalidDashboard { path: path.to_owned(), reason };
    let (found, value) =
        unpack_as(&script, MAX_UNPACKED).map_err(|error| unreadable(error.to_string()))?;
    if found == name {
        Ok(value)
    } else {
        Err(unreadable(format!("its name is `{found}`, expected `{name}`")))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};
    use tempfile::TempDir;

    use super::*;
    use crate::data_script::{pack, pack_text};

    /// A change to about, index and pages that makes a dashboard invalid.
    type Change = fn(&mut [Value; 3]);

    /// A dashboard of features 2 and 3 of 4, whose about, index and pages are changed by `change`.
    fn folder(change: impl FnOnce(&mut [Value; 3])) -> TempDir {
        let about = json!({
            "format": FORMAT, "version": VERSION, "hook": "blocks.0.hook_resid_post",
            "fingerprint": "00000000000000ff", "d_sae": 4, "features": [2, 4], "tokens": 8,
        });
        let index = json!({
            "about": about, "per_file": 64, "fires": [2, 0],
            "tokens": {"ids": [5, 9], "texts": ["a", " b"]},
        });
        let page = |feature: u32, strongest: Value| {
            json!({
                "feature": feature, "mean": 0.5, "high": 3, "strongest": strongest,
                "quantiles": [[2, [[0, 1, 0, [9], [0, 1]]]], [0, []]],
            })
        };
        let pages = json!([
            page(2, json!([[0, 1, 1, [5, 9], [1, 3]], [0, 0, 0, [5], [0, 1]]])),
            page(3, json!([])),
        ]);
        let mut parts = [about, index, pages];
        change(&mut parts);
        let dir = TempDir::new().unwrap();
        fs::create_dir(dir.path().join(DATA)).unwrap();
        fs::write(dir.path().join(ABOUT), parts[0].to_string()).unwrap();
        fs::write(dir.path().join(DATA).join("index.js"), pack("index", &parts[1])).unwrap();
        let pages = pack("features-0", &parts[2]);
        fs::write(dir.path().join(DATA).join("features-0.js"), pages).unwrap();
        dir
    }

    #[test]
    fn a_feature_has_its_numbers_tokens_and_examples() {
        let dir = folder(|_| {});

        let dashboard = DashboardReader::open(dir.path()).unwrap();

        assert_eq!(dashboard.hook(), HookPoint::ResidPost(0));
        let summary = dashboard.feature(2).unwrap().unwrap();
        assert_eq!((summary.fires, summary.density), (2, 0.25));
        assert_eq!((summary.max, summary.mean), (3.0, 0.5));
        assert_eq!(summary.top_tokens, [(" b".to_owned(), 2), ("a".to_owned(), 1)]);
        assert_eq!(summary.examples.len(), 2);
        let first = &summary.examples[0];
        assert_eq!((first.tokens.as_slice(), first.peak), (&["a".to_owned(), " b".into()][..], 1));
        assert_eq!(first.values, [(1, 3.0)]);
        assert_eq!(dashboard.feature(1).unwrap(), None);
        assert_eq!(dashboard.feature(4).unwrap(), None);
        assert_eq!(dashboard.feature(u32::MAX).unwrap(), None);
    }

    #[test]
    fn a_dashboard_with_the_places_of_a_map_still_opens() {
        let dir = folder(|parts| {
            parts[1]["x"] = json!([0, 999]);
            parts[1]["y"] = json!([999, 0]);
        });

        let dashboard = DashboardReader::open(dir.path()).unwrap();

        assert_eq!(dashboard.feature(2).unwrap().unwrap().fires, 2);
    }

    #[test]
    fn json_as_python_writes_it_is_read() {
        let dir = folder(|_| {});
        let path = dir.path().join(ABOUT);
        let about = fs::read_to_string(&path).unwrap();
        let about = about.replacen('{', "\u{feff}{\"more\": [NaN, -Infinity], ", 1);
        fs::write(&path, about.replace("\"d_sae\":4", "\"d_sae\":4.0")).unwrap();

        let dashboard = DashboardReader::open(dir.path()).unwrap();

        assert_eq!(dashboard.feature(2).unwrap().unwrap().fires, 2);
    }

    #[test]
    fn an_infinite_activation_is_refused() {
        let dir = folder(|_| {});
        for (mean, value, says) in [
            ("0.5", "Infinity", "out of range"),
            ("0.5", "NaN", "out of range"),
            ("NaN", "1", "mean"),
        ] {
            let page = format!(
                r#"[{{"feature": 2, "mean": {mean}, "high": 3, "quantiles": [],
                     "strongest": [[0, 1, 0, [5], [0, {value}]]]}}]"#
            );
            let pages = pack_text("features-0", &page);
            fs::write(dir.path().join(DATA).join("features-0.js"), pages).unwrap();

            let error = DashboardReader::open(dir.path()).unwrap().feature(2).unwrap_err();

            assert!(error.to_string().contains(says), "{error}");
        }
    }

    #[test]
    fn a_folder_that_contradicts_itself_is_refused() {
        let cases: [(Change, &str); 7] = [
            (|parts| parts[0]["format"] = json!("other"), "format"),
            (|parts| parts[0]["version"] = json!(VERSION + 1), "version"),
            (|parts| parts[1]["about"]["features"] = json!([2, 9]), "2..9 of 4"),
            (|parts| parts[1]["fires"] = json!([1]), "one number"),
            (|parts| parts[1]["per_file"] = json!(0), "`per_file` is 0"),
            (|parts| parts[1]["tokens"]["ids"] = json!([9, 5]), "one text each"),
            (|parts| parts[1]["about"]["hook"] = json!("blocks.x"), "`hook` is not a hook point"),
        ];
        for (change, reason) in cases {
            let dir = folder(change);
            let error = DashboardReader::open(dir.path()).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn a_page_that_points_nowhere_is_refused() {
        let cases: [(Change, &str); 5] = [
            (|parts| parts[2][0]["feature"] = json!(3), "is missing at index 0"),
            (|parts| parts[2] = json!([]), "is missing at index 0"),
            (
                |parts| parts[2][0]["strongest"][0][2] = json!(7),
                "the peak of an example is out of range",
            ),
            (|parts| parts[2][0]["strongest"][0][3] = json!([5, 6]), "a token has no text"),
            (
                |parts| parts[2][0]["strongest"][0][4] = json!([2, 1.0]),
                "an activation of an example is out of range",
            ),
        ];
        for (change, reason) in cases {
            let dir = folder(change);
            let dashboard = DashboardReader::open(dir.path()).unwrap();
            let error = dashboard.feature(2).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn what_unpacks_to_more_than_there_may_be_is_refused() {
        let script = pack("index", &json!(" ".repeat(1000)));

        let error = unpack_as::<Value>(&script, 100).unwrap_err().to_string();

        assert!(error.contains("more than 100 bytes"), "{error}");
        assert!(unpack_as::<Value>(&script, 1002).is_ok());
    }
}
