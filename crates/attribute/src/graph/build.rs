use crate::attribution::Attribution;
use crate::error::AttributeError;
use crate::graph::edges::edges;
use crate::graph::influence;
use crate::graph::node::{Graph, GraphNode, GraphNodeKind};
use crate::metric::{Readout, TokenMetric, softmax};

impl Graph {
    /// Joins the `features` strongest features by absolute attribution, all error terms and all tokens to each
    /// other and to the logits: the target's, and the contrast's if there is one.
    ///
    /// # Errors
    /// [`AttributeError::NeedsToken`] if the metric is a feature; [`AttributeError::NotFinite`] if a number is not
    /// finite.
    pub fn new(attribution: &Attribution<'_>, features: usize) -> Result<Self, AttributeError> {
        let (Readout::Token(metric), Some(logits)) = (attribution.readout, attribution.logits())
        else {
            return Err(AttributeError::NeedsToken { quantity: "a graph" });
        };
        let mut rows = attribution.strongest(features);
        rows.sort_unstable();
        let mut kinds: Vec<GraphNodeKind> = rows
            .into_iter()
            .map(|row| {
                let of = attribution.features()[row];
                let (hook, position) = (of.hook, of.position);
                let (feature, activation) = (of.feature, of.activation);
                GraphNodeKind::Feature { row, hook, position, feature, activation }
            })
            .collect();
        for terms in attribution.hooks() {
            let error = |position| GraphNodeKind::Error { hook: terms.hook, position };
            kinds.extend((0..attribution.tokens().len()).map(error));
        }
        let tokens = attribution.tokens().iter().enumerate();
        kinds.extend(tokens.map(|(position, &id)| GraphNodeKind::Token { position, id }));
        let probabilities: Vec<f64> = softmax(logits).collect();
        let logit = |id: u32, is_target| {
            let probability = probabilities[id as usize];
            (GraphNodeKind::Logit { id, probability, is_target }, TokenMetric::Logit { target: id })
        };
        let mut targets = vec![logit(metric.target(), true)];
        targets.extend(metric.contrast().map(|id| logit(id, false)));
        let (logits, metrics): (Vec<_>, Vec<_>) = targets.into_iter().unzip();
        kinds.extend(logits);

        let edges = edges(attribution, &kinds, &metrics)?;
        let influences = influence::of_nodes(&kinds, &edges);
        let shares = influence::cumulative(&influences);
        let nodes = kinds.into_iter().zip(shares);
        Ok(Self {
            nodes: nodes.map(|(kind, influence)| GraphNode { kind, influence }).collect(),
            edges,
            tokens: attribution.tokens().to_vec(),
            n_layer: attribution.model.gpt().config().shape.n_layer,
            node_threshold: None,
        })
    }
}
