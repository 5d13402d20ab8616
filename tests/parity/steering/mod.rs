//! Tracking and steering: agreement with the reference, and properties that hold for any model.

mod generations;
mod passes;
mod reference;

use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{InterpretableModel, Intervention, InterventionReport, Plan, Splice};
use nanoscope_testing::{noise, noisy_sae, test_device};
use nanoscope_transformer::Gpt;

use crate::golden::{self, assert_close};

const CACHE_ATOL: f32 = 1e-4;

/// Tolerance for the relative change of an activation.
const MOVED_ATOL: f32 = 1e-4;

pub(crate) const SITE: HookPoint = HookPoint::ResidPost(0);

pub(crate) const READ: HookPoint = HookPoint::Ln2Normalized(1);

const WRITE: HookPoint = HookPoint::MlpOut(1);

/// A model of every era, with or without golden files, with an SAE after its first block and a
/// transcoder of its second MLP.
pub(crate) fn models() -> Vec<(String, InterpretableModel)> {
    let golden = golden::all().map(|golden| (golden.to_string(), golden.model().gpt));
    golden.chain(golden::unseen()).map(|(name, gpt)| (name, with_saes(gpt))).collect()
}

pub(crate) fn with_saes(gpt: Gpt) -> InterpretableModel {
    let width = gpt.config().shape.n_embd;
    let model = InterpretableModel::new(gpt);
    let model = model.with_sae(SITE, noisy_sae(width, 2 * width, 6, &test_device())).unwrap();
    model.with_transcoder(READ, WRITE, noisy_sae(width, 2 * width, 6, &test_device())).unwrap()
}

pub(crate) fn spec(text: &str) -> Intervention {
    text.parse().unwrap()
}

fn reconstructing(text: &str) -> Intervention {
    Intervention { splice: Splice::Reconstruct, ..spec(text) }
}

fn plan(interventions: impl IntoIterator<Item = Intervention>) -> Plan {
    interventions.into_iter().fold(Plan::new(), Plan::intervene)
}

/// Interventions of every kind, with every position rule and both splices.
pub(crate) fn mixtures(model: &InterpretableModel) -> Vec<(&'static str, Plan)> {
    let at = |rest: &str| format!("{SITE}:{rest}");
    let width = |hook| model.gpt().config().hook_shape(hook).width().unwrap();
    let with_vectors = |plan: Plan| {
        let plan = plan.vector("calm".parse().unwrap(), noise(3, width(SITE)));
        let plan = plan.vector("glee".parse().unwrap(), noise(4, width(SITE)));
        plan.vector("heads".parse().unwrap(), noise(4, width(HookPoint::Z(1))))
    };
    vec![
        ("multiply", plan([spec(&at("3:multiply:4"))])),
        ("add while generating", plan([spec(&at("5:add:3@generated"))])),
        (
            "several, in order",
            plan([
                spec(&at("3:set:2@prompt")),
                spec(&at("3:multiply:2")),
                spec(&at("7:ablate@4..9")),
                spec(&at("9:set_if_active:5@all")),
                spec(&at("9:add:1@last")),
            ]),
        ),
        ("reconstruct", plan([reconstructing(&at("3:multiply:2@all"))])),
        ("reconstruct some", plan([reconstructing(&at("3:add:2@generated"))])),
        (
            "directions",
            plan([
                spec(&at("3:add:2:unit")),
                spec(&at("5:orthogonal:0.3:norm@all")),
                spec(&at("3:multiply:2")),
                spec(&at("7:orthogonal:1@2..9")),
            ]),
        ),
        (
            "vectors",
            with_vectors(plan([
                spec(&at("calm:add:0.4:norm")),
                spec(&at("glee:orthogonal:0@1..4")),
                spec("blocks.1.attn.hook_z:heads:add:2:unit@last"),
            ])),
        ),
        (
            "conditions",
            with_vectors(plan([
                spec(&at(&format!("3:add:2 when {SITE}:9>0.01"))),
                spec(&at(&format!("4:set:2@generated when {SITE}:4>0.01"))),
                spec(&format!("blocks.1.hook_resid_post:calm:add:2 when {SITE}:5>0.01")),
                spec(&format!("blocks.1.hook_resid_post:calm:add:-2 when {READ}:5>0.01")),
            ])),
        ),
        (
            "reconstruct under a condition",
            plan([
                reconstructing(&at(&format!("3:multiply:2@all when {SITE}:5>0.01"))),
                reconstructing(&at("5:orthogonal:1:unit@1..5")),
            ]),
        ),
        (
            "transcoder",
            with_vectors(plan([
                spec(&format!("{READ}:3:multiply:3")),
                spec(&format!("{READ}:4:add:1:norm@generated+special")),
                spec(&format!("{WRITE}:calm:orthogonal:1:unit")),
                spec(&format!("{READ}:5:set:2@1..4 when {SITE}:5>0.01")),
            ])),
        ),
        (
            "transcoder reconstructs",
            plan([reconstructing(&format!("{READ}:3:add:2@all when {READ}:7>0.01"))]),
        ),
    ]
}

/// Asserts that the reports agree, the changes within the noise of the activations.
#[track_caller]
fn assert_applied_alike(what: &str, found: &[InterventionReport], expected: &[InterventionReport]) {
    let done = |applied: &InterventionReport| {
        (applied.intervention.clone(), applied.positions, applied.changed)
    };
    let all = |applied: &[InterventionReport]| applied.iter().map(done).collect::<Vec<_>>();
    assert_eq!(all(found), all(expected), "{what}");
    let moved =
        |applied: &[InterventionReport]| applied.iter().map(|a| a.moved).collect::<Vec<_>>();
    assert_close(what, &moved(found), &moved(expected), MOVED_ATOL);
}
