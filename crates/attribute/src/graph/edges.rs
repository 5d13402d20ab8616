use std::collections::{BTreeMap, BTreeSet};

use burn::tensor::{Int, Tensor, TensorData};
use nanoscope_hooks::HookPoint;
use nanoscope_kernels::to_host;
use nanoscope_transformer::{StreamInput, TokenBatch};

use crate::attribution::Attribution;
use crate::error::AttributeError;
use crate::graph::node::{GraphEdge, GraphNodeKind};
use crate::metric::{Readout, TokenMetric};
use crate::pass::{Between, Differentiated, MAX_DIFFERENTIATED, Pass};
use crate::source::{AT_ONCE, Decomposed};

/// Computes the edges into every feature and logit of `nodes`, by target and then by source. The logits are the
/// last nodes, with these metrics.
pub(super) fn edges(
    attribution: &Attribution<'_>,
    nodes: &[GraphNodeKind],
    logits: &[TokenMetric],
) -> Result<Vec<GraphEdge>, AttributeError> {
    let seq = attribution.tokens.len();
    let batch = TokenBatch::new(std::slice::from_ref(&attribution.tokens))?;
    let inputs = attribution.model.gpt().stream_inputs(&batch)?;
    let mut features = Vec::new();
    for (at, node) in nodes.iter().enumerate() {
        if let GraphNodeKind::Feature { hook, position, feature, .. } = *node {
            let (sae, feature) = (attribution.at(hook)?.source.sae, feature as usize);
            features.push((at, Readout::Feature { hook, sae, feature, position }));
        }
    }
    let first_logit = nodes.len() - logits.len();
    let logits = logits.iter().enumerate();
    let logits: Vec<_> =
        logits.map(|(at, metric)| (first_logit + at, Readout::Token(*metric))).collect();
    let mut edges = Vec::new();
    for targets in [features, logits] {
        for targets in targets.chunks((MAX_DIFFERENTIATED / seq).max(1)) {
            edges.extend(into(attribution, nodes, &inputs, targets)?);
        }
    }
    Ok(edges)
}

/// Computes the edges into some targets, which are rows of one batch.
fn into(
    attribution: &Attribution<'_>,
    nodes: &[GraphNodeKind],
    inputs: &[StreamInput],
    targets: &[(usize, Readout<'_>)],
) -> Result<Vec<GraphEdge>, AttributeError> {
    let rows = targets.len();
    let readouts: Vec<Readout<'_>> = targets.iter().map(|(_, readout)| *readout).collect();
    let zeros = |parts: &Decomposed<'_>| {
        let [seq, width] = parts.activation.dims();
        let zeros = Tensor::zeros([rows * seq, width], &parts.activation.device());
        (parts.source.write, zeros)
    };
    let pass = Pass {
        gpt: attribution.model.gpt(),
        tokens: &attribution.tokens,
        readouts: &readouts,
        offsets: attribution.decomposed.iter().map(zeros).collect(),
        inputs: entered(inputs).collect(),
        between: Between::Direct,
        keep: BTreeSet::new(),
    };
    let found = pass.run()?;
    let weights = weights(attribution, nodes, inputs, rows, &found);
    let mut edges = Vec::new();
    for (row, &(target, _)) in targets.iter().enumerate() {
        for (source, weights) in weights.iter().enumerate() {
            let Some(weight) = weights.as_ref().map(|weights| weights[row]) else { continue };
            if !weight.is_finite() {
                return Err(AttributeError::NotFinite { quantity: "an edge" });
            }
            if weight != 0.0 {
                edges.push(GraphEdge { source, target, weight });
            }
        }
    }
    Ok(edges)
}

/// The points in front of the blocks to which an embedding is added.
fn entered(inputs: &[StreamInput]) -> impl Iterator<Item = HookPoint> {
    let of = |input: &StreamInput| {
        let used = input.weights.iter().enumerate().filter(|(_, weight)| **weight != 0.0);
        used.map(|(layer, _)| HookPoint::ResidPre(layer)).collect::<Vec<_>>()
    };
    inputs.iter().flat_map(of)
}

/// The weight of each node for each row; `None` for the logits.
fn weights(
    attribution: &Attribution<'_>,
    nodes: &[GraphNodeKind],
    inputs: &[StreamInput],
    rows: usize,
    found: &Differentiated,
) -> Vec<Option<Vec<f32>>> {
    let mut weights: Vec<Option<Vec<f32>>> = vec![None; nodes.len()];
    for parts in &attribution.decomposed {
        let [seq, width] = parts.activation.dims();
        let gradient = found.gradients[&parts.source.write].clone().reshape([rows, seq, width]);
        let mut features = Vec::new();
        for (at, node) in nodes.iter().enumerate() {
            if let GraphNodeKind::Feature { hook, position, feature, activation, .. } = *node
                && hook == parts.source.hook
            {
                features.push((at, position, feature as usize, activation));
            }
        }
        for part in features.chunks((AT_ONCE / (rows * width)).max(1)) {
            let ids: Vec<usize> = part.iter().map(|&(_, _, feature, _)| feature).collect();
            let positions: Vec<i32> = part.iter().map(|&(_, p, _, _)| p as i32).collect();
            let positions = TensorData::new(positions, [part.len()]);
            let positions = Tensor::<1, Int>::from_data(positions, &gradient.device());
            let directions = parts.directions(&ids).unsqueeze::<3>();
            let at_nodes = gradient.clone().select(1, positions);
            let products = to_host((at_nodes * directions).sum_dim(2)); // [rows, part]
            for (column, &(at, position, _, activation)) in part.iter().enumerate() {
                let value = activation * parts.factor(position);
                let of_row = |row: usize| value * products[row * part.len() + column];
                weights[at] = Some((0..rows).map(of_row).collect());
            }
        }
        let error = parts.error.clone().reshape([1, seq, width]);
        let errors = to_host((gradient * error).sum_dim(2));
        for (at, node) in nodes.iter().enumerate() {
            if let GraphNodeKind::Error { hook, position } = *node
                && hook == parts.source.hook
            {
                weights[at] = Some((0..rows).map(|row| errors[row * seq + position]).collect());
            }
        }
    }
    let of_tokens = token_weights(inputs, rows, &found.input_gradients);
    let seq = attribution.tokens.len();
    for (at, node) in nodes.iter().enumerate() {
        if let GraphNodeKind::Token { position, .. } = *node {
            weights[at] = Some((0..rows).map(|row| of_tokens[row * seq + position]).collect());
        }
    }
    weights
}

/// The weight of the embedding at each position for each row, `[rows · seq]`.
fn token_weights(
    inputs: &[StreamInput],
    rows: usize,
    gradients: &BTreeMap<HookPoint, Tensor<2>>,
) -> Vec<f32> {
    let mut sums: Vec<f32> = Vec::new();
    for input in inputs {
        let [_, seq, width] = input.activation.dims();
        sums.resize(rows * seq, 0.0);
        for (layer, &weight) in input.weights.iter().enumerate() {
            let Some(gradient) = gradients.get(&HookPoint::ResidPre(layer)) else { continue };
            let gradient = gradient.clone().reshape([rows, seq, width]);
            let products = to_host((gradient * input.activation.clone()).sum_dim(2) * weight);
            sums.iter_mut().zip(products).for_each(|(sum, product)| *sum += product);
        }
    }
    sums
}
