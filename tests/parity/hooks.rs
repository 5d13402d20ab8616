//! Hooks at every point of every era's model: each has the activation that its name means, and an edit
//! changes nothing else.

use burn::tensor::Tensor;
use burn::tensor::activation::relu;
use nanoscope_hooks::{Activation, ActivationCache, ActivationRecorder, HookPoint, Patch};
use nanoscope_kernels::rms_norm;
use nanoscope_transformer::{Gpt, HookShape, Logits, TokenBatch};

use crate::golden::{self, assert_close, assert_same, largest_error, values};

/// Tolerance for sums in another order.
const SAME_ATOL: f32 = 1e-5;
const PATTERN_ATOL: f32 = 1e-5;
/// The least change of some logit when a hook point is zeroed; logits are around 5.
const MOVED: f32 = 0.1;

fn points(model: &Gpt) -> Vec<HookPoint> {
    model.config().hook_points().collect()
}

/// The logits, and the activation at every hook point.
fn record(model: &Gpt, tokens: &TokenBatch) -> (Vec<f32>, ActivationCache) {
    let mut recorder = ActivationRecorder::new(points(model));
    let logits = model.forward(tokens, Logits::All, &mut recorder).unwrap();
    (values(logits), recorder.finish().unwrap())
}

fn patched(model: &Gpt, tokens: &TokenBatch, mut patch: Patch) -> Vec<f32> {
    let logits = model.forward(tokens, Logits::All, &mut patch).unwrap();
    patch.finish().unwrap();
    values(logits)
}

#[test]
fn recording_every_point_changes_no_bit_of_the_logits() {
    for golden in golden::all() {
        let (model, tokens) = (golden.model().gpt, golden.tokens());
        let plain = values(model.forward(&tokens, Logits::All, &mut ()).unwrap());

        let (logits, _) = record(&model, &tokens);

        assert_same(golden, &logits, &plain);
    }
}

#[test]
fn a_pass_that_ends_at_a_point_reaches_it_with_the_same_bits_and_no_later_block() {
    for golden in golden::all() {
        let (model, tokens) = (golden.model().gpt, golden.tokens());
        let (_, whole) = record(&model, &tokens);

        for point in points(&model) {
            let mut recorder = ActivationRecorder::new([point]);
            model.forward_to(&tokens, point, &mut recorder).unwrap();
            let found = recorder.finish().unwrap().get(point).unwrap().to_vec();
            assert_same(format!("{golden}, {point}"), &found, &whole.get(point).unwrap().to_vec());

            let later =
                point.layer().map_or(HookPoint::ResidPre(0), |l| HookPoint::ResidPre(l + 1));
            let mut recorder = ActivationRecorder::new([later]);
            model.forward_to(&tokens, point, &mut recorder).unwrap();
            let reached = recorder.finish().is_ok();
            assert_eq!(reached, point == HookPoint::FinalNormalized, "{golden}, {point}");
        }
    }
}

#[test]
fn putting_a_recorded_activation_back_changes_no_bit_of_the_logits() {
    for golden in golden::all() {
        let (model, tokens) = (golden.model().gpt, golden.tokens());
        let (plain, recording) = record(&model, &tokens);

        for (point, activation) in recording.iter() {
            let patch = Patch::new().replace(point, activation.clone());
            let logits = patched(&model, &tokens, patch);
            assert_same(format!("{golden}, {point}"), &logits, &plain);
        }
    }
}

#[test]
fn zeroing_any_point_moves_the_logits() {
    for golden in golden::all() {
        let (model, tokens) = (golden.model().gpt, golden.tokens());
        let plain = values(model.forward(&tokens, Logits::All, &mut ()).unwrap());

        for point in points(&model) {
            let logits = patched(&model, &tokens, Patch::new().zero(point));
            let moved = largest_error(&logits, &plain);
            println!("{golden}, {point}: moved by {moved:.2e}");
            assert!(moved > MOVED && moved.is_finite(), "{golden}, {point}: moved by {moved:.2e}");
        }
    }
}

#[test]
fn a_patch_at_the_last_position_leaves_the_earlier_ones_alone() {
    for golden in golden::all() {
        let (model, tokens) = (golden.model().gpt, golden.tokens());
        let (plain, recording) = record(&model, &tokens);
        let point = HookPoint::ResidPre(0);
        let x: Tensor<3> = recording.get(point).unwrap().tensor();
        let [batch, seq, channels] = x.dims();
        let zeros = Tensor::zeros([batch, 1, channels], model.device());
        let x = x.slice_assign([0..batch, seq - 1..seq, 0..channels], zeros);

        let patch = Patch::new().replace(point, Activation::new(x));
        let logits = patched(&model, &tokens, patch);

        let of_row = plain.len() / batch;
        let vocab = of_row / seq;
        for (found, plain) in logits.chunks(of_row).zip(plain.chunks(of_row)) {
            let (earlier, last) = found.split_at(of_row - vocab);
            let (plain_earlier, plain_last) = plain.split_at(of_row - vocab);
            assert_same(golden, earlier, plain_earlier);
            assert!(largest_error(last, plain_last) > MOVED, "{golden}");
        }
    }
}

#[test]
fn every_activation_has_the_shape_that_the_model_says() {
    for golden in golden::all() {
        let (model, tokens) = (golden.model().gpt, golden.tokens());
        let (batch, seq) = (tokens.batch(), tokens.seq());

        let (_, recording) = record(&model, &tokens);

        for point in points(&model) {
            let expected = match model.config().hook_shape(point) {
                HookShape::Channels(channels) => vec![batch, seq, channels],
                HookShape::Heads { heads, head_dim } => vec![batch, seq, heads, head_dim],
                HookShape::Pattern { heads } => vec![batch, heads, seq, seq],
            };
            let found = recording.get(point).unwrap().shape();
            assert_eq!(found, expected, "{golden}, {point}");
        }
    }
}

/// The weight that nanochat's files call `name`.
#[track_caller]
fn matrix(model: &Gpt, name: &str) -> Tensor<2> {
    let mut weights = model.weights().into_iter();
    let found = weights.find(|(spec, _)| spec.name == name);
    let (spec, weight) = found.unwrap_or_else(|| panic!("no weight {name}"));
    let [rows, columns] = spec.shape[..] else {
        panic!("{name} is not a matrix");
    };
    weight.flattened(model.device()).reshape([rows, columns])
}

/// `x · w`, with as many last dimensions of `x` joined as fill the input of `w`.
fn times<const D: usize>(x: Tensor<D>, w: Tensor<2>) -> Vec<f32> {
    let [d_in, _] = w.dims();
    let rows = x.shape().num_elements() / d_in;
    values(x.reshape([rows, d_in]).matmul(w))
}

/// For each query head, the values of its key-value head weighted by its pattern.
fn weighed(pattern: &Activation, v: &Activation) -> Vec<f32> {
    let &[batch, heads, queries, keys] = pattern.shape() else {
        panic!("a pattern is [batch, heads, query, key]");
    };
    let &[_, _, kv_heads, head_dim] = v.shape() else {
        panic!("values are [batch, seq, heads, head_dim]");
    };
    let (pattern, v) = (pattern.to_vec(), v.to_vec());
    let mut z = vec![0.0; batch * queries * heads * head_dim];
    for (at, z) in z.iter_mut().enumerate() {
        let (b, query) = (at / (queries * heads * head_dim), at / (heads * head_dim) % queries);
        let (head, channel) = (at / head_dim % heads, at % head_dim);
        let kv_head = head / (heads / kv_heads);
        *z = (0..keys)
            .map(|key| {
                pattern[((b * heads + head) * queries + query) * keys + key]
                    * v[((b * keys + key) * kv_heads + kv_head) * head_dim + channel]
            })
            .sum();
    }
    z
}

#[test]
fn every_activation_follows_from_those_before_it_as_its_name_says() {
    for golden in golden::NANOCHAT {
        let (model, tokens) = (golden.model().gpt, golden.tokens());
        let shape = model.config().shape;
        let epsilon = model.config().norm.epsilon;
        let (_, recording) = record(&model, &tokens);
        let at = |point| recording.get(point).unwrap();
        let stream = |point| -> Tensor<3> { at(point).tensor() };
        let check = |point: HookPoint, expected: Vec<f32>| {
            let what = format!("{golden}, {point}");
            assert_close(what, &at(point).to_vec(), &expected, SAME_ATOL);
        };

        // Before any norm: the rows of the embedding table.
        let table = values(matrix(&model, "transformer.wte.weight"));
        let ids = tokens.rows().flatten().map(|&id| id as usize);
        let embedded = ids.flat_map(|id| &table[id * shape.n_embd..][..shape.n_embd]);
        check(HookPoint::Embed, embedded.copied().collect());

        for l in 0..shape.n_layer {
            let weight = |part| matrix(&model, &format!("transformer.h.{l}.{part}.weight"));
            let added = |a, b| values(stream(a) + stream(b));

            // Before rotary embeddings and QK norm.
            let h = rms_norm(stream(HookPoint::ResidPre(l)), epsilon);
            check(HookPoint::Q(l), times(h.clone(), weight("attn.c_q")));
            check(HookPoint::K(l), times(h.clone(), weight("attn.c_k")));
            if !model.config().has_value_embed(l) {
                check(HookPoint::V(l), times(h, weight("attn.c_v")));
            }
            check(HookPoint::Z(l), weighed(at(HookPoint::Pattern(l)), at(HookPoint::V(l))));
            let z: Tensor<4> = at(HookPoint::Z(l)).tensor();
            check(HookPoint::AttnOut(l), times(z, weight("attn.c_proj")));
            let mid = added(HookPoint::ResidPre(l), HookPoint::AttnOut(l));
            check(HookPoint::ResidMid(l), mid);

            let h = rms_norm(stream(HookPoint::ResidMid(l)), epsilon);
            check(HookPoint::Ln2Normalized(l), values(h.clone()));
            check(HookPoint::MlpPre(l), times(h, weight("mlp.c_fc")));
            let post = relu(stream(HookPoint::MlpPre(l))).square();
            check(HookPoint::MlpPost(l), values(post.clone()));
            check(HookPoint::MlpOut(l), times(post, weight("mlp.c_proj")));
            let post = added(HookPoint::ResidMid(l), HookPoint::MlpOut(l));
            check(HookPoint::ResidPost(l), post);
        }
    }
}

#[test]
fn a_pattern_weighs_the_keys_in_the_window_and_no_others() {
    for golden in golden::all() {
        let (model, tokens) = (golden.model().gpt, golden.tokens());
        let (_, recording) = record(&model, &tokens);

        for (l, window) in model.config().layers.iter().map(|layer| layer.window).enumerate() {
            let pattern = recording.get(HookPoint::Pattern(l)).unwrap();
            for (row, weights) in pattern.to_vec().chunks(tokens.seq()).enumerate() {
                let query = row % tokens.seq();
                let what = format!("{golden}, layer {l}, query {query}");
                for (key, &weight) in weights.iter().enumerate() {
                    let seen = key <= query && window.is_none_or(|window| query - key <= window);
                    assert!(seen == (weight > 0.0), "{what}: {weight} at key {key}");
                }
                let sum: f32 = weights.iter().sum();
                assert!((sum - 1.0).abs() < PATTERN_ATOL, "{what}: sum {sum}");
            }
        }
    }
}

#[test]
fn logits_are_the_capped_unembedding_of_the_final_norm() {
    for golden in golden::NANOCHAT {
        let (model, tokens) = (golden.model().gpt, golden.tokens());
        let config = model.config();

        let (logits, recording) = record(&model, &tokens);

        let normalized: Tensor<3> = recording.get(HookPoint::FinalNormalized).unwrap().tensor();
        let expected: Vec<f32> = times(normalized, matrix(&model, "lm_head.weight"))
            .chunks_exact(config.padded_vocab_size)
            .flat_map(|row| &row[..config.shape.vocab_size])
            .map(|&x| config.softcap.map_or(x, |cap| (x / cap).tanh() * cap))
            .collect();
        assert_close(golden, &logits, &expected, SAME_ATOL);
    }
}
