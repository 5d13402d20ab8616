//! Writes a configuration as TOML, and compares two configurations.

use std::fmt::Write;

use toml::Value;

use super::config::RunConfig;
use super::config_error::Difference;
use super::keys::{self, ARCHITECTURE, KEYS};
use super::values::{Values, from_config};

impl RunConfig {
    /// Writes this configuration as a TOML file that [`PartialConfig::read`](crate::PartialConfig::read) can read.
    pub fn to_toml(&self) -> String {
        let values = from_config(self);
        let architecture =
            values[ARCHITECTURE].as_str().expect("an architecture is a name").to_owned();
        write(&values, &architecture, Width::Bare)
    }

    /// Returns the keys whose values differ from those `before`.
    pub fn differences(&self, before: &Self) -> Vec<Difference> {
        let (was, is) = (from_config(before), from_config(self));
        let text = |value: Option<&Value>| value.map(ToString::to_string);
        KEYS.iter()
            .filter(|key| was.get(key.path) != is.get(key.path))
            .map(|key| Difference {
                key: key.path,
                was: text(was.get(key.path)),
                is: text(is.get(key.path)),
            })
            .collect()
    }
}

/// The amount written: only keys with a value, or unset keys as comments too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    Bare,
    Commented,
}

pub(crate) fn write(values: &Values, architecture: &str, width: Width) -> String {
    let mut text = String::new();
    let mut table = "";
    for key in KEYS {
        if !keys::is_for(key.path, architecture) {
            continue;
        }
        let value = values.get(key.path);
        if value.is_none() && width == Width::Bare {
            continue;
        }
        let (of, name) = key.path.rsplit_once('.').unwrap_or(("", key.path));
        if of != table {
            let _ = write!(text, "\n[{of}]\n");
            table = of;
        }
        for line in key.meaning.lines() {
            let _ = writeln!(text, "# {line}");
        }
        let _ = match value {
            Some(value) => writeln!(text, "{name} = {value}"),
            None => writeln!(text, "# {name} ="),
        };
    }
    text
}
