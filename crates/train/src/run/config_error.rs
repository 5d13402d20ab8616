use std::path::PathBuf;
use std::{fmt, io};

/// Why a training's configuration means nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The operating system refuses.
    #[error("could not read {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A file is not TOML.
    #[error("{} is not TOML", path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// What the parser says, with line and column.
        source: Box<toml::de::Error>,
    },
    /// A key that means nothing.
    #[error("unknown key `{key}`{}", nearest.map(|key| format!("; is `{key}` meant?")).unwrap_or_default())]
    UnknownKey {
        /// The key, with its tables.
        key: String,
        /// A known key that is like it.
        nearest: Option<&'static str>,
    },
    /// A key of another architecture.
    #[error("`{key}` means nothing for {architecture}; it is for {only}")]
    OtherArchitecture {
        /// The key.
        key: &'static str,
        /// The architecture that is configured.
        architecture: String,
        /// Those that have the key.
        only: String,
    },
    /// A value of the wrong kind.
    #[error("`{key}`: {reason}")]
    Value {
        /// The key.
        key: String,
        /// What was expected and found.
        reason: String,
    },
    /// Two keys of which only one can hold.
    #[error("`{one}` and `{other}` are both given; only one can hold")]
    Both {
        /// One of them.
        one: &'static str,
        /// The other.
        other: &'static str,
    },
    /// A key that is needed.
    #[error("`{key}` is missing: {meaning}")]
    Missing {
        /// The key, or those of which one is needed.
        key: &'static str,
        /// What it means.
        meaning: &'static str,
    },
    /// A number out of range.
    #[error("`{key}` is {found}, it must be {expected}")]
    Range {
        /// The key.
        key: &'static str,
        /// The number.
        found: String,
        /// What is possible.
        expected: String,
    },
    /// A hook point twice.
    #[error("`hooks` names {hook} twice")]
    HookTwice {
        /// The hook point.
        hook: String,
    },
    /// An activation file with several hook points.
    #[error("an activation file is of one hook point, `hooks` names {found}")]
    OneHook {
        /// How many are named.
        found: usize,
    },
    /// `expansion` where hook points have different widths.
    #[error(
        "the hook points are {narrow} and {wide} numbers wide; say `recipe.d-sae`, which then holds for all"
    )]
    Widths {
        /// The least width.
        narrow: usize,
        /// The largest.
        wide: usize,
    },
    /// A resumed run with another configuration.
    #[error("the run in {} has another configuration: {}", dir.display(), list(differences))]
    Changed {
        /// The run's folder.
        dir: PathBuf,
        /// What differs.
        differences: Vec<Difference>,
    },
}

/// A key that two configurations do not have the same value for.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The key.
    pub key: &'static str,
    /// Its value in the one that was there before, as TOML.
    pub was: Option<String>,
    /// Its value in the other.
    pub is: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
        write!(f, "`{}` was {} and is {}", self.key, word(&self.was), word(&self.is))
    }
}

fn list(differences: &[Difference]) -> String {
    let lines: Vec<String> = differences.iter().map(ToString::to_string).collect();
    lines.join("; ")
}
