//! Pruning by influence, with the two thresholds of circuit-tracer.

use crate::error::AttributeError;
use crate::graph::node::{Graph, GraphEdge, GraphNode, GraphNodeKind};

impl Graph {
    /// Keeps the nodes and edges that carry most of the influence on the logits.
    ///
    /// The influence of a node is the sum, over all paths to a logit, of the product of the edges' shares in what acts
    /// on their targets (by absolute weight). Target and contrast count the same, unlike in circuit-tracer, where a logit
    /// counts by its probability: an unlikely target is asked about as much. Kept are the nodes that make the first
    /// `node_threshold` of all influence, and of the edges between them those that make the first
    /// `edge_threshold`; then nodes that lost their last edge to a later node, and features that lost their last
    /// edge from an earlier one, go too. Tokens and logits always stay. circuit-tracer's defaults are
    /// 0.8 and 0.98.
    ///
    /// # Errors
    /// [`AttributeError::Threshold`] if a threshold is not between 0 and 1.
    pub fn prune(&self, node_threshold: f64, edge_threshold: f64) -> Result<Self, AttributeError> {
        for (name, found) in
            [("the node threshold", node_threshold), ("the edge threshold", edge_threshold)]
        {
            if !(0.0..=1.0).contains(&found) {
                return Err(AttributeError::Threshold { name, found: found.to_string() });
            }
        }
        let kinds: Vec<GraphNodeKind> = self.nodes.iter().map(|node| node.kind).collect();
        let influences = of_nodes(&kinds, &self.edges);
        let least = least_kept(&influences, node_threshold);
        let mut keep: Vec<bool> = kinds
            .iter()
            .zip(&influences)
            .map(|(kind, influence)| stays(kind) || (*influence > 0.0 && *influence >= least))
            .collect();
        let inside = |keep: &[bool], edge: &GraphEdge| keep[edge.source] && keep[edge.target];
        let mut edges = self.edges.clone();
        edges.retain(|edge| inside(&keep, edge));

        let scores = of_edges(&kinds, &edges);
        let least = least_kept(&scores, edge_threshold);
        let mut scores = scores.into_iter();
        edges.retain(|_| scores.next().is_some_and(|score| score > 0.0 && score >= least));
        loop {
            let (mut acts, mut is_acted_on) = (vec![false; keep.len()], vec![false; keep.len()]);
            for edge in &edges {
                acts[edge.source] = true;
                is_acted_on[edge.target] = true;
            }
            let before = keep.clone();
            for (at, kind) in kinds.iter().enumerate() {
                let is_feature = matches!(kind, GraphNodeKind::Feature { .. });
                keep[at] &= stays(kind) || acts[at] && (is_acted_on[at] || !is_feature);
            }
            if keep == before {
                break;
            }
            edges.retain(|edge| inside(&keep, edge));
        }
        Ok(self.only(&keep, edges, node_threshold))
    }

    /// The nodes to keep, and `edges` between them.
    fn only(&self, keep: &[bool], edges: Vec<GraphEdge>, node_threshold: f64) -> Self {
        let mut index = vec![0; keep.len()];
        let mut nodes: Vec<GraphNode> = Vec::new();
        for (at, node) in self.nodes.iter().enumerate().filter(|(at, _)| keep[*at]) {
            index[at] = nodes.len();
            nodes.push(*node);
        }
        let renumbered = edges.into_iter().map(|edge| GraphEdge {
            source: index[edge.source],
            target: index[edge.target],
            weight: edge.weight,
        });
        Self {
            edges: renumbered.collect(),
            nodes,
            tokens: self.tokens.clone(),
            n_layer: self.n_layer,
            node_threshold: Some(node_threshold),
        }
    }
}

/// Returns whether pruning never takes the node away.
fn stays(kind: &GraphNodeKind) -> bool {
    matches!(kind, GraphNodeKind::Token { .. } | GraphNodeKind::Logit { .. })
}

/// The influence of each node on the logits, their own probabilities left out.
pub(super) fn of_nodes(kinds: &[GraphNodeKind], edges: &[GraphEdge]) -> Vec<f64> {
    flow(kinds, edges).0
}

/// The influence that passes through each edge.
fn of_edges(kinds: &[GraphNodeKind], edges: &[GraphEdge]) -> Vec<f64> {
    flow(kinds, edges).1
}

/// The influence of nodes and of edges.
fn flow(kinds: &[GraphNodeKind], edges: &[GraphEdge]) -> (Vec<f64>, Vec<f64>) {
    let mut sums = vec![0.0; kinds.len()];
    for edge in edges {
        sums[edge.target] += f64::from(edge.weight).abs();
    }
    // An edge leads to a later hook point, so a node has all its influence before its own edges are reached.
    let mut order: Vec<usize> = (0..edges.len()).collect();
    order.sort_by(|&a, &b| rank(kinds, &edges[b]).cmp(&rank(kinds, &edges[a])));
    let (mut nodes, mut through) = (vec![0.0; kinds.len()], vec![0.0; edges.len()]);
    for at in order {
        let GraphEdge { source, target, weight } = edges[at];
        let arrived = match kinds[target] {
            GraphNodeKind::Logit { .. } => 1.0,
            _ => nodes[target],
        };
        through[at] = arrived * f64::from(weight).abs() / sums[target];
        nodes[source] += through[at];
    }
    (nodes, through)
}

/// The place of an edge's target in the pass: logits after every feature.
fn rank(kinds: &[GraphNodeKind], edge: &GraphEdge) -> (bool, Option<nanoscope_hooks::HookPoint>) {
    match kinds[edge.target] {
        GraphNodeKind::Feature { hook, .. } => (false, Some(hook)),
        _ => (true, None),
    }
}

/// The smallest of the scores that make the first `threshold` of their sum.
fn least_kept(scores: &[f64], threshold: f64) -> f64 {
    let shares = cumulative(scores);
    let reaches = scores.iter().zip(&shares).filter(|(_, share)| **share >= threshold);
    // The largest score with which the sum reaches the threshold; rounding may leave the last below 1.
    reaches
        .map(|(score, _)| *score)
        .fold(None, |most: Option<f64>, score| Some(most.map_or(score, |most| most.max(score))))
        .unwrap_or(0.0)
}

/// For each score, the share of the sum that the scores up to it make, the largest first; 1 if all are 0.
pub(super) fn cumulative(scores: &[f64]) -> Vec<f64> {
    let sum: f64 = scores.iter().sum();
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let mut shares = vec![1.0; scores.len()];
    let mut so_far = 0.0;
    for at in order {
        so_far += scores[at];
        if sum > 0.0 && scores[at] > 0.0 {
            shares[at] = (so_far / sum).min(1.0);
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use nanoscope_hooks::HookPoint;

    use super::*;

    fn feature(layer: usize, feature: u32) -> GraphNodeKind {
        let hook = HookPoint::ResidPost(layer);
        GraphNodeKind::Feature { row: 0, hook, position: 0, feature, activation: 1.0 }
    }

    /// Two tokens, a feature of layer 0, two of layer 1, an error of layer 1, and a logit.
    ///
    /// ```text
    /// token 4 → f0 (weight 1)       f0 → f1 (3), f0 → f2 (-1)
    /// token 5 → f2 (1)              f1 → logit (6), f2 → logit (-1), error → logit (1)
    /// ```
    fn graph() -> Graph {
        let token = |position| GraphNodeKind::Token { position, id: 0 };
        let kinds = vec![
            feature(0, 0),
            feature(1, 1),
            feature(1, 2),
            GraphNodeKind::Error { hook: HookPoint::ResidPost(1), position: 0 },
            token(0),
            token(1),
            GraphNodeKind::Logit { id: 9, probability: 0.5, is_target: true },
        ];
        let edge = |(source, target, weight)| GraphEdge { source, target, weight };
        let edges = [
            (4, 0, 1.0),
            (0, 1, 3.0),
            (0, 2, -1.0),
            (5, 2, 1.0),
            (1, 6, 6.0),
            (2, 6, -1.0),
            (3, 6, 1.0),
        ];
        let edges: Vec<GraphEdge> = edges.map(edge).to_vec();
        let shares = cumulative(&of_nodes(&kinds, &edges));
        let nodes = kinds.into_iter().zip(shares);
        let nodes = nodes.map(|(kind, influence)| GraphNode { kind, influence }).collect();
        Graph { nodes, edges, tokens: vec![0, 0], n_layer: 2, node_threshold: None }
    }

    fn kinds(graph: &Graph) -> Vec<GraphNodeKind> {
        graph.nodes.iter().map(|node| node.kind).collect()
    }

    #[test]
    fn influence_is_the_sum_over_paths_of_the_shares() {
        let graph = graph();

        let influences = of_nodes(&kinds(&graph), &graph.edges);

        // f1 has 6/8 of the logit's 1, f2 and the error 1/8 each; f0 all of f1's and half of f2's.
        let expected = [0.8125, 0.75, 0.125, 0.125, 0.8125, 0.0625, 0.0];
        assert_eq!(influences, expected);
    }

    #[test]
    fn the_cumulative_share_of_the_strongest_node_is_its_own() {
        let shares = cumulative(&[1.0, 0.0, 6.0, 3.0]);

        assert_eq!(shares, [1.0, 1.0, 0.6, 0.9]);
        assert_eq!(cumulative(&[0.0, 0.0]), [1.0, 1.0]);
        assert_eq!(least_kept(&[1.0, 0.0, 6.0, 3.0], 0.6), 6.0);
        assert_eq!(least_kept(&[1.0, 0.0, 6.0, 3.0], 0.61), 3.0);
    }

    #[test]
    fn pruning_keeps_the_strongest_path_with_tokens_and_logits() {
        // The sum is 2.6875: f0, its token and f1 are the first 88 %.
        let pruned = graph().prune(0.85, 1.0).unwrap();

        let names: Vec<GraphNodeKind> = kinds(&pruned);
        assert_eq!(names.len(), 5);
        assert_eq!(names[..2], [feature(0, 0), feature(1, 1)]);
        assert!(names[2..].iter().all(stays));
        let edge = |source, target, weight| GraphEdge { source, target, weight };
        assert_eq!(pruned.edges, [edge(2, 0, 1.0), edge(0, 1, 3.0), edge(1, 4, 6.0)]);
        assert_eq!(graph().prune(1.0, 1.0).unwrap().nodes, graph().nodes);
    }

    #[test]
    fn a_feature_without_an_edge_goes_with_what_led_to_it() {
        // Only the strongest edge stays: f1 → logit, whose own causes are gone.
        let pruned = graph().prune(1.0, 0.1).unwrap();

        assert!(kinds(&pruned).iter().all(stays), "{:?}", pruned.nodes);
        assert!(pruned.edges.is_empty());
    }

    #[test]
    fn a_threshold_that_is_no_share_is_refused() {
        for bad in [-0.1, 1.1, f64::NAN] {
            let error = graph().prune(0.8, bad).unwrap_err();
            let text =
                format!("the edge threshold is {bad}; a share of the influence is between 0 and 1");
            assert_eq!(error.to_string(), text);
        }
    }
}
