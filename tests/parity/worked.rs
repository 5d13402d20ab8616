//! Steering worked by hand on a model of four channels.
//!
//! The model has two blocks. Every weight is 0 except the embedding and one hidden unit of the second
//! MLP, so up to there the residual stream is the token's row:
//!
//! | token | x | features |
//! | --- | --- | --- |
//! | 0 | `2 0 0 0` | `2 0 0` |
//! | 1 | `1 1 1 1` | `1 1 0` |
//! | 2 | `0 -2 0 0` | `0 0 2` |
//!
//! Each row has length 2 and root mean square 1, so the norms change nothing. The features are
//! `relu(x0)`, `relu(x1)` and `relu(-x0 - x1)`; their decoder rows are `3 4 0 0` (of length 5),
//! `0 0 2 0` and `0 0 0 1`, and `b_dec` is `0 0 0 0.5`.

use burn::tensor::{Tensor, TensorData};
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::{InterpretableModel, Intervention, Plan, RunOutput};
use nanoscope_sae::{Architecture, Normalization, Sae, SaeConfig, SaeWeights};
use nanoscope_transformer::{Era, Gpt, GptShape, ParamSpec, TokenBatch, WeightSource};

use crate::golden::{assert_close, values};

const ATOL: f32 = 1e-5;

/// The SAE's hook point, and the next one, which shows the changed activation.
const SITE: HookPoint = HookPoint::ResidPost(0);
const AFTER: HookPoint = HookPoint::ResidPre(1);
/// The transcoder's input and output, and the hook point that shows the output added to x.
const READ: HookPoint = HookPoint::Ln2Normalized(1);
const WRITE: HookPoint = HookPoint::MlpOut(1);
const AFTER_WRITE: HookPoint = HookPoint::ResidPost(1);
/// An earlier hook point with the same activation.
const EARLIER: HookPoint = HookPoint::ResidMid(0);

struct ByHand;

impl WeightSource for ByHand {
    type Error = std::convert::Infallible;

    fn weight<const D: usize>(&mut self, spec: &ParamSpec) -> Result<Tensor<D>, Self::Error> {
        let mut weight = vec![0.0; spec.shape.iter().product()];
        match spec.name.as_str() {
            "transformer.wte.weight" => {
                let rows = [2.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, -2.0, 0.0, 0.0];
                weight[..12].copy_from_slice(&rows);
            }
            // relu(x0)² · (0, 1, 0, 0)
            "transformer.h.1.mlp.c_fc.weight" => weight[0] = 1.0,
            "transformer.h.1.mlp.c_proj.weight" => weight[1] = 1.0,
            _ => {}
        }
        let shape: [usize; D] = spec.shape.clone().try_into().unwrap();
        Ok(Tensor::from_data(TensorData::new(weight, shape), &nanoscope_testing::test_device()))
    }
}

fn config() -> SaeConfig {
    SaeConfig::new(4, 3, Architecture::Relu).unwrap()
}

fn sae(config: SaeConfig) -> Sae {
    let device = nanoscope_testing::test_device();
    let weights = SaeWeights::new(
        Tensor::from_floats(
            [[1.0, 0.0, -1.0], [0.0, 1.0, -1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]],
            &device,
        ),
        Tensor::zeros([3], &device),
        Tensor::from_floats(
            [[3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0], [0.0, 0.0, 0.0, 1.0]],
            &device,
        ),
        Tensor::from_floats([0.0, 0.0, 0.0, 0.5], &device),
    );
    Sae::new(config, weights).unwrap()
}

fn bare() -> InterpretableModel {
    let shape = GptShape {
        sequence_len: 16,
        vocab_size: 3,
        n_layer: 2,
        n_head: 2,
        n_kv_head: 2,
        n_embd: 4,
    };
    let config = Era::E0.config(shape, None).unwrap();
    let gpt = Gpt::load(config, &mut ByHand, &nanoscope_testing::test_device()).unwrap();
    InterpretableModel::new(gpt)
}

fn model() -> InterpretableModel {
    let model = bare().with_sae(SITE, sae(config())).unwrap();
    let model = model.with_sae(EARLIER, sae(config())).unwrap();
    model.with_transcoder(READ, WRITE, sae(config())).unwrap()
}

/// A plan of these interventions, in which `SITE`, `READ`, `EARLIER` and `WRITE` stand for hook points
/// and `tilted`, `ahead` and `aside` for vectors.
fn plan(specs: &[&str]) -> Plan {
    let plan = Plan::new()
        .vector("tilted".parse().unwrap(), vec![0.0, 0.0, 3.0, 4.0])
        .vector("ahead".parse().unwrap(), vec![1.0, 0.0, 0.0, 0.0])
        .vector("aside".parse().unwrap(), vec![0.0, 3.0, 0.0, 0.0]);
    specs.iter().fold(plan, |plan, text| {
        let text = text.replace("SITE", &SITE.to_string()).replace("READ", &READ.to_string());
        let text = text.replace("EARLIER", &EARLIER.to_string());
        let text = text.replace("WRITE", &WRITE.to_string());
        plan.intervene(text.parse::<Intervention>().unwrap())
    })
}

fn run(model: &InterpretableModel, rows: &[Vec<u32>], plan: Plan) -> RunOutput {
    let plan = plan.capture(AFTER).capture(AFTER_WRITE);
    model.run(&TokenBatch::new(rows).unwrap(), &plan).unwrap()
}

/// Asserts the three tokens' activations at `point` under these interventions.
#[track_caller]
fn assert_becomes(specs: &[&str], point: HookPoint, expected: [[f32; 4]; 3]) {
    let run = run(&model(), &[vec![0, 1, 2]], plan(specs));
    let found = run.captured.get(point).unwrap().to_vec();
    assert_close(specs.join(", "), &found, expected.as_flattened(), ATOL);
}

#[test]
fn the_model_is_as_the_table_says() {
    let model = model();
    let tracked = Plan::new().track(SITE).track(EARLIER).track(READ).capture(WRITE);

    let run = run(&model, &[vec![0, 1, 2]], tracked);

    let features = [2.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 2.0];
    for hook in [SITE, EARLIER, READ] {
        assert_close(hook, &run.features[&hook].to_dense(), &features, ATOL);
    }
    let x = [2.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, -2.0, 0.0, 0.0];
    assert_close("x", &run.captured.get(AFTER).unwrap().to_vec(), &x, ATOL);
    let y = [0.0, 4.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    assert_close("y", &run.captured.get(WRITE).unwrap().to_vec(), &y, ATOL);
}

#[test]
fn each_operation_on_a_feature_moves_what_it_should_and_keeps_the_rest() {
    let cases = [
        // feature 0 adds 2 d, 1 d and nothing
        ("SITE:0:multiply:2", [[8.0, 8.0, 0.0, 0.0], [4.0, 5.0, 1.0, 1.0], [0.0, -2.0, 0.0, 0.0]]),
        ("SITE:0:set:3", [[5.0, 4.0, 0.0, 0.0], [7.0, 9.0, 1.0, 1.0], [9.0, 10.0, 0.0, 0.0]]),
        (
            "SITE:0:set_if_active:3",
            [[5.0, 4.0, 0.0, 0.0], [7.0, 9.0, 1.0, 1.0], [0.0, -2.0, 0.0, 0.0]],
        ),
        ("SITE:0:ablate", [[-4.0, -8.0, 0.0, 0.0], [-2.0, -3.0, 1.0, 1.0], [0.0, -2.0, 0.0, 0.0]]),
        ("SITE:0:add:1", [[5.0, 4.0, 0.0, 0.0], [4.0, 5.0, 1.0, 1.0], [3.0, 2.0, 0.0, 0.0]]),
        // 2 · (0.6, 0.8)
        ("SITE:0:add:2:unit", [[3.2, 1.6, 0.0, 0.0], [2.2, 2.6, 1.0, 1.0], [1.2, -0.4, 0.0, 0.0]]),
        // 0.5 · 2 · (0.6, 0.8)
        (
            "SITE:0:add:0.5:norm",
            [[2.6, 0.8, 0.0, 0.0], [1.6, 1.8, 1.0, 1.0], [0.6, -1.2, 0.0, 0.0]],
        ),
        // minus 1.2, 1.4 and -1.6 times (0.6, 0.8)
        (
            "SITE:0:orthogonal:0",
            [[1.28, -0.96, 0.0, 0.0], [0.16, -0.12, 1.0, 1.0], [0.96, -0.72, 0.0, 0.0]],
        ),
        (
            "SITE:0:orthogonal:1",
            [[4.28, 3.04, 0.0, 0.0], [3.16, 3.88, 1.0, 1.0], [3.96, 3.28, 0.0, 0.0]],
        ),
        (
            "SITE:0:orthogonal:2:unit",
            [[2.48, 0.64, 0.0, 0.0], [1.36, 1.48, 1.0, 1.0], [2.16, 0.88, 0.0, 0.0]],
        ),
        (
            "SITE:0:orthogonal:0.5:norm",
            [[1.88, -0.16, 0.0, 0.0], [0.76, 0.68, 1.0, 1.0], [1.56, 0.08, 0.0, 0.0]],
        ),
        // the components along (0.6, 0.8) are 1.2, 1.4 and -1.6; they become 3.6, 4.2 and -4.8
        (
            "SITE:0:projection_scale:3",
            [[3.44, 1.92, 0.0, 0.0], [2.68, 3.24, 1.0, 1.0], [-1.92, -4.56, 0.0, 0.0]],
        ),
        // 1.2, 1.3 and -1.6
        (
            "SITE:0:projection_cap:1.3",
            [[2.0, 0.0, 0.0, 0.0], [0.94, 0.92, 1.0, 1.0], [0.0, -2.0, 0.0, 0.0]],
        ),
        // -2 everywhere
        (
            "SITE:0:projection_cap:-2",
            [[0.08, -2.56, 0.0, 0.0], [-1.04, -1.72, 1.0, 1.0], [-0.24, -2.32, 0.0, 0.0]],
        ),
    ];
    for (spec, expected) in cases {
        assert_becomes(&[spec], AFTER, expected);
    }
}

#[test]
fn each_operation_on_a_vector_moves_what_it_should() {
    let cases = [
        ("SITE:tilted:add:1", [[2.0, 0.0, 3.0, 4.0], [1.0, 1.0, 4.0, 5.0], [0.0, -2.0, 3.0, 4.0]]),
        (
            "SITE:tilted:add:2:unit",
            [[2.0, 0.0, 1.2, 1.6], [1.0, 1.0, 2.2, 2.6], [0.0, -2.0, 1.2, 1.6]],
        ),
        (
            "SITE:tilted:add:0.5:norm",
            [[2.0, 0.0, 0.6, 0.8], [1.0, 1.0, 1.6, 1.8], [0.0, -2.0, 0.6, 0.8]],
        ),
        (
            "SITE:tilted:orthogonal:0",
            [[2.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.16, -0.12], [0.0, -2.0, 0.0, 0.0]],
        ),
        (
            "SITE:tilted:orthogonal:1",
            [[2.0, 0.0, 3.0, 4.0], [1.0, 1.0, 3.16, 3.88], [0.0, -2.0, 3.0, 4.0]],
        ),
        (
            "SITE:tilted:orthogonal:2:unit",
            [[2.0, 0.0, 1.2, 1.6], [1.0, 1.0, 1.36, 1.48], [0.0, -2.0, 1.2, 1.6]],
        ),
        (
            "SITE:tilted:orthogonal:0.5:norm",
            [[2.0, 0.0, 0.6, 0.8], [1.0, 1.0, 0.76, 0.68], [0.0, -2.0, 0.6, 0.8]],
        ),
        // the components along the vector are 0, 1.4 and 0
        (
            "SITE:tilted:projection_scale:-1",
            [[2.0, 0.0, 0.0, 0.0], [1.0, 1.0, -0.68, -1.24], [0.0, -2.0, 0.0, 0.0]],
        ),
        (
            "SITE:tilted:projection_cap:0",
            [[2.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.16, -0.12], [0.0, -2.0, 0.0, 0.0]],
        ),
    ];
    for (spec, expected) in cases {
        assert_becomes(&[spec], AFTER, expected);
    }
}

#[test]
fn a_vector_needs_no_sae() {
    let at = "blocks.0.hook_attn_out:tilted:add:2:unit@1..2";

    let run = run(&bare(), &[vec![0, 1, 2]], plan(&[at]));

    let expected = [2.0, 0.0, 0.0, 0.0, 1.0, 1.0, 2.2, 2.6, 0.0, -2.0, 0.0, 0.0];
    assert_close(at, &run.captured.get(AFTER).unwrap().to_vec(), &expected, ATOL);
}

#[test]
fn each_operation_acts_on_the_reconstruction_where_that_is_put_in_place() {
    // The reconstructions are 6 8 0 .5, 3 4 2 .5 and 0 0 0 2.5.
    let cases = [
        ("0:multiply:1", [[6.0, 8.0, 0.0, 0.5], [3.0, 4.0, 2.0, 0.5], [0.0, 0.0, 0.0, 2.5]]),
        ("0:multiply:2", [[12.0, 16.0, 0.0, 0.5], [6.0, 8.0, 2.0, 0.5], [0.0, 0.0, 0.0, 2.5]]),
        ("0:set:3", [[9.0, 12.0, 0.0, 0.5], [9.0, 12.0, 2.0, 0.5], [9.0, 12.0, 0.0, 2.5]]),
        ("0:set_if_active:3", [[9.0, 12.0, 0.0, 0.5], [9.0, 12.0, 2.0, 0.5], [0.0, 0.0, 0.0, 2.5]]),
        ("0:ablate", [[0.0, 0.0, 0.0, 0.5], [0.0, 0.0, 2.0, 0.5], [0.0, 0.0, 0.0, 2.5]]),
        ("0:add:1", [[9.0, 12.0, 0.0, 0.5], [6.0, 8.0, 2.0, 0.5], [3.0, 4.0, 0.0, 2.5]]),
        ("0:add:2:unit", [[7.2, 9.6, 0.0, 0.5], [4.2, 5.6, 2.0, 0.5], [1.2, 1.6, 0.0, 2.5]]),
        // x's length is 2, not the reconstruction's
        ("0:add:0.5:norm", [[6.6, 8.8, 0.0, 0.5], [3.6, 4.8, 2.0, 0.5], [0.6, 0.8, 0.0, 2.5]]),
        // the part taken away is the reconstruction's, not x's
        ("0:orthogonal:1", [[3.0, 4.0, 0.0, 0.5], [3.0, 4.0, 2.0, 0.5], [3.0, 4.0, 0.0, 2.5]]),
        ("0:orthogonal:2:unit", [[1.2, 1.6, 0.0, 0.5], [1.2, 1.6, 2.0, 0.5], [1.2, 1.6, 0.0, 2.5]]),
        (
            "0:orthogonal:0.5:norm",
            [[0.6, 0.8, 0.0, 0.5], [0.6, 0.8, 2.0, 0.5], [0.6, 0.8, 0.0, 2.5]],
        ),
        ("tilted:add:1", [[6.0, 8.0, 3.0, 4.5], [3.0, 4.0, 5.0, 4.5], [0.0, 0.0, 3.0, 6.5]]),
    ];
    for (spec, expected) in cases {
        assert_becomes(&[&format!("SITE:{spec} with reconstruct")], AFTER, expected);
    }
}

#[test]
fn a_condition_is_asked_at_each_position_and_holds_strictly_above_its_threshold() {
    let x = [[2.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0], [0.0, -2.0, 0.0, 0.0]];
    let at_1 = [x[0], [4.0, 5.0, 1.0, 1.0], x[2]];
    let at_2 = [x[0], x[1], [3.0, 2.0, 0.0, 0.0]];
    let cases = [
        // Feature 1 is 1 at token 1, feature 2 is 2 at token 2.
        ("SITE:0:add:1 when SITE:1>0.99", at_1),
        ("SITE:0:add:1 when SITE:1>1.01", x),
        ("SITE:0:add:1 when SITE:1>-0.5", [[5.0, 4.0, 0.0, 0.0], at_1[1], at_2[2]]),
        ("SITE:0:add:1 when SITE:1>0", at_1),
        ("SITE:0:add:1 when EARLIER:2>1.5", at_2),
        ("SITE:tilted:add:1 when EARLIER:1>0.5", [x[0], [1.0, 1.0, 4.0, 5.0], x[2]]),
        // The condition is checked at covered positions only.
        ("SITE:0:add:1@0..1 when SITE:1>0.5", x),
    ];
    for (spec, expected) in cases {
        assert_becomes(&[spec], AFTER, expected);
    }
    // Where the condition does not hold, nothing is reconstructed either.
    let reconstructed = [x[0], [6.0, 8.0, 2.0, 0.5], x[2]];
    assert_becomes(&["SITE:0:add:1 when SITE:1>0.5 with reconstruct"], AFTER, reconstructed);
}

#[test]
fn a_condition_sees_what_arrives_after_earlier_points_and_before_its_own() {
    // At the same point, setting feature 1 first makes no difference to the condition …
    let specs = ["SITE:1:set:5", "SITE:0:add:1 when SITE:1>0.5"];
    let expected = [[2.0, 0.0, 10.0, 0.0], [4.0, 5.0, 9.0, 1.0], [0.0, -2.0, 10.0, 0.0]];
    assert_becomes(&specs, AFTER, expected);
    // … but adding 3 to the second channel at an earlier point makes feature 1 3, 4 and 1.
    let specs = ["EARLIER:aside:add:1", "SITE:0:add:1 when SITE:1>2.5"];
    let expected = [[5.0, 7.0, 0.0, 0.0], [4.0, 8.0, 1.0, 1.0], [0.0, 1.0, 0.0, 0.0]];
    assert_becomes(&specs, AFTER, expected);
}

#[test]
fn each_of_several_sees_what_those_before_it_left() {
    let at_0 = |x: [f32; 2]| [x[0], x[1], 0.0, 0.0];
    let at_1 = |x: [f32; 2]| [x[0], x[1], 1.0, 1.0];
    // f' is 8 everywhere: 6 d, 7 d and 8 d are added.
    assert_becomes(
        &["SITE:0:set:4", "SITE:0:multiply:2"],
        AFTER,
        [at_0([20.0, 24.0]), at_1([22.0, 29.0]), at_0([24.0, 30.0])],
    );
    // Doubling and then adding 1 differs from adding 1 and then doubling: f' is 5, 3, 1 and 6, 4, 2.
    assert_becomes(
        &["SITE:0:multiply:2", "SITE:0:add:1"],
        AFTER,
        [at_0([11.0, 12.0]), at_1([7.0, 9.0]), at_0([3.0, 2.0])],
    );
    assert_becomes(
        &["SITE:0:add:1", "SITE:0:multiply:2"],
        AFTER,
        [at_0([14.0, 16.0]), at_1([10.0, 13.0]), at_0([6.0, 6.0])],
    );
    // The part added along another direction is removed too: 4.2, 4.4 and 1.4 times (0.6, 0.8).
    assert_becomes(
        &["SITE:ahead:add:5", "SITE:0:orthogonal:0"],
        AFTER,
        [at_0([4.48, -3.36]), at_1([3.36, -2.52]), at_0([4.16, -3.12])],
    );
    assert_becomes(
        &["SITE:0:orthogonal:0", "SITE:ahead:add:4"],
        AFTER,
        [at_0([5.28, -0.96]), at_1([4.16, -0.12]), at_0([4.96, -0.72])],
    );
    // A unit direction counts toward its feature: adding a length of 5 raises f' by 1.
    assert_becomes(
        &["SITE:0:add:5:unit", "SITE:0:ablate"],
        AFTER,
        [at_0([-4.0, -8.0]), at_1([-2.0, -3.0]), at_0([0.0, -2.0])],
    );
    // Two features are changed in one matrix product.
    let expected = [[8.0, 8.0, 6.0, 0.0], [4.0, 5.0, 5.0, 1.0], [0.0, -2.0, 6.0, 0.0]];
    assert_becomes(&["SITE:0:multiply:2", "SITE:1:set:3"], AFTER, expected);
}

#[test]
fn only_the_rows_named_are_steered() {
    let rows = [vec![0], vec![0], vec![1]];

    let run = run(&model(), &rows, plan(&["SITE:0:add:1@all[1..3]", "SITE:1:set:0@text[2]"]));

    let expected = [2.0, 0.0, 0.0, 0.0, 5.0, 4.0, 0.0, 0.0, 4.0, 5.0, -1.0, 1.0];
    assert_close("rows", &run.captured.get(AFTER).unwrap().to_vec(), &expected, ATOL);
    assert_eq!((run.applied[0].positions, run.applied[1].positions), (2, 1));
}

#[test]
fn a_transcoder_reads_at_one_point_and_moves_the_other() {
    // y is 0 4 0 0, 0 1 0 0 and 0; the captured activation is x + y'.
    let cases = [
        ("READ:0:multiply:2", [[8.0, 12.0, 0.0, 0.0], [4.0, 6.0, 1.0, 1.0], [0.0, -2.0, 0.0, 0.0]]),
        // 0.5 · ‖y‖ · (0.6, 0.8)
        (
            "READ:0:add:0.5:norm",
            [[3.2, 5.6, 0.0, 0.0], [1.3, 2.4, 1.0, 1.0], [0.0, -2.0, 0.0, 0.0]],
        ),
        // minus 3.2 and 0.8 times (0.6, 0.8)
        (
            "READ:0:orthogonal:0",
            [[0.08, 1.44, 0.0, 0.0], [0.52, 1.36, 1.0, 1.0], [0.0, -2.0, 0.0, 0.0]],
        ),
        (
            "READ:0:multiply:2 with reconstruct",
            [[14.0, 16.0, 0.0, 0.5], [7.0, 9.0, 3.0, 1.5], [0.0, -2.0, 0.0, 2.5]],
        ),
        (
            "READ:0:add:1 when READ:2>1",
            [[2.0, 4.0, 0.0, 0.0], [1.0, 2.0, 1.0, 1.0], [3.0, 2.0, 0.0, 0.0]],
        ),
        (
            "WRITE:tilted:add:1 when READ:2>1",
            [[2.0, 4.0, 0.0, 0.0], [1.0, 2.0, 1.0, 1.0], [0.0, -2.0, 3.0, 4.0]],
        ),
    ];
    for (spec, expected) in cases {
        assert_becomes(&[spec], AFTER_WRITE, expected);
    }
    // A vector applies at its own hook point, in order with the transcoder's writes there: the last
    // one removes the part of y along (0.6, 0.8), including what was added.
    let specs = ["READ:0:multiply:2", "WRITE:ahead:add:5", "READ:0:orthogonal:0"];
    // y' before: 11 12, 8 5 and 5 0; along (0.6, 0.8): 16.2, 8.8 and 3.
    let expected = [[3.28, -0.96, 0.0, 0.0], [3.72, -1.04, 1.0, 1.0], [3.2, -4.4, 0.0, 0.0]];
    assert_becomes(&specs, AFTER_WRITE, expected);
}

/// The covered positions, the changed ones, and the mean relative change of the activation.
type Done = (usize, usize, f32);

#[test]
fn the_report_counts_positions_and_measures_each_intervention_alone() {
    let report = |specs: &[&str]| {
        let run = run(&model(), &[vec![0, 1, 2]], plan(specs));
        run.applied.iter().map(|a| (a.positions, a.changed, a.moved)).collect::<Vec<_>>()
    };
    // (10 + 5 + 0) / 2, over three positions
    let cases: [(&[&str], &[Done]); 9] = [
        (&["SITE:0:multiply:2"], &[(3, 2, 2.5)]),
        (&["SITE:0:add:2:unit"], &[(3, 3, 1.0)]),
        (&["SITE:0:add:-0.25:norm@1..3"], &[(2, 2, 0.25)]),
        // (1.2 + 1.4 + 1.6) / 2
        (&["SITE:0:orthogonal:0"], &[(3, 3, 0.7)]),
        (&["SITE:0:add:1:unit when SITE:1>0.5"], &[(1, 1, 0.5)]),
        (&["SITE:0:add:1:unit when SITE:1>9"], &[(0, 0, 0.0)]),
        // The reconstruction does not count as a change by the intervention.
        (&["SITE:0:multiply:1 with reconstruct"], &[(3, 0, 0.0)]),
        // 10 / 4, 5 / 1 and nothing; then 5 / 4, 5 / 1 and a position with an activation of length 0
        (&["READ:0:multiply:2"], &[(3, 2, 2.5)]),
        // Each is counted by itself, although the second undoes the first: (20 + 10 + 0) / 2 …
        (
            &["SITE:0:multiply:3", "SITE:0:multiply:0.5", "SITE:tilted:add:1"],
            &[(3, 2, 5.0), (3, 2, 3.75), (3, 3, 2.5)],
        ),
    ];
    for (specs, expected) in cases {
        let found = report(specs);
        let counts = |all: &[Done]| all.iter().map(|a| (a.0, a.1)).collect::<Vec<_>>();
        assert_eq!(counts(&found), counts(expected), "{specs:?}");
        let moved = |all: &[Done]| all.iter().map(|a| a.2).collect::<Vec<_>>();
        assert_close(format!("{specs:?}"), &moved(&found), &moved(expected), ATOL);
    }
}

#[test]
fn what_takes_itself_back_leaves_the_activation_to_the_bit() {
    let model = model();
    let bare = run(&model, &[vec![0, 1, 2]], Plan::new());

    let specs = ["SITE:0:multiply:2", "SITE:0:multiply:0.5", "SITE:0:add:1", "SITE:0:add:-1"];
    let steered = run(&model, &[vec![0, 1, 2]], plan(&specs));

    let x = |run: &RunOutput| run.captured.get(AFTER).unwrap().to_vec();
    crate::golden::assert_same("x", &x(&steered), &x(&bare));
    assert!(steered.applied.iter().all(|applied| applied.positions == 3));
}

#[test]
fn reconstructing_is_decoding_the_changed_features_whatever_the_sae_normalises() {
    let normalizations = [
        Normalization::None,
        Normalization::ExpectedAverageOnlyIn { scale: 0.25 },
        Normalization::ConstantNormRescale,
        Normalization::LayerNorm,
    ];
    // 3 is added to the second channel first, so that the lengths differ.
    let x = [[2.0, 3.0, 0.0, 0.0], [1.0, 4.0, 1.0, 1.0], [0.0, 1.0, 0.0, 0.0]];
    let x = Tensor::<2>::from_floats(x, &nanoscope_testing::test_device());
    for normalization in normalizations {
        let sae = sae(config().with_normalization(normalization).unwrap());
        // The first feature is doubled, 1 is added to the second, the third is set to 0.5.
        let f = values(sae.encode(x.clone()).unwrap());
        let changed: Vec<f32> = f.chunks(3).flat_map(|f| [2.0 * f[0], f[1] + 1.0, 0.5]).collect();
        let changed = Tensor::<2>::from_data(TensorData::new(changed, [3, 3]), &x.device());
        let expected = sae.decode(changed, x.clone());
        let error =
            x.clone() - sae.decode_sparse(&sae.encode_sparse(x.clone()).unwrap(), x.clone());

        let model = bare().with_sae(SITE, sae).unwrap();
        let steered = |with: &str| {
            let specs = ["0:multiply:2", "1:add:1", "2:set:0.5"];
            let [a, b, c] = specs.map(|spec| format!("SITE:{spec}{with}"));
            let plan = plan(&["EARLIER:aside:add:1", &a, &b, &c]);
            run(&model, &[vec![0, 1, 2]], plan).captured.get(AFTER).unwrap().to_vec()
        };

        let what = normalization.name();
        assert_close(what, &steered(" with reconstruct"), &values(expected.clone()), ATOL);
        assert_close(what, &steered(""), &values(expected + error), ATOL);
    }
}
