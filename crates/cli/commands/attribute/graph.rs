//! The graph of the strongest features.

use std::path::Path;

use anyhow::{Result, anyhow};
use nanoscope::Microscope;
use nanoscope_attribute::{Attribution, Graph, GraphAbout};
use nanoscope_checkpoint::write_atomically;
use serde_json::Value;

use crate::terminal::display::counted;
use crate::terminal::feature_name::Naming;
use crate::terminal::messages::note;
use crate::terminal::progress::with_spinner;

/// The thresholds of circuit-tracer: the nodes, and the edges, that have these shares of the influence stay.
const NODE_THRESHOLD: f64 = 0.8;
const EDGE_THRESHOLD: f64 = 0.98;

/// A pruned graph.
pub(super) struct Drawn {
    pub(super) graph: Graph,
    /// The number of nodes before it was pruned.
    pub(super) all: usize,
}

/// The graph of the `features` strongest features, pruned.
pub(super) fn pruned(attribution: &Attribution<'_>, features: usize) -> Result<Drawn> {
    let graph = with_spinner("joining features", || Graph::new(attribution, features))?;
    let all = graph.nodes().len();
    let graph = graph.prune(NODE_THRESHOLD, EDGE_THRESHOLD)?;
    note(&format!(
        "{} of {all} nodes and {} stay after pruning",
        graph.nodes().len(),
        counted(graph.edges().len() as u64, "edge", "edges"),
    ));
    Ok(Drawn { graph, all })
}

/// `graph` as JSON, with `slug` as its name.
pub(super) fn to_json(
    scope: &Microscope,
    attribution: &Attribution<'_>,
    graph: &Graph,
    slug: &str,
) -> Value {
    let token = |id| scope.model().token_text(id);
    let prompt: String = attribution.tokens().iter().map(|&id| token(id)).collect();
    let about = GraphAbout { slug, scan: "nanoscope", prompt: &prompt, source_set: None };
    let label = |hook, feature| {
        scope.prepare(hook, &[(feature, 0.0)]);
        Naming::name(scope, hook, feature).map(|name| name.text().to_owned())
    };
    graph.to_json(&about, token, label)
}

/// Writes `graph` to `path`.
pub(super) fn write(path: &Path, graph: &Value) -> Result<()> {
    let json = serde_json::to_vec(graph);
    let json = json.map_err(|error| anyhow!("could not write the graph as JSON: {error}"))?;
    write_atomically(path, &json)?;
    note(&format!("the graph is in {}", path.display()));
    Ok(())
}

/// A name for the graph in `path`: letters, digits and hyphens.
pub(super) fn slug(path: &Path) -> String {
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let allowed = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    stem.unwrap_or_default().chars().map(allowed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_has_no_character_that_a_viewer_refuses() {
        assert_eq!(slug(Path::new("a/My Graph_2.json")), "my-graph-2");
    }
}
