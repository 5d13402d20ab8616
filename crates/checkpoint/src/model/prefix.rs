//! Prefixes of weights' names.

use std::collections::BTreeSet;

use crate::container::{PlainValue, TensorSource};
use crate::error::CheckpointError;

/// A weight that every model has.
const A_WEIGHT: &str = "transformer.wte.weight";

/// The dictionaries in which training scripts keep a model's weights, beside other entries.
const DICTIONARIES: [&str; 4] = ["model", "module", "state_dict", "model_state_dict"];

/// The attributes in which wrappers keep their module: those of `DataParallel` and
/// `DistributedDataParallel`, of `torch.compile`, and of training scripts.
const WRAPPERS: [&str; 3] = ["module", "_orig_mod", "model"];

/// The prefix of the names of a model's weights.
pub(super) struct Prefix {
    /// All of it, with a dot at the end unless it is empty.
    pub(super) prefix: String,
    /// The dictionary at its start, which has all weights of the model and no others.
    pub(super) root: String,
}

/// Returns the prefix of the weights in `source`: a dictionary or none, followed by any wrappers.
///
/// # Errors
/// [`CheckpointError::UnknownPrefix`] if another prefix is in front of a weight that every model has,
/// [`CheckpointError::SeveralPrefixes`] if there are several.
pub(super) fn find_prefix(source: &TensorSource) -> Result<Prefix, CheckpointError> {
    let path = || source.path().to_owned();
    let of_weight = |(name, _)| before(name, A_WEIGHT);
    let all: BTreeSet<&str> = source.tensors().filter_map(of_weight).collect();
    let root_of = |prefix: &str| {
        let first = prefix.split('.').next().filter(|first| DICTIONARIES.contains(first))?;
        let value = source.only()?.value(first)?;
        matches!(value, PlainValue::Dict(_)).then(|| format!("{first}."))
    };
    let parts = |prefix: &str| {
        let root = root_of(prefix).unwrap_or_default();
        let is_known = prefix[root.len()..].split_terminator('.').all(|p| WRAPPERS.contains(&p));
        is_known.then(|| Prefix { prefix: prefix.to_owned(), root })
    };
    let mut known: Vec<Prefix> = all.iter().filter_map(|prefix| parts(prefix)).collect();
    match (known.pop(), known.is_empty()) {
        (Some(prefix), true) => Ok(prefix),
        (Some(last), false) => {
            known.push(last);
            let prefixes = known.into_iter().map(|prefix| format!("`{}`", prefix.prefix)).collect();
            Err(CheckpointError::SeveralPrefixes { path: path(), prefixes })
        }
        (None, _) => match all.first() {
            Some(&prefix) => Err(CheckpointError::UnknownPrefix {
                path: path(),
                prefix: prefix.to_owned(),
                known: [&DICTIONARIES[2..], &WRAPPERS].concat().join(", "),
            }),
            // That the weight is missing will be said by its name.
            None => Ok(Prefix { prefix: String::new(), root: String::new() }),
        },
    }
}

/// Returns the text in front of `end`, which is empty or ends with a dot.
fn before<'a>(name: &'a str, end: &str) -> Option<&'a str> {
    let prefix = name.strip_suffix(end)?;
    (prefix.is_empty() || prefix.ends_with('.')).then_some(prefix)
}
