//! The difference between a URL and a path.

use std::path::Path;

/// The schemes that are recognised without a slash after the colon, as they are mistyped.
const KNOWN: [&str; 3] = ["s3", "https", "http"];

/// Returns whether `path` is meant as a URL: a scheme of two letters or more, a colon and a slash, as in
/// `s3://bucket`, `gs://bucket` or `s3:/bucket`. A file of such a name is reached by `./`.
pub(crate) fn is_url(path: &Path) -> bool {
    let Some((scheme, rest)) = path.to_str().and_then(|text| text.split_once(':')) else {
        return false;
    };
    // One letter is a drive of Windows.
    let is_scheme = scheme.len() > 1
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    let is_known = KNOWN.iter().any(|known| scheme.eq_ignore_ascii_case(known));
    is_scheme && (rest.starts_with('/') || is_known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_told_from_a_path_also_if_it_is_mistyped() {
        for url in
            ["s3://b/a", "S3://b", "s3:/b/a", "s3:b", "https:x", "gs://b", "file:///a", "hdfs:/a"]
        {
            assert!(is_url(Path::new(url)), "{url}");
        }
        for path in
            ["a.txt", "./s3://b", "/s3:/b", "C:/texts", "notes:1.txt", "a b:/c", "", ":/a", "-:/a"]
        {
            assert!(!is_url(Path::new(path)), "{path}");
        }
    }
}
