//! A partial run configuration, from files and flags.

use std::fs;
use std::path::{Path, PathBuf};

use nanoscope_hooks::did_you_mean;
use toml::{Table, Value};

use super::config::{RunConfig, check_recipe};
use super::config_error::ConfigError;
use super::config_toml::{Width, write};
use super::keys::{self, ARCHITECTURE};
use super::values::{self, Values};

/// A partial run configuration: the keys set so far. Later values override earlier ones.
///
/// ```
/// use nanoscope_train::PartialConfig;
///
/// let mut partial = PartialConfig::parse("hooks = ['blocks.0.hook_resid_post']").unwrap();
/// partial.set("source.store", "acts").unwrap();
/// partial.set("recipe.method.k", 16).unwrap();
/// let config = partial.resolve(&[256]).unwrap();
/// assert_eq!(config.recipe.d_sae, 2048);
///
/// let wrong = PartialConfig::parse("[recipe.method]\nkk = 3").unwrap_err();
/// assert_eq!(wrong.to_string(), "unknown key `recipe.method.kk`; did you mean `recipe.method.k`?");
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PartialConfig {
    values: Values,
}

/// Default number of features per dimension of the activations, as in nanochat-SAE.
const EXPANSION: usize = 8;
/// Default number of activations to train on.
const TOKENS: u64 = 4_096_000;
/// Defaults for required keys.
const DEFAULTS: [(&str, &str); 4] = [
    ("recipe.method.architecture", "'top-k'"),
    ("recipe.method.k", "32"),
    ("recipe.method.l1", "5.0"),
    ("recipe.method.target-l0", "32.0"),
];
/// Groups of mutually exclusive keys.
const EXCLUSIVE: [&[&str]; 3] = [
    &["source.text", "source.store", "source.activations"],
    &["recipe.d-sae", "recipe.expansion"],
    &["recipe.steps", "recipe.tokens"],
];
const ARCHITECTURES: [&str; 6] =
    ["top-k", "batch-top-k", "matryoshka", "jump-relu", "relu", "gated"];
/// Keys that hold paths. They are made absolute, so that a run can be resumed from any folder; names in
/// Hugging Face's cache stay.
const PATHS: [&str; 5] =
    ["source.text", "source.model", "source.tokenizer", "source.store", "source.activations"];

impl PartialConfig {
    /// Parses a TOML file's text.
    ///
    /// # Errors
    /// [`ConfigError::Toml`], [`ConfigError::UnknownKey`].
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        Self::parse_as(text, Path::new("the configuration"))
    }

    /// Reads the TOML file at `path`.
    ///
    /// # Errors
    /// [`ConfigError::Io`], [`ConfigError::Toml`], [`ConfigError::UnknownKey`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let io = |source| ConfigError::Io { path: path.to_owned(), source };
        Self::parse_as(&fs::read_to_string(path).map_err(io)?, path)
    }

    fn parse_as(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let table: Table = text.parse().map_err(|source| ConfigError::Toml {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        Ok(Self { values: values::from_table(table)? })
    }

    /// Sets `key` to `value`. Removes its earlier value and the keys it excludes: another source,
    /// the same quantity in other units, or keys of other architectures.
    ///
    /// # Errors
    /// [`ConfigError::UnknownKey`].
    pub fn set(&mut self, key: &str, value: impl Into<Value>) -> Result<(), ConfigError> {
        values::put(&mut self.values, key, value.into())?;
        for group in EXCLUSIVE {
            if group.contains(&key) {
                self.values.retain(|other, _| *other == key || !group.contains(other));
            }
        }
        if key == ARCHITECTURE
            && let Ok(architecture) = self.architecture()
        {
            self.values.retain(|other, _| keys::is_for(other, &architecture));
        }
        Ok(())
    }

    /// The run's folder, if set.
    ///
    /// # Errors
    /// [`ConfigError::Value`] if the value is not a path.
    pub fn out(&self) -> Result<Option<PathBuf>, ConfigError> {
        match self.values.get("out") {
            None => Ok(None),
            Some(Value::String(path)) => Ok(Some(path.into())),
            Some(other) => Err(wrong_kind("out", other, "a string")),
        }
    }

    /// Checks everything that does not depend on the activations, and returns the configuration
    /// with placeholders for values that depend on their width.
    ///
    /// # Errors
    /// [`ConfigError`] for the first invalid key.
    pub fn check(&self) -> Result<RunConfig, ConfigError> {
        // The maximum number of features, so that any permitted `k` fits.
        self.resolve_with(|_| 1 << 24, true)
    }

    /// Returns the complete configuration for activations of these widths, one per hook point.
    ///
    /// # Errors
    /// [`ConfigError`] for the first invalid key.
    pub fn resolve(&self, widths: &[usize]) -> Result<RunConfig, ConfigError> {
        let narrow = widths.iter().copied().min().unwrap_or(1);
        let wide = widths.iter().copied().max().unwrap_or(1);
        if narrow != wide && !self.values.contains_key("recipe.d-sae") {
            return Err(ConfigError::Widths { narrow, wide });
        }
        let config = self.resolve_with(|expansion| narrow.saturating_mul(expansion), false)?;
        check_recipe(&config.recipe, Some(wide))?;
        Ok(config)
    }

    fn resolve_with(
        &self,
        d_sae: impl Fn(usize) -> usize,
        any_width: bool,
    ) -> Result<RunConfig, ConfigError> {
        let architecture = self.architecture()?;
        let mut all = self.values.clone();
        all.remove("out");
        if let Some(&key) = all.keys().find(|key| !keys::is_for(key, &architecture)) {
            let only = keys::find(key).map_or(String::new(), |key| key.only.join(", "));
            return Err(ConfigError::OtherArchitecture { key, architecture, only });
        }
        for (key, value) in DEFAULTS {
            if keys::is_for(key, &architecture) {
                all.entry(key).or_insert_with(|| value.parse().expect("defaults are TOML"));
            }
        }
        let expansion = exclusive(&mut all, "recipe.d-sae", "recipe.expansion")?;
        if !all.contains_key("recipe.d-sae") {
            let expansion =
                expansion.map_or(Ok(EXPANSION as u64), |v| count("recipe.expansion", &v))?;
            let d_sae = d_sae(usize::try_from(expansion).unwrap_or(usize::MAX));
            let d_sae = i64::try_from(d_sae).unwrap_or(i64::MAX);
            all.insert("recipe.d-sae", d_sae.into());
        }
        let tokens = exclusive(&mut all, "recipe.steps", "recipe.tokens")?;
        if !all.contains_key("recipe.steps") {
            let tokens = tokens.map_or(Ok(TOKENS), |v| count("recipe.tokens", &v))?;
            let batch = all.get("recipe.batch").map_or(Ok(4096), |v| count("recipe.batch", v))?;
            let steps = i64::try_from(tokens.div_ceil(batch)).unwrap_or(i64::MAX);
            all.insert("recipe.steps", steps.into());
        }
        for path in PATHS {
            if let Some(value) = all.get_mut(path) {
                absolute(value);
            }
        }
        if any_width
            && let Some(groups) = all.get("recipe.method.groups")
            && !self.values.contains_key("recipe.d-sae")
            && let Some(last) = groups.as_array().and_then(|groups| groups.last())
        {
            all.insert("recipe.d-sae", last.clone());
        }
        let config: RunConfig =
            serde_path_to_error::deserialize(values::to_table(all)).map_err(|error| {
                let key = error.path().to_string();
                // The parser's message ends with a line break.
                let reason = error.into_inner().to_string().trim_end().to_owned();
                ConfigError::Value { key, reason }
            })?;
        config.check()?;
        Ok(config)
    }

    fn architecture(&self) -> Result<String, ConfigError> {
        match self.values.get(ARCHITECTURE) {
            None => Ok("top-k".to_owned()),
            Some(Value::String(name)) if ARCHITECTURES.contains(&name.as_str()) => Ok(name.clone()),
            Some(other) => {
                let similar = did_you_mean(other.as_str().unwrap_or_default(), ARCHITECTURES);
                let known = ARCHITECTURES.join(", ");
                let reason = format!("unknown architecture {other} (expected {known}){similar}");
                Err(ConfigError::Value { key: ARCHITECTURE.to_owned(), reason })
            }
        }
    }

    /// Writes the configuration as a commented TOML file, with the defaults for its architecture.
    /// Keys that are unset or derived from others are commented out.
    ///
    /// # Errors
    /// [`ConfigError`] if the configuration is invalid.
    pub fn commented(&self) -> Result<String, ConfigError> {
        let mut whole = self.clone();
        // Examples of the keys that every run needs.
        let examples: [(&'static str, Value); 3] = [
            ("hooks", vec!["blocks.2.hook_resid_post"].into()),
            ("source.text", vec!["stories.txt"].into()),
            ("out", "runs/a".into()),
        ];
        let other_source =
            ["source.store", "source.activations"].iter().any(|key| whole.values.contains_key(key));
        for (key, value) in examples {
            if key != "source.text" || !other_source {
                whole.values.entry(key).or_insert(value);
            }
        }
        let mut values = values::from_config(&whole.check()?);
        for (key, value) in &whole.values {
            values.insert(key, value.clone());
        }
        for (key, other, default) in [
            ("recipe.d-sae", "recipe.expansion", EXPANSION as i64),
            ("recipe.steps", "recipe.tokens", TOKENS as i64),
        ] {
            if !whole.values.contains_key(key) {
                values.remove(key);
                values.entry(other).or_insert(default.into());
            }
        }
        Ok(write(&values, &whole.architecture()?, Width::Commented))
    }
}

/// Removes and returns the value of `other`, the alternative to `one`.
fn exclusive(
    values: &mut Values,
    one: &'static str,
    other: &'static str,
) -> Result<Option<Value>, ConfigError> {
    let value = values.remove(other);
    if value.is_some() && values.contains_key(one) {
        return Err(ConfigError::Both { one, other });
    }
    Ok(value)
}

fn count(key: &'static str, value: &Value) -> Result<u64, ConfigError> {
    let number = value.as_integer().ok_or_else(|| wrong_kind(key, value, "a whole number"))?;
    u64::try_from(number).ok().filter(|&n| n > 0).ok_or_else(|| ConfigError::Range {
        key,
        found: number.to_string(),
        expected: "1 or more".to_owned(),
    })
}

fn wrong_kind(key: &str, found: &Value, expected: &str) -> ConfigError {
    let reason = format!("expected {expected}, found {}", found.type_str());
    ConfigError::Value { key: key.to_owned(), reason }
}

fn absolute(value: &mut Value) {
    match value {
        Value::String(path) => {
            if Path::new(path).exists()
                && let Ok(whole) = std::path::absolute(&*path)
                && let Some(whole) = whole.to_str()
            {
                whole.clone_into(path);
            }
        }
        Value::Array(paths) => paths.iter_mut().for_each(absolute),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::keys::KEYS;
    use super::*;

    #[test]
    fn a_commented_file_and_a_runs_own_say_the_same_as_what_they_were_written_from() {
        for architecture in ARCHITECTURES {
            let mut partial = PartialConfig::default();
            partial.set(ARCHITECTURE, architecture).unwrap();
            partial
                .set("hooks", vec!["blocks.0.hook_resid_post", "blocks.1.hook_mlp_out"])
                .unwrap();
            partial.set("source.text", vec!["a b.txt"]).unwrap();
            partial.set("recipe.optimizer.lr", 0.1 + 0.2).unwrap();
            partial.set("run.hold-out", 0.25).unwrap();
            partial.set("recipe.optimizer.decay-steps", 7).unwrap();

            let config = partial.resolve(&[64, 64]).unwrap();
            let again = PartialConfig::parse(&partial.commented().unwrap()).unwrap();
            let own = PartialConfig::parse(&config.to_toml()).unwrap().check().unwrap();

            assert_eq!(again.resolve(&[64, 64]).unwrap(), config, "{architecture}");
            assert_eq!(own, config, "{architecture}");
            assert_eq!(config.differences(&own), [], "{architecture}");
        }
    }

    #[test]
    fn every_key_has_its_place_in_some_configuration() {
        let mut written = BTreeSet::new();
        for architecture in ARCHITECTURES {
            let mut partial = PartialConfig::default();
            partial.set(ARCHITECTURE, architecture).unwrap();
            let mut table = String::new();
            for line in partial.commented().unwrap().lines() {
                if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                    table = format!("{name}.");
                } else if let Some((name, _)) = line.trim_start_matches("# ").split_once(" =") {
                    written.insert(format!("{table}{name}"));
                }
            }
        }

        let all = KEYS.iter().map(|key| key.path.to_owned()).collect();
        assert_eq!(written, all);
    }

    #[test]
    fn what_is_set_takes_the_place_of_what_it_excludes() {
        let mut partial = PartialConfig::parse(
            "hooks = ['blocks.0.hook_resid_post']\nsource.store = 's'\nrecipe.steps = 9\n\
             recipe.method = { architecture = 'relu', l1 = 2.0 }",
        )
        .unwrap();
        partial.set("source.activations", "f").unwrap();
        partial.set("recipe.tokens", 8193).unwrap();
        partial.set(ARCHITECTURE, "top-k").unwrap();

        let config = partial.resolve(&[4]).unwrap();

        assert_eq!(config.recipe.steps, 3);
        assert_eq!((config.recipe.d_sae, config.source.store), (32, None));
    }

    #[test]
    fn sizes_that_fit_alone_and_not_together_are_refused_once_the_width_is_known() {
        let partial = PartialConfig::parse(
            "hooks = ['blocks.0.hook_resid_post']\nsource.store = 's'\nrecipe.d-sae = 16777216\n\
             recipe.batch = 256",
        )
        .unwrap();
        partial.check().unwrap();
        partial.resolve(&[256]).unwrap();

        let error = partial.resolve(&[257]).unwrap_err();

        let expected = "`recipe.d-sae` is 16777216; it must be 1 to 16711935 for a width of 257";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn hook_points_of_different_widths_need_a_number_of_features() {
        let mut partial = PartialConfig::parse(
            "hooks = ['blocks.0.hook_resid_post', 'blocks.0.mlp.hook_post']\nsource.store = 's'",
        )
        .unwrap();

        let error = partial.resolve(&[4, 16]).unwrap_err();
        partial.set("recipe.d-sae", 64).unwrap();

        assert_eq!(
            error.to_string(),
            "the hook points have different widths (4 to 16); set `recipe.d-sae`, which applies to all"
        );
        assert_eq!(partial.resolve(&[4, 16]).unwrap().recipe.d_sae, 64);
    }
}
