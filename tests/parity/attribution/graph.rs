//! The edges of graphs are the attributions that they stand for.

use std::collections::{BTreeMap, BTreeSet};

use nanoscope_attribute::{Attribution, Graph, GraphAbout, GraphNodeKind, Metric, Question, Rest};
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::InterpretableModel;
use nanoscope_testing::{identity_sae, noisy_sae};
use nanoscope_transformer::TokenBatch;

use crate::attribution::properties::{METRIC, TOKENS, every};
use crate::attribution::reference::{Case, cases, demo};
use crate::golden::{assert_close, on_flex, tolerance, values};

const EDGE_ATOL: f32 = 8e-5;
/// Relative to the largest of the numbers compared.
const EDGE_RTOL: f32 = 1e-4;

fn logit_diff(case: &Case) -> Metric {
    Metric::LogitDiff { target: case.target, contrast: case.contrast }
}

/// The weights of the edges into a node, by source.
fn into(graph: &Graph, target: usize) -> BTreeMap<usize, f32> {
    let edges = graph.edges().iter().filter(|edge| edge.target == target);
    edges.map(|edge| (edge.source, edge.weight)).collect()
}

fn layer(kind: &GraphNodeKind) -> Option<usize> {
    match kind {
        GraphNodeKind::Feature { hook, .. } | GraphNodeKind::Error { hook, .. } => hook.layer(),
        _ => None,
    }
}

#[test]
fn edges_from_the_block_before_are_all_effects_and_others_go_past_no_sae() {
    let model = demo();
    for case in cases().take(if on_flex() { 3 } else { 1 }) {
        let attribution = case.attribute(&model, logit_diff(&case));

        let graph = Graph::new(&attribution, 40).unwrap();

        let nodes = graph.nodes();
        let mut compared = 0;
        for (target, node) in nodes.iter().enumerate() {
            let GraphNodeKind::Feature { hook, position, feature, .. } = node.kind else {
                continue;
            };
            let Some(before) = layer(&node.kind).and_then(|layer| layer.checked_sub(1)) else {
                continue;
            };
            let found = into(&graph, target);
            let metric = Metric::Feature { hook, feature: feature as usize, position };
            let question = Question::new(case.tokens.clone(), metric);
            let total = Attribution::new(&model, &question).unwrap();
            let weights: BTreeMap<_, f32> = total
                .features()
                .iter()
                .map(|row| ((row.hook, row.position, row.feature), row.attribution))
                .collect();
            for (source, node) in nodes.iter().enumerate() {
                let weight = found.get(&source).copied().unwrap_or_default();
                let expected = match node.kind {
                    _ if layer(&node.kind).is_some_and(|layer| layer != before) => 0.0,
                    GraphNodeKind::Feature { hook, position, feature, .. } => {
                        weights.get(&(hook, position, feature)).copied().unwrap_or_default()
                    }
                    GraphNodeKind::Error { hook, position } => {
                        let terms = total.hooks().iter().find(|terms| terms.hook == hook).unwrap();
                        terms.error.get(position).copied().unwrap_or_default()
                    }
                    _ => continue,
                };
                assert_close(
                    format!("{}, {:?}", case.name, node.kind),
                    &[weight],
                    &[expected],
                    EDGE_ATOL,
                );
                compared += usize::from(expected != 0.0);
            }
        }
        assert!(compared > 100, "{compared}");
    }
}

#[test]
fn only_the_last_block_and_the_one_that_is_backed_out_are_joined_to_logits() {
    let model = demo();
    let (backed_out, lambda) = model.gpt().backout().unwrap();
    assert_eq!(backed_out, 2);
    for case in cases().take(1) {
        let attribution = case.attribute(&model, logit_diff(&case));

        let graph = Graph::new(&attribution, usize::MAX).unwrap();

        let nodes = graph.nodes();
        // 32 features and an error of each of four SAEs, and a token.
        assert_eq!(nodes.len(), 133 * case.tokens.len() + 2);
        let [target, contrast] = [2, 1].map(|from_end| into(&graph, nodes.len() - from_end));
        let last = attribution.position();
        let mut backouts = 0;
        for (source, node) in nodes.iter().enumerate().take(nodes.len() - 2) {
            let weight =
                |edges: &BTreeMap<usize, f32>| edges.get(&source).copied().unwrap_or_default();
            let difference = weight(&target) - weight(&contrast);
            let GraphNodeKind::Feature { row, position, .. } = node.kind else { continue };
            match layer(&node.kind) {
                // In the last block every effect is direct.
                Some(3) => {
                    let expected = attribution.features()[row].attribution;
                    assert_close(case.name, &[difference], &[expected], EDGE_ATOL);
                }
                Some(2) if position == last => backouts += usize::from(difference != 0.0),
                _ => assert_eq!(difference, 0.0, "{:?}", node.kind),
            }
        }
        assert_eq!(backouts, 32, "features of the middle block, at λ = {lambda}");
    }
}

/// Where the embedding enters the stream in front of the first block alone, it is what an SAE there reads.
#[test]
fn an_edge_from_a_token_is_the_effect_of_its_embedding() {
    for (name, model) in every() {
        let gpt = model.gpt();
        let (width, start, site) =
            (gpt.config().shape.n_embd, HookPoint::ResidPre(0), HookPoint::ResidPost(0));
        let sae = noisy_sae(width, 2 * width, 6, gpt.device());
        let at_site = InterpretableModel::new(gpt.clone()).with_sae(site, sae.clone()).unwrap();
        let attribution =
            Attribution::new(&at_site, &Question::new(TOKENS.to_vec(), METRIC)).unwrap();

        let graph = Graph::new(&attribution, 3).unwrap();

        let identity = identity_sae(width, 4, gpt.device());
        let both = InterpretableModel::new(gpt.clone()).with_sae(start, identity).unwrap();
        let both = both.with_sae(site, sae).unwrap();
        for (target, node) in graph.nodes().iter().enumerate() {
            let GraphNodeKind::Feature { hook, position, feature, .. } = node.kind else {
                continue;
            };
            let metric = Metric::Feature { hook, feature: feature as usize, position };
            let question = Question::new(TOKENS.to_vec(), metric).sources([start]);
            let expected = Attribution::new(&both, &question).unwrap();
            let found = tokens_into(&graph, target, position + 1);
            assert_relative(&name, &found, &expected.hooks()[0].stream);
        }

        // Later blocks add it past the SAE.
        let (tokens, logit) =
            (TokenBatch::new(&[TOKENS.to_vec()]).unwrap(), graph.nodes().len() - 2);
        let mut expected = vec![0.0_f32; TOKENS.len()];
        let later: Vec<usize> = (1..gpt.config().shape.n_layer).collect();
        let saes = later.iter().map(|&layer| HookPoint::ResidPre(layer));
        let model = saes.fold(InterpretableModel::new(gpt.clone()), |model, hook| {
            model.with_sae(hook, identity_sae(width, 4, gpt.device())).unwrap()
        });
        let metric = Metric::Logit { target: 7 };
        let attribution =
            Attribution::new(&model, &Question::new(TOKENS.to_vec(), metric)).unwrap();
        for input in gpt.stream_inputs(&tokens).unwrap() {
            let activation = input.activation.squeeze_dim::<2>(0);
            for &layer in &later {
                let gradient = attribution.gradient_at(HookPoint::ResidPre(layer)).unwrap();
                let products = values((gradient * activation.clone()).sum_dim(1));
                for (sum, product) in expected.iter_mut().zip(products) {
                    *sum += input.weights[layer] * product;
                }
            }
        }
        assert_relative(&name, &tokens_into(&graph, logit, TOKENS.len()), &expected);
    }
}

/// The weights of the edges from the first `count` tokens.
fn tokens_into(graph: &Graph, target: usize, count: usize) -> Vec<f32> {
    let edges = into(graph, target);
    let mut weights = vec![0.0; count];
    for (source, node) in graph.nodes().iter().enumerate() {
        if let GraphNodeKind::Token { position, id } = node.kind {
            assert_eq!(id, TOKENS[position]);
            let weight = edges.get(&source).copied().unwrap_or_default();
            if position < count {
                weights[position] = weight;
            } else {
                assert_eq!(weight, 0.0, "a later token");
            }
        }
    }
    weights
}

#[track_caller]
fn assert_relative(name: &str, found: &[f32], expected: &[f32]) {
    let largest = expected.iter().map(|x| x.abs()).fold(0.01_f32, f32::max);
    for (found, expected) in found.iter().zip(expected) {
        let difference = (found - expected).abs();
        assert!(difference <= tolerance(EDGE_RTOL) * largest, "{name}: {found}, not {expected}");
    }
}

#[test]
fn a_pruned_graph_of_the_demo_is_a_connected_part_of_it() {
    let model = demo();
    let case = Case::read("frog");
    let attribution = case.attribute(&model, logit_diff(&case));
    let graph = Graph::new(&attribution, 60).unwrap();

    let pruned = graph.prune(0.8, 0.98).unwrap();

    let kinds =
        |graph: &Graph| graph.nodes().iter().map(|node| format!("{:?}", node.kind)).collect();
    let (all, some): (BTreeSet<String>, BTreeSet<String>) = (kinds(&graph), kinds(&pruned));
    assert!(some.is_subset(&all) && some.len() < all.len() && some.len() > 30, "{}", some.len());
    assert!(pruned.edges().len() < graph.edges().len());
    for (at, node) in pruned.nodes().iter().enumerate() {
        let is_feature = matches!(node.kind, GraphNodeKind::Feature { .. });
        let is_error = matches!(node.kind, GraphNodeKind::Error { .. });
        assert!(!is_feature || pruned.edges().iter().any(|edge| edge.target == at));
        assert!(!(is_feature || is_error) || pruned.edges().iter().any(|edge| edge.source == at));
        assert!(!(is_feature || is_error) || node.influence <= 0.81, "{node:?}");
    }
    let about = GraphAbout { slug: "frog", scan: "demo", prompt: "frog", source_set: None };
    let json = pruned.to_json(&about, |id| id.to_string(), |_, _| None);
    let nodes = json["nodes"].as_array().unwrap();
    let ids: BTreeSet<&str> = nodes.iter().map(|node| node["node_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), nodes.len(), "an id is used twice");
    for link in json["links"].as_array().unwrap() {
        for end in ["source", "target"] {
            assert!(ids.contains(link[end].as_str().unwrap()), "{link}");
        }
    }
}

#[test]
fn all_features_of_the_demo_carry_all_of_the_metric() {
    let model = demo();
    let case = Case::read("frog");
    let attribution = case.attribute(&model, logit_diff(&case));
    let all = attribution.features().len();

    for rest in [Rest::Zero, Rest::Mean] {
        let found = attribution.faithfulness(&[0, 10, 100, all], rest).unwrap();

        println!("{rest:?}: {found:?}");
        assert_eq!(found.kept[0].value, found.without_features);
        assert!(found.kept[0].share == Some(0.0));
        let (of_all, value) = (found.kept[3], attribution.value());
        assert_close("metric of all", &[of_all.value], &[value], 4e-5);
        let share = (of_all.value - found.without_features) / (value - found.without_features);
        assert_close("share of all", &[of_all.share.unwrap() as f32], &[share], 1e-5);
    }
}
