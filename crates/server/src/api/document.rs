//! The OpenAPI document.

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

/// Written by hand; `tests/other_tools/clients/schemathesis.py` validates responses against it.
const DOCUMENT: &str = include_str!("../../openapi.json");

/// `GET /openapi.json`
pub(crate) async fn document() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use serde_json::Value;

    use super::*;

    /// Collects the paths that the files under `dir` pass to a router.
    fn routed(dir: &Path, paths: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                routed(&path, paths);
            } else {
                let text = std::fs::read_to_string(&path).unwrap();
                for rest in text.split(".route(").skip(1) {
                    let rest = rest.trim_start();
                    if let Some(path) = rest.strip_prefix('"').and_then(|r| r.split('"').next()) {
                        paths.insert(path.to_owned());
                    }
                }
            }
        }
    }

    #[test]
    fn the_document_has_exactly_the_routes_outside_of_the_page() {
        let mut paths = BTreeSet::new();
        routed(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut paths);
        // Strings that are not paths come from this test's own code.
        paths.retain(|path| {
            path.starts_with('/')
                && path != "/"
                && !path.starts_with("/assets")
                && path != "/favicon.ico"
        });
        assert!(paths.contains("/v1/chat/completions"), "{paths:?}");

        let document: Value = serde_json::from_str(DOCUMENT).unwrap();

        let described: BTreeSet<String> =
            document["paths"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(described, paths);
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }

    #[tokio::test]
    async fn every_operation_is_answered_and_other_methods_are_not() {
        let app = crate::server_fixture::application(
            crate::server_fixture::served_model(),
            crate::Config::default(),
        );
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        for (path, operations) in document["paths"].as_object().unwrap() {
            let path = path.replace("{source}", "1-resid_post").replace("{index}", "3");
            let path = path.replace("{id}", "tiny");
            for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
                let there = operations.get(method.to_lowercase()).is_some();

                let (status, _) =
                    crate::server_fixture::ask_text(&app, method, &path, &Value::Null).await;

                assert_eq!(status.as_u16() != 405, there, "{method} {path}: {status}");
                assert!(status.as_u16() != 404, "{method} {path}");
            }
        }
    }
}
