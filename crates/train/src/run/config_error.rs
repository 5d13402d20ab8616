use std::path::PathBuf;
use std::{fmt, io};

/// Errors in the configuration of a training run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file could not be read.
    #[error("could not read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The underlying error.
        source: io::Error,
    },
    /// A file is not valid TOML.
    #[error("{} is not valid TOML", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// The parser's error, with line and column.
        source: Box<toml::de::Error>,
    },
    /// A key is unknown.
    #[error("unknown key `{key}`{}", nearest.map(|key| format!("; did you mean `{key}`?")).unwrap_or_default())]
    UnknownKey {
        /// The key, with its tables.
        key: String,
        /// The most similar known key.
        nearest: Option<&'static str>,
    },
    /// A key belongs to another architecture.
    #[error("`{key}` does not apply to {architecture}, only to {only}")]
    OtherArchitecture {
        /// The key.
        key: &'static str,
        /// The configured architecture.
        architecture: String,
        /// The architectures that use the key.
        only: String,
    },
    /// A value has the wrong type.
    #[error("`{key}`: {reason}")]
    Value {
        /// The key.
        key: String,
        /// The expected and the actual type.
        reason: String,
    },
    /// Two mutually exclusive keys are set.
    #[error("`{one}` and `{other}` are mutually exclusive")]
    Both {
        /// One of the keys.
        one: &'static str,
        /// The other key.
        other: &'static str,
    },
    /// A required key is missing.
    #[error("`{key}` is missing: {meaning}")]
    Missing {
        /// The key, or the first of several alternatives.
        key: &'static str,
        /// The meaning of the key.
        meaning: &'static str,
    },
    /// A value is out of range.
    #[error("`{key}` is {found}; it must be {expected}")]
    Range {
        /// The key.
        key: &'static str,
        /// The value.
        found: String,
        /// The permitted range.
        expected: String,
    },
    /// A hook point is listed twice.
    #[error("`hooks` lists {hook} twice")]
    HookTwice {
        /// The hook point.
        hook: String,
    },
    /// An activation file is used with several hook points.
    #[error("an activation file holds one hook point; `hooks` lists {found}")]
    OneHook {
        /// Number of hook points.
        found: usize,
    },
    /// `expansion` is used with hook points of different widths.
    #[error(
        "the hook points have different widths ({narrow} to {wide}); set `recipe.d-sae`, which applies to all"
    )]
    Widths {
        /// The smallest width.
        narrow: usize,
        /// The largest width.
        wide: usize,
    },
    /// A resumed run has a different configuration.
    #[error("the run in {} has a different configuration: {}; only `recipe.steps` may change, to a larger number", dir.display(), list(differences))]
    Changed {
        /// The run's folder.
        dir: PathBuf,
        /// The differences.
        differences: Vec<Difference>,
    },
}

/// A key whose value differs between two configurations.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The key.
    pub key: &'static str,
    /// Its value in the earlier configuration, as TOML.
    pub was: Option<String>,
    /// Its value in the later configuration, as TOML.
    pub is: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
        write!(f, "`{}` was {} and is now {}", self.key, word(&self.was), word(&self.is))
    }
}

fn list(differences: &[Difference]) -> String {
    let lines: Vec<String> = differences.iter().map(ToString::to_string).collect();
    lines.join("; ")
}
