//! The data of a graph.

use nanoscope_hooks::HookPoint;

/// The strongest features behind a token, with the edges between them.
///
/// An edge's weight is gradient × activation of the target: of a feature its pre-activation, of a token its logit.
/// It counts the effects that pass through no other SAE's activation, so that neighbouring SAEs are joined, and
/// sums over paths count nothing twice: between residual streams of neighbouring blocks these are all effects. In
/// eras of nanochat in which the embedding enters every block, or a middle block's output leaves the stream at the
/// end, such ways past an SAE are edges of their own.
///
/// Attention patterns and norms are not frozen, unlike in the attribution graphs of Ameisen et al. 2025
/// (circuit-tracer), whose pruning this follows. Biases are not nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    pub(crate) nodes: Vec<GraphNode>,
    pub(crate) edges: Vec<GraphEdge>,
    pub(crate) tokens: Vec<u32>,
    pub(crate) n_layer: usize,
    /// The threshold of the nodes, if the graph is pruned.
    pub(crate) node_threshold: Option<f64>,
}

impl Graph {
    /// The nodes: features, errors, tokens and logits, in this order.
    pub fn nodes(&self) -> &[GraphNode] {
        &self.nodes
    }

    /// The edges, by target and then by source.
    pub fn edges(&self) -> &[GraphEdge] {
        &self.edges
    }
}

/// A node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GraphNode {
    /// Its kind.
    pub kind: GraphNodeKind,
    /// The share of all influence that the nodes with at least as much influence have together: 0.8 belongs to the
    /// last of the nodes that make the first 80 %. Pruning compares it with a threshold. Of a node without
    /// influence it is 1.
    pub influence: f64,
}

/// A kind of node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum GraphNodeKind {
    /// An active feature.
    Feature {
        /// The row in [`Attribution::features`](crate::Attribution::features).
        row: usize,
        /// The hook point that its SAE reads.
        hook: HookPoint,
        /// The position.
        position: usize,
        /// The feature.
        feature: u32,
        /// Its value.
        activation: f32,
    },
    /// The error term of an SAE at a position.
    Error {
        /// The hook point that the SAE reads.
        hook: HookPoint,
        /// The position.
        position: usize,
    },
    /// The embedding of a token, as it enters the residual stream.
    Token {
        /// The position.
        position: usize,
        /// The token.
        id: u32,
    },
    /// The logit of a token after the text.
    Logit {
        /// The token.
        id: u32,
        /// Its probability.
        probability: f64,
        /// True for the target.
        is_target: bool,
    },
}

/// An edge between two nodes, by their indices.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GraphEdge {
    /// The cause.
    pub source: usize,
    /// The node that it acts on: a feature or a logit.
    pub target: usize,
    /// The effect; positive raises the target.
    pub weight: f32,
}
