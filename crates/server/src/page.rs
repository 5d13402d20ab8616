//! The page and its modules, embedded in the binary.

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;

use crate::error::ApiError;
use crate::http::body;
use crate::state::AppState;

/// The style sheet, the only asset that is not a script.
const STYLE: &str = "style.css";

const INDEX: &str = include_str!("../page/index.html");

macro_rules! assets {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../page/", $name)))),*]
    };
}

/// The style sheet and scripts, by path under `/assets/`. There is no build step: browsers run the
/// files of the repository.
const ASSETS: &[(&str, &str)] = assets![
    "client/api.js",
    "client/attribute.js",
    "client/explain.js",
    "client/run.js",
    "client/sse.js",
    "client/transport.js",
    "inspect/active-panel.js",
    "inspect/feature-data.js",
    "inspect/feature-panel.js",
    "inspect/feature-rows.js",
    "inspect/inspector.js",
    "inspect/pin-list.js",
    "inspect/token-panel.js",
    "inspect/views.js",
    "inspect/why-panel.js",
    "inspect/why.js",
    "main.js",
    "page.js",
    "panels/controls.js",
    "panels/files.js",
    "panels/finder.js",
    "panels/hover-card.js",
    "panels/key-form.js",
    "panels/messages.js",
    "panels/nothing.js",
    "panels/recordings.js",
    "panels/runner.js",
    "panels/selection.js",
    "panels/shading.js",
    "panels/share-link.js",
    "panels/shortcut.js",
    "panels/steering.js",
    "panels/strength.js",
    "panels/topics.js",
    "state/active.js",
    "state/address.js",
    "state/causes.js",
    "state/diff.js",
    "state/effect.js",
    "state/names.js",
    "state/pins.js",
    "state/plain.js",
    "state/prompt.js",
    "state/recording.js",
    "state/share.js",
    "state/spec.js",
    "style.css",
    "theme.js",
    "view/copy.js",
    "view/dom.js",
    "view/download.js",
    "view/front.js",
    "view/name.js",
    "view/output.js",
    "view/say.js",
    "view/shade.js",
    "view/standalone.js",
    "view/text.js",
];

/// The files of the page with their paths: `index.html`, and what it loads from `/assets/`.
pub fn page_files() -> impl Iterator<Item = (String, &'static str)> {
    let assets = ASSETS.iter().map(|&(name, text)| (format!("assets/{name}"), text));
    std::iter::once(("index.html".to_owned(), INDEX)).chain(assets)
}

/// The routes of the page.
pub(crate) fn routes() -> Router<AppState> {
    Router::new().route("/", get(|| async { Html(INDEX) })).route("/assets/{*path}", get(asset))
}

async fn asset(body::Path(name): body::Path<String>) -> Response {
    let Some((_, text)) = ASSETS.iter().find(|(known, _)| *known == name) else {
        return ApiError::not_found("unknown asset").into_response();
    };
    let kind = if name == STYLE { "text/css" } else { "text/javascript" };
    ([(CONTENT_TYPE, format!("{kind}; charset=utf-8"))], *text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(name: &str) -> bool {
        ASSETS.iter().any(|(known, _)| *known == name)
    }

    /// The name of the module that `module` imports as `path`, `./x.js` or `../folder/x.js`.
    fn resolve(module: &str, path: &str) -> String {
        let mut parts: Vec<&str> = module.split('/').collect();
        parts.pop();
        for part in path.split('/') {
            match part {
                "." => {}
                ".." => drop(parts.pop().expect("an import stays in the page's folder")),
                part => parts.push(part),
            }
        }
        parts.join("/")
    }

    #[test]
    fn everything_that_the_page_and_its_modules_load_is_embedded() {
        for part in INDEX.split("/assets/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(known(name), "index.html loads {name}");
        }
        for (module, text) in ASSETS.iter().filter(|(name, _)| *name != STYLE) {
            for line in text.lines().filter(|line| line.starts_with("import ")) {
                let path = line.split('"').nth(1).unwrap();
                let name = resolve(module, path);
                assert!(known(&name), "{module} loads {name}");
            }
        }
    }

    /// The content security policy would silently block them.
    #[test]
    fn the_page_has_no_inline_script_or_style() {
        let scripts = INDEX.matches("<script").count();

        assert_eq!(
            scripts,
            INDEX.matches("<script src=").count()
                + INDEX.matches("<script type=\"module\" src=").count()
        );
        for inline in ["<style", " style=", " onclick=", "javascript:"] {
            assert!(!INDEX.contains(inline), "{inline}");
        }
    }
}
