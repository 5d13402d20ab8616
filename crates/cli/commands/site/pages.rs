//! The page of the server, changed for a site without one.

use anyhow::{Result, ensure};

/// As strict as the server's policy. A page cannot set `frame-ancestors` for itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      img-src 'self' data:; connect-src 'self'; worker-src 'self'; base-uri 'none'; \
                      form-action 'none'";

/// The page's and the site's own files, with their paths. A file of the site replaces the page's.
pub(super) fn pages() -> Result<Vec<(String, String)>> {
    let own = nanoscope_browser::site_files();
    let is_replaced = |path: &str| own.iter().any(|(name, _)| path == format!("assets/{name}"));
    let mut pages = Vec::new();
    for (path, text) in nanoscope_server::page_files().filter(|(path, _)| !is_replaced(path)) {
        let text = if path == "index.html" { index(text)? } else { text.to_owned() };
        pages.push((path, text));
    }
    pages.extend(own.iter().map(|(name, text)| (format!("assets/{name}"), (*text).to_owned())));
    Ok(pages)
}

/// The front page, which loads its files relative to its own address.
fn index(page: &str) -> Result<String> {
    let mut page = page.to_owned();
    let policy = format!("<meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">");
    for (from, to) in [
        ("=\"/assets/", "=\"assets/"),
        ("<meta charset=\"utf-8\">", &format!("<meta charset=\"utf-8\">\n{policy}")),
        (
            "<script type=\"module\" src=\"assets/main.js\">",
            "<link rel=\"stylesheet\" href=\"assets/site/site.css\">\n\
             <script type=\"module\" src=\"assets/site/own.js\"></script>\n\
             <script type=\"module\" src=\"assets/site/rest.js\"></script>\n\
             <script type=\"module\" src=\"assets/site/processor.js\"></script>\n\
             <script type=\"module\" src=\"assets/main.js\">",
        ),
        ("No answer from the server", "The model cannot be used"),
        ("Reconnect", "Try again"),
    ] {
        ensure!(page.contains(from), "the page has no `{from}`");
        page = page.replace(from, to);
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_loads_nothing_from_the_root_and_everything_that_it_loads_is_there() {
        let pages = pages().unwrap();
        let find = |path: &str| pages.iter().find(|(name, _)| name == path).map(|(_, text)| text);
        let index = find("index.html").unwrap();

        assert!(!index.contains("\"/"), "{index}");
        for part in index.split("\"assets/").skip(1) {
            let path = format!("assets/{}", part.split('"').next().unwrap());
            assert!(find(&path).is_some(), "{path}");
        }
        let transports = pages.iter().filter(|(name, _)| name == "assets/client/transport.js");
        let transports: Vec<_> = transports.collect();
        assert_eq!(transports.len(), 1);
        assert!(!transports[0].1.contains("fetch("), "{}", transports[0].1);
    }
}
