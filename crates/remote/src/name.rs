//! The names of objects, which become names of files.

use std::collections::BTreeMap;

use crate::error::RemoteError;

/// The longest name, which is S3's own limit, in bytes.
const MAX_NAME_BYTES: usize = 1024;
/// The longest part of a name between slashes, which is the limit of most file systems, in bytes.
const MAX_PART_BYTES: usize = 255;
/// The most parts of a name. Folders of texts are searched to the same depth.
const MAX_PARTS: usize = 64;

/// Checks that the name of an object, with slashes between its parts, is the path of a file below a folder.
pub(crate) fn check_name(name: &str) -> Result<(), &'static str> {
    if name.len() > MAX_NAME_BYTES {
        return Err("it has more than 1024 bytes");
    }
    if name.split('/').count() > MAX_PARTS {
        return Err("it has more than 64 parts");
    }
    for part in name.split('/') {
        match part {
            "" => return Err("one part is empty"),
            "." => return Err("one part is `.`"),
            ".." => return Err("one part is `..`"),
            part if part.len() > MAX_PART_BYTES => {
                return Err("one part has more than 255 bytes");
            }
            part if part.chars().any(char::is_control) => {
                return Err("it has a control character");
            }
            part if part.contains('\\') => return Err("it has a backslash"),
            // A drive, or a stream of a file.
            part if cfg!(windows) && part.contains(':') => return Err("it has a colon"),
            _ => {}
        }
    }
    Ok(())
}

/// Checks that files of these names can lie in one folder, also in one that ignores case.
///
/// # Errors
/// [`RemoteError::Name`], [`RemoteError::Collision`].
pub(crate) fn check_names<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), RemoteError> {
    let mut folded: BTreeMap<String, &str> = BTreeMap::new();
    for name in names {
        check_name(name).map_err(|reason| RemoteError::Name { name: name.to_owned(), reason })?;
        if let Some(other) = folded.insert(name.to_lowercase(), name) {
            return Err(collision(other, name));
        }
    }
    // A file cannot also be a folder.
    for (lower, name) in &folded {
        let mut parents = lower.match_indices('/').map(|(at, _)| &lower[..at]);
        if let Some(other) = parents.find_map(|parent| folded.get(parent)) {
            return Err(collision(other, name));
        }
    }
    Ok(())
}

fn collision(first: &str, second: &str) -> RemoteError {
    RemoteError::Collision { first: first.to_owned(), second: second.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_refused_and_odd_ones_are_not() {
        let (long, longer) = ("a".repeat(255), "a".repeat(256));
        let many = vec!["a".repeat(250); 5].join("/");
        for name in ["a.txt", "a b/ü.txt", ".hidden", "...", "a..b", "~", "-rf", long.as_str()] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for (name, reason) in [
            ("", "one part is empty"),
            ("/etc/passwd", "one part is empty"),
            ("a/", "one part is empty"),
            ("a//b", "one part is empty"),
            ("..", "one part is `..`"),
            ("a/../../b", "one part is `..`"),
            ("./a", "one part is `.`"),
            ("a\0", "it has a control character"),
            ("a\nb", "it has a control character"),
            ("\u{1b}[31m", "it has a control character"),
            ("..\\..\\a", "it has a backslash"),
            (longer.as_str(), "one part has more than 255 bytes"),
            (many.as_str(), "it has more than 1024 bytes"),
            (&["a"; 65].join("/"), "it has more than 64 parts"),
        ] {
            assert_eq!(check_name(name), Err(reason), "{name}");
        }
    }

    #[test]
    fn names_that_one_file_system_cannot_hold_are_refused_together() {
        let check =
            |names: &[&str]| check_names(names.iter().copied()).map_err(|error| error.to_string());

        assert_eq!(check(&["a.txt", "b/a.txt", "ab", "a"]), Ok(()));
        for names in [["a.txt", "A.TXT"], ["É", "é"], ["a", "a/b"], ["B/c/d", "b"], ["a", "a"]] {
            let error = check(&names).unwrap_err();
            assert!(error.contains("cannot both be files"), "{error}");
        }
        assert!(check(&["a", ".."]).unwrap_err().contains("one part is `..`"));
    }
}
