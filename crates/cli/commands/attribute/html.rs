//! The report and its graph as one HTML file that opens from disk.

use std::path::Path;

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nanoscope::Microscope;
use nanoscope_attribute::{Attribution, Graph, GraphNodeKind, Report};
use nanoscope_checkpoint::{is_stdout, write_atomically};
use nanoscope_hooks::HookPoint;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::graph::Drawn;
use crate::terminal::feature_name::{FeatureName, Naming};
use crate::terminal::messages::note;

const INDEX: &str = include_str!("page/index.html");
const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = concat!(
    include_str!("page/dom.js"),
    include_str!("page/graph.js"),
    include_str!("page/why.js"),
);

/// The contents of a page.
pub(super) struct Page<'a> {
    /// The model's name.
    pub(super) model: &'a str,
    pub(super) report: &'a Report,
    /// The graph in the form of [`graph`].
    pub(super) graph: Option<Value>,
    /// The command that takes the first feature away.
    pub(super) command: Option<&'a str>,
}

impl Page<'_> {
    /// The page as HTML.
    fn html(&self) -> Result<String> {
        let data = json!({
            "model": self.model, "report": self.report, "graph": self.graph, "command": self.command,
        });
        // In JSON a `<` is always part of a string, where it may be written as an escape.
        let data = serde_json::to_string(&data)?.replace('<', "\\u003c");
        // The data comes last, so that no mark in it is replaced.
        Ok(INDEX
            .replace("{{script-hash}}", &hash(SCRIPT))
            .replace("{{style-hash}}", &hash(STYLE))
            .replace("{{style}}", STYLE)
            .replace("{{script}}", SCRIPT)
            .replacen("{{data}}", &data, 1))
    }

    /// Writes the page to `path`.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        write_atomically(path, self.html()?.as_bytes())?;
        if !is_stdout(path) {
            note(&format!("the page is in {}", path.display()));
        }
        Ok(())
    }
}

/// A graph in the form that `graph.js` reads: nodes with names, and edges as `[source, target, weight]`.
pub(super) fn graph(scope: &Microscope, attribution: &Attribution<'_>, drawn: &Drawn) -> Value {
    let node = |kind| node(scope, attribution, kind);
    let nodes: Vec<Value> = drawn.graph.nodes().iter().map(|one| node(one.kind)).collect();
    json!({"all": drawn.all, "nodes": nodes, "edges": edges(&drawn.graph)})
}

fn edges(graph: &Graph) -> Vec<Value> {
    graph.edges().iter().map(|edge| json!([edge.source, edge.target, edge.weight])).collect()
}

fn node(scope: &Microscope, attribution: &Attribution<'_>, kind: GraphNodeKind) -> Value {
    match kind {
        GraphNodeKind::Feature { row, hook, position, feature, activation } => {
            scope.prepare(hook, &[(feature, 0.0)]);
            let name = Naming::name(scope, hook, feature);
            json!({
                "kind": "feature", "hook": hook, "position": position, "feature": feature,
                "activation": activation, "attribution": attribution.features()[row].attribution,
                "label": name.as_ref().map(FeatureName::text),
                "auto": name.is_some_and(|name| name.automatic),
            })
        }
        GraphNodeKind::Error { hook, position } => json!({
            "kind": "error", "hook": hook, "position": position,
            "attribution": error(attribution, hook, position),
        }),
        GraphNodeKind::Token { position, id } => {
            let text = scope.model().token_text(id);
            json!({"kind": "token", "position": position, "text": text})
        }
        GraphNodeKind::Logit { id, probability, is_target } => {
            let text = scope.model().token_text(id);
            json!({
                "kind": "logit", "text": text, "probability": probability, "is_target": is_target,
            })
        }
    }
}

/// The attribution of an error term.
fn error(attribution: &Attribution<'_>, hook: HookPoint, position: usize) -> f32 {
    let terms = attribution.hooks().iter().find(|terms| terms.hook == hook);
    terms.map_or(0.0, |terms| terms.error[position])
}

/// A script's or style's source in a content security policy.
fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use nanoscope_attribute::{
        ReportFeature, ReportHook, ReportMetric, ReportSubject, ReportToken,
    };

    use super::*;

    const HOSTILE: &str = "</script><img src=x onerror=alert(1)><!-- {{script}} {{data}} \u{2028}";

    fn report(text: &str) -> Report {
        let hook = HookPoint::ResidPost(0);
        let token = ReportToken { id: 7, text: text.into(), rank: 1, logit: 2.0, logprob: -0.5 };
        Report {
            tokens: vec![7],
            texts: vec![text.into()],
            position: 0,
            target: ReportSubject::Token(token),
            contrast: None,
            metric: ReportMetric { name: "logprob", value: -0.5 },
            ig_steps: 1,
            hooks: vec![ReportHook {
                hook,
                active: 1,
                features: 0.5,
                error: 0.1,
                bias: 0.0,
                error_share: 0.2,
                ig: None,
                without_features: None,
            }],
            found: 1,
            features: vec![ReportFeature {
                hook,
                position: 0,
                feature: 3,
                activation: 1.0,
                gradient: 0.5,
                attribution: 0.5,
                ablation: None,
                disagrees: false,
                ig: None,
                direct: None,
                label: Some(text.into()),
                auto: false,
                steer: String::new(),
            }],
            errors: Vec::new(),
            alternatives: Vec::new(),
            components: None,
            lens: Vec::new(),
            faithfulness: None,
            steer: None,
        }
    }

    fn page(text: &str) -> String {
        let report = report(text);
        let graph = json!({"nodes": [{"kind": "token", "position": 0, "text": text}]});
        let page = Page { model: text, report: &report, graph: Some(graph), command: Some(text) };
        page.html().unwrap()
    }

    /// The text between the first `before` and the next `after`.
    fn between<'t>(text: &'t str, before: &str, after: &str) -> &'t str {
        text.split_once(before).unwrap().1.split_once(after).unwrap().0
    }

    #[test]
    fn foreign_text_is_in_the_data_alone_and_comes_back_from_it() {
        let (hostile, plain) = (page(HOSTILE), page("dog"));

        let start = "<script type=\"application/json\" id=\"data\">";
        let data = between(&hostile, start, "</script>");
        let rest = hostile.replacen(data, "", 1);
        assert_eq!(rest, plain.replacen(between(&plain, start, "</script>"), "", 1));
        assert!(!data.contains('<'));
        let found: Value = serde_json::from_str(data).unwrap();
        for text in [
            &found["report"]["texts"][0],
            &found["report"]["features"][0]["label"],
            &found["graph"]["nodes"][0]["text"],
            &found["model"],
            &found["command"],
        ] {
            assert_eq!(text, HOSTILE);
        }
    }

    #[test]
    fn the_policy_allows_the_script_and_the_style_and_nothing_else() {
        let page = page("dog");

        let policy = between(&page, "Content-Security-Policy\" content=\"", "\"");
        let script = between(page.rsplit_once("<script>").unwrap().1, "", "</script>");
        assert_eq!(script, SCRIPT);
        assert_eq!(between(&page, "<style>", "</style>"), STYLE);
        let expected = format!(
            "default-src 'none'; script-src '{}'; style-src '{}'; img-src data:; base-uri 'none'; \
             form-action 'none'",
            hash(script),
            hash(STYLE),
        );
        assert_eq!(policy, expected);
        // SHA-256 of no bytes, as `openssl dgst -sha256 -binary | base64` writes it.
        assert_eq!(hash(""), "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }
}
