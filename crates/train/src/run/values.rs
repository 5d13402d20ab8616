//! Conversion between configuration values and TOML tables.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::config::RunConfig;
use super::config_error::ConfigError;
use super::keys;

/// Values by key.
pub(crate) type Values = BTreeMap<&'static str, Value>;

/// Sets the value of the key at `path`.
pub(crate) fn put(values: &mut Values, path: &str, value: Value) -> Result<(), ConfigError> {
    let key = keys::find(path).ok_or_else(|| ConfigError::UnknownKey {
        key: path.chars().take(200).collect(),
        nearest: keys::nearest(path),
    })?;
    values.insert(key.path, value);
    Ok(())
}

/// Collects the values of a table.
pub(crate) fn from_table(table: Table) -> Result<Values, ConfigError> {
    let mut values = Values::new();
    flatten("", table, &mut |path, value| put(&mut values, path, value))?;
    Ok(values)
}

/// Collects the values of a configuration.
pub(crate) fn from_config(config: &RunConfig) -> Values {
    let table = Table::try_from(config).expect("numbers, names and paths make TOML");
    from_table(table).expect("every field has its key")
}

fn flatten(
    prefix: &str,
    table: Table,
    put: &mut dyn FnMut(&str, Value) -> Result<(), ConfigError>,
) -> Result<(), ConfigError> {
    for (name, value) in table {
        let path = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(inner) if keys::find(&path).is_none() => flatten(&path, inner, put)?,
            value => put(&path, value)?,
        }
    }
    Ok(())
}

/// Nests the values in tables.
pub(crate) fn to_table(values: Values) -> Table {
    let mut root = Table::new();
    // A missing table gets its defaults, but `source` must be present for its keys to be checked.
    root.insert("source".to_owned(), Table::new().into());
    for (path, value) in values {
        let mut table = &mut root;
        let mut names = path.split('.').peekable();
        while let Some(name) = names.next() {
            if names.peek().is_none() {
                table.insert(name.to_owned(), value);
                break;
            }
            let inner = table.entry(name.to_owned()).or_insert_with(|| Table::new().into());
            table = inner.as_table_mut().expect("no key is another's table");
        }
    }
    if !root.contains_key("hooks") {
        root.insert("hooks".to_owned(), Value::Array(Vec::new()));
    }
    root
}
