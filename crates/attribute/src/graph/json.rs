//! The graph as JSON for Neuronpedia and circuit-tracer's viewer.

use std::collections::BTreeSet;

use nanoscope_hooks::HookPoint;
use serde_json::{Value, json};

use crate::graph::node::{Graph, GraphNode, GraphNodeKind};

/// The origin of a graph, for its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GraphAbout<'a> {
    /// The graph's name, of letters, digits and hyphens.
    pub slug: &'a str,
    /// The model's id, on Neuronpedia if it has it.
    pub scan: &'a str,
    /// The text.
    pub prompt: &'a str,
    /// The set of SAEs on Neuronpedia in which the features have pages.
    pub source_set: Option<&'a str>,
}

impl Graph {
    /// The graph in the form that Neuronpedia's `graph-schema.json` and circuit-tracer's models describe.
    ///
    /// `token` gives the text of a token, `label` that of a feature. The layer of a node is the block of its SAE; if
    /// several SAEs are in one block, it is the SAE's number in execution order.
    ///
    /// Error nodes are called `{layer}_error_{position}`, because in circuit-tracer's own form an error can have the id
    /// of a feature. A logit's label has its probability in the form that Neuronpedia's page looks for.
    pub fn to_json(
        &self,
        about: &GraphAbout<'_>,
        token: impl Fn(u32) -> String,
        label: impl Fn(HookPoint, u32) -> Option<String>,
    ) -> Value {
        let layers = Layers::new(&self.nodes);
        let last = self.tokens.len().saturating_sub(1);
        let describe = |node: &GraphNode| {
            let id = self.id(node, &layers);
            let influence = node.influence;
            match node.kind {
                GraphNodeKind::Feature { hook, position, feature, activation, .. } => {
                    let layer = layers.of(hook);
                    json!({
                        "node_id": id, "feature": cantor(layer as u64, u64::from(feature)),
                        "layer": layer.to_string(), "ctx_idx": position,
                        "feature_type": "sparse autoencoder", "token_prob": 0.0,
                        "is_target_logit": false, "run_idx": 0, "reverse_ctx_idx": 0,
                        "jsNodeId": format!("{layer}_{feature}-0"),
                        "clerp": label(hook, feature).unwrap_or_default(),
                        "influence": influence, "activation": activation,
                    })
                }
                GraphNodeKind::Error { hook, position } => json!({
                    "node_id": id, "feature": -1, "layer": layers.of(hook).to_string(),
                    "ctx_idx": position, "feature_type": "mlp reconstruction error",
                    "token_prob": 0.0, "is_target_logit": false, "run_idx": 0, "reverse_ctx_idx": 0,
                    "jsNodeId": format!("{}_error-{position}", layers.of(hook)),
                    "clerp": format!("error at {hook}"), "influence": influence, "activation": null,
                }),
                GraphNodeKind::Token { position, id: token_id } => json!({
                    "node_id": id, "feature": position, "layer": "E", "ctx_idx": position,
                    "feature_type": "embedding", "token_prob": 0.0, "is_target_logit": false,
                    "run_idx": 0, "reverse_ctx_idx": 0, "jsNodeId": format!("E_{token_id}-{position}"),
                    "clerp": format!("Emb: \"{}\"", token(token_id)), "influence": influence,
                    "activation": null,
                }),
                GraphNodeKind::Logit { id: token_id, probability, is_target } => json!({
                    "node_id": id, "feature": token_id, "layer": self.logit_layer(&layers).to_string(),
                    "ctx_idx": last, "feature_type": "logit", "token_prob": probability,
                    "is_target_logit": is_target, "run_idx": 0, "reverse_ctx_idx": 0,
                    "jsNodeId": format!("L_{token_id}-{last}"),
                    "clerp": format!("Output \"{}\" (p={probability:.3})", token(token_id)),
                    "influence": null, "activation": null,
                }),
            }
        };
        let links = self.edges.iter().map(|edge| {
            json!({
                "source": self.id(&self.nodes[edge.source], &layers),
                "target": self.id(&self.nodes[edge.target], &layers),
                "weight": edge.weight,
            })
        });
        let texts: Vec<String> = self.tokens.iter().map(|&id| token(id)).collect();
        let mut metadata = json!({
            "slug": about.slug, "scan": about.scan, "transcoder_list": [],
            "prompt_tokens": texts, "prompt": about.prompt, "node_threshold": self.node_threshold,
            "schema_version": 1,
            "info": {"generator": {"name": "nanoscope", "version": env!("CARGO_PKG_VERSION")}},
        });
        if let Some(source_set) = about.source_set {
            metadata["feature_details"] = json!({ "neuronpedia_source_set": source_set });
        }
        if self.node_threshold.is_none()
            && let Some(metadata) = metadata.as_object_mut()
        {
            metadata.remove("node_threshold");
        }
        json!({
            "metadata": metadata,
            "qParams": {
                "pinnedIds": [], "supernodes": [], "linkType": "both", "clickedId": "", "sg_pos": "",
            },
            "nodes": self.nodes.iter().map(describe).collect::<Vec<_>>(),
            "links": links.collect::<Vec<_>>(),
        })
    }

    fn id(&self, node: &GraphNode, layers: &Layers) -> String {
        match node.kind {
            GraphNodeKind::Feature { hook, position, feature, .. } => {
                format!("{}_{feature}_{position}", layers.of(hook))
            }
            GraphNodeKind::Error { hook, position } => {
                format!("{}_error_{position}", layers.of(hook))
            }
            GraphNodeKind::Token { position, id } => format!("E_{id}_{position}"),
            GraphNodeKind::Logit { id, .. } => {
                let last = self.tokens.len().saturating_sub(1);
                format!("{}_{id}_{last}", self.logit_layer(layers))
            }
        }
    }

    /// The layer of the logits, which no SAE has.
    fn logit_layer(&self, layers: &Layers) -> usize {
        self.n_layer.max(layers.hooks.len()) + 1
    }
}

/// The number of a feature in a file that has one number for layer and feature.
fn cantor(layer: u64, feature: u64) -> u64 {
    (layer + feature) * (layer + feature + 1) / 2 + feature
}

/// The layers of the SAEs.
struct Layers {
    hooks: Vec<HookPoint>,
    by_block: bool,
}

impl Layers {
    fn new(nodes: &[GraphNode]) -> Self {
        let hooks: BTreeSet<HookPoint> = nodes
            .iter()
            .filter_map(|node| match node.kind {
                GraphNodeKind::Feature { hook, .. } | GraphNodeKind::Error { hook, .. } => {
                    Some(hook)
                }
                _ => None,
            })
            .collect();
        let blocks: BTreeSet<usize> = hooks.iter().filter_map(|hook| hook.layer()).collect();
        Self { by_block: blocks.len() == hooks.len(), hooks: hooks.into_iter().collect() }
    }

    fn of(&self, hook: HookPoint) -> usize {
        let number = || self.hooks.iter().position(|&other| other == hook).unwrap_or_default();
        hook.layer().filter(|_| self.by_block).unwrap_or_else(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::node::GraphEdge;

    fn node(kind: GraphNodeKind) -> GraphNode {
        GraphNode { kind, influence: 0.5 }
    }

    fn graph(hooks: [HookPoint; 2]) -> Graph {
        let feature = |hook| GraphNodeKind::Feature {
            row: 0,
            hook,
            position: 3,
            feature: 5,
            activation: 2.5,
        };
        let nodes = vec![
            node(feature(hooks[0])),
            node(feature(hooks[1])),
            node(GraphNodeKind::Error { hook: hooks[0], position: 3 }),
            node(GraphNodeKind::Token { position: 3, id: 7 }),
            node(GraphNodeKind::Logit { id: 9, probability: 0.348, is_target: true }),
        ];
        let edges = vec![GraphEdge { source: 0, target: 4, weight: -1.5 }];
        Graph { nodes, edges, tokens: vec![1, 2, 3, 7], n_layer: 4, node_threshold: Some(0.8) }
    }

    fn json(graph: &Graph) -> Value {
        let about = GraphAbout { slug: "a", scan: "demo", prompt: "once", source_set: None };
        graph.to_json(&about, |id| format!("t{id}"), |_, feature| Some(format!("label {feature}")))
    }

    #[test]
    fn nodes_have_the_ids_that_the_viewers_expect() {
        let found = json(&graph([HookPoint::ResidPost(0), HookPoint::ResidPost(3)]));

        let ids: Vec<&str> = found["nodes"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|n| n["node_id"].as_str())
            .collect();
        assert_eq!(ids, ["0_5_3", "3_5_3", "0_error_3", "E_7_3", "5_9_3"]);
        let feature = &found["nodes"][1];
        // (3 + 5)(3 + 5 + 1) / 2 + 5
        assert_eq!((&feature["feature"], &feature["layer"]), (&json!(41), &json!("3")));
        assert_eq!(feature["jsNodeId"], "3_5-0");
        assert_eq!((&feature["clerp"], &feature["activation"]), (&json!("label 5"), &json!(2.5)));
        assert_eq!(found["nodes"][2]["feature"], -1);
        assert!(found["nodes"][2]["feature_type"].as_str().unwrap().contains("error"));
        assert_eq!(found["nodes"][4]["clerp"], "Output \"t9\" (p=0.348)");
        assert_eq!(
            found["links"][0],
            json!({"source": "0_5_3", "target": "5_9_3", "weight": -1.5})
        );
        assert_eq!(found["metadata"]["prompt_tokens"], json!(["t1", "t2", "t3", "t7"]));
        assert_eq!(found["metadata"]["node_threshold"], 0.8);
    }

    #[test]
    fn two_saes_of_one_block_have_layers_of_their_own() {
        let found = json(&graph([HookPoint::ResidMid(3), HookPoint::ResidPost(3)]));

        let layers: Vec<&Value> =
            found["nodes"].as_array().unwrap().iter().map(|node| &node["layer"]).collect();
        assert_eq!(layers, ["0", "1", "0", "E", "5"]);
    }

    #[test]
    fn every_node_has_the_keys_that_the_schemas_require() {
        let found = json(&graph([HookPoint::ResidPost(0), HookPoint::ResidPost(3)]));

        for key in ["slug", "scan", "prompt_tokens", "prompt", "transcoder_list"] {
            assert!(!found["metadata"][key].is_null(), "{key}");
        }
        for node in found["nodes"].as_array().unwrap() {
            for key in ["node_id", "layer", "feature_type", "jsNodeId", "clerp"] {
                assert!(node[key].is_string(), "{node}, {key}");
            }
            assert!(node["feature"].is_i64() && node["ctx_idx"].is_u64(), "{node}");
        }
    }
}
