//! Properties that hold for every model.

use nanoscope_attribute::{Attribution, Metric, Question, Steps, logit_lens};
use nanoscope_checkpoint::{LoadOptions, MatrixDtype, ModelFiles, WeightDtype};
use nanoscope_hooks::{ActivationRecorder, HookPoint};
use nanoscope_runtime::{InterpretableModel, Plan, logit_effects_on};
use nanoscope_testing::noisy_sae;
use nanoscope_transformer::{Logits, TokenBatch};

use crate::golden::{self, Golden, assert_close, tolerance, values};
use crate::steering::{READ, SITE, models, spec, with_saes};

pub(crate) const TOKENS: [u32; 7] = [3, 61, 14, 15, 92, 65, 35];
pub(crate) const METRIC: Metric = Metric::LogitDiff { target: 7, contrast: 90 };

/// Relative to the largest term of a sum.
const SUM_RTOL: f32 = 1e-4;
/// Of a derivative by differences of float32 numbers, relative to the largest derivative.
const DIFFERENCE_RTOL: f32 = 2e-2;
const ABLATION_ATOL: f32 = 1e-4;
/// Of the difference that integrated gradients share out.
const INTEGRATED_RTOL: f32 = 0.01;
const LOGIT_ATOL: f32 = 1e-3;
const PROBABILITY_ATOL: f32 = 1e-5;

/// Models of all families; on a GPU, which compiles kernels for each, every fourth.
pub(crate) fn every() -> impl Iterator<Item = (String, InterpretableModel)> {
    models().into_iter().step_by(if golden::on_gpu() { 4 } else { 1 })
}

pub(crate) fn attribute(model: &InterpretableModel, metric: Metric) -> Attribution<'_> {
    Attribution::new(model, &Question::new(TOKENS.to_vec(), metric)).unwrap()
}

/// The last logits of a run of `tokens` with the interventions of `plan`.
fn logits(model: &InterpretableModel, tokens: &[u32], plan: &Plan) -> Vec<f32> {
    let logits = model.run(&TokenBatch::new(&[tokens.to_vec()]).unwrap(), plan).unwrap().logits;
    let last = tokens.len() - 1;
    values(logits.slice_dim(1, last..last + 1))
}

fn logit_diff(model: &InterpretableModel, tokens: &[u32], intervention: &str) -> f32 {
    let logits = logits(model, tokens, &Plan::new().intervene(spec(intervention)));
    logits[7] - logits[90]
}

#[test]
fn features_bias_and_error_sum_to_the_stream_at_every_position() {
    for (name, model) in every() {
        for metric in [METRIC, Metric::LogProb { target: 7 }] {
            let attribution = attribute(&model, metric);

            for terms in attribution.hooks() {
                let mut of_features = vec![0.0_f32; TOKENS.len()];
                let mut scale = 1e-3_f32;
                for row in attribution.features().iter().filter(|row| row.hook == terms.hook) {
                    of_features[row.position] += row.attribution;
                    scale = scale.max(row.attribution.abs());
                }
                for (position, stream) in terms.stream.iter().enumerate() {
                    let (error, bias) = (terms.error[position], terms.bias[position]);
                    let scale = scale.max(error.abs()).max(stream.abs());
                    let sum = of_features[position] + error + bias;
                    let difference = (sum - stream).abs();
                    assert!(
                        difference <= tolerance(SUM_RTOL) * scale,
                        "{name}, {}, {position}: {sum}, not {stream}",
                        terms.hook
                    );
                }
            }
            assert!(attribution.features().iter().any(|row| row.gradient != 0.0), "{name}");
        }
    }
}

/// Asserts that gradients are derivatives of the metric by the strength of the feature.
#[track_caller]
fn assert_derivatives(name: &str, model: &InterpretableModel, tokens: &[u32]) {
    let question = Question::new(tokens.to_vec(), METRIC);
    let attribution = Attribution::new(model, &question).unwrap();
    let largest =
        attribution.features().iter().map(|row| row.gradient.abs()).fold(0.0_f32, f32::max);
    for hook in [SITE, READ] {
        let rows = attribution.features().iter().enumerate().filter(|(_, row)| row.hook == hook);
        for (_, row) in rows.step_by(5) {
            let (position, feature) = (row.position, row.feature);
            let after = position + 1;
            // A step that moves the metric by a hundredth.
            let step = (0.01 / largest).min(0.05);
            let at = |step: f32| {
                let text = format!("{hook}:{feature}:add:{step}@{position}..{after}+special");
                logit_diff(model, tokens, &text)
            };
            let found = (at(step) - at(-step)) / (2.0 * step);
            let difference = (found - row.gradient).abs();
            assert!(
                difference <= DIFFERENCE_RTOL * largest,
                "{name}, {hook}, {position}, {feature}: {}, not {found}; largest {largest}",
                row.gradient
            );
        }
    }
}

#[test]
fn gradients_are_derivatives_by_the_strength_of_a_feature() {
    if golden::on_gpu() {
        return; // Differences of numbers that are 1e-3 off say nothing.
    }
    for (name, model) in every() {
        assert_derivatives(&name, &model, &TOKENS);
    }
}

/// On a CPU these matrices are multiplied on the host in their own type, which no gradient passes through.
#[test]
fn gradients_pass_through_matrices_of_fewer_bits() {
    if golden::on_gpu() {
        return;
    }
    for folder in ["../families/gpt2", "../families/llama31", "../families/gemma2"] {
        let golden = Golden { folder, era: None };
        for dtype in [WeightDtype::BF16.into(), WeightDtype::F16.into(), MatrixDtype::Int8] {
            let files = ModelFiles::find(&golden.model_dir()).unwrap();
            let options = LoadOptions { dtype: Some(dtype), ..Default::default() };
            let gpt = files.load_with(&nanoscope_testing::test_device(), options).unwrap().gpt;

            // A few rows are multiplied in another way than many.
            let model = with_saes(gpt);
            for tokens in [&TOKENS[..], &TOKENS[..3]] {
                assert_derivatives(&format!("{golden}, {dtype}"), &model, tokens);
            }
        }
    }
}

#[test]
fn an_exact_ablation_is_steering_with_ablate() {
    for (name, model) in every() {
        for metric in [METRIC, Metric::LogProb { target: 7 }, Metric::Logit { target: 90 }] {
            let attribution = attribute(&model, metric);
            let rows: Vec<usize> = (0..attribution.features().len()).step_by(11).collect();

            let exact = attribution.ablate_by_steering(&rows).unwrap();
            let batched = attribution.ablate(&rows).unwrap();

            assert_close(format!("{name}, batched"), &batched, &exact, ABLATION_ATOL);
            if metric != METRIC {
                continue;
            }
            let clean = logits(&model, &TOKENS, &Plan::new());
            for (&row, exact) in rows.iter().zip(&exact) {
                let row = attribution.features()[row];
                let (position, end) = (row.position, row.position + 1);
                let text = format!("{}:{}:ablate@{position}..{end}+special", row.hook, row.feature);
                let expected = (clean[7] - clean[90]) - logit_diff(&model, &TOKENS, &text);
                golden::assert_same(format!("{name}, {text}"), &[*exact], &[expected]);
            }
        }
    }
}

#[test]
fn an_exact_ablation_for_a_feature_is_that_of_its_pre_activation() {
    for (name, model) in every() {
        let position = TOKENS.len() - 2;
        let metric = Metric::Feature { hook: READ, feature: 5, position };
        let attribution = attribute(&model, metric);
        assert!(
            attribution.features().iter().all(|row| row.hook == SITE && row.position <= position)
        );
        let rows: Vec<usize> = (0..attribution.features().len()).step_by(7).collect();

        let exact = attribution.ablate_by_steering(&rows).unwrap();

        let batched = attribution.ablate(&rows).unwrap();
        assert_close(&name, &batched, &exact, ABLATION_ATOL);
        assert!(exact.iter().any(|effect| effect.abs() > 1e-4), "{name}: {exact:?}");
    }
}

#[test]
fn integrated_gradients_sum_to_the_effect_of_all_features() {
    for (name, model) in every() {
        let attribution = attribute(&model, METRIC);

        let integrated = attribution.integrate(Steps::Midpoints(40)).unwrap();

        let mut rows = integrated.features.iter().zip(attribution.features());
        for hook in &integrated.hooks {
            let sum: f32 = rows
                .by_ref()
                .take(attribution.hooks().iter().find(|of| of.hook == hook.hook).unwrap().active)
                .map(|(share, row)| {
                    assert_eq!(row.hook, hook.hook);
                    share
                })
                .sum();
            let effect = attribution.value() - hook.without_features;
            let error = (sum - effect).abs();
            println!("{name}, {}: {sum} of {effect}", hook.hook);
            // An effect near 0 is a difference of large shares.
            assert!(error <= INTEGRATED_RTOL * effect.abs().max(1.0), "{name}: {sum}, {effect}");
        }
        assert!(rows.next().is_none());
    }
}

#[test]
fn one_step_of_integrated_gradients_is_gradient_times_activation() {
    for (name, model) in every().step_by(5) {
        let attribution = attribute(&model, METRIC);

        let integrated = attribution.integrate(Steps::Ends(1)).unwrap();

        let expected: Vec<f32> = attribution.features().iter().map(|row| row.attribution).collect();
        assert_close(name, &integrated.features, &expected, 1e-4);
    }
}

#[test]
fn components_sum_to_the_logits_before_the_softcap() {
    for (name, model) in every() {
        let direct = attribute(&model, METRIC).direct().unwrap();

        let mut recorder = ActivationRecorder::new([HookPoint::FinalNormalized]);
        let tokens = TokenBatch::new(&[TOKENS.to_vec()]).unwrap();
        model.gpt().forward(&tokens, Logits::Last, &mut recorder).unwrap();
        let normed = recorder.finish().unwrap().get(HookPoint::FinalNormalized).unwrap().tensor();
        let raw = values(model.gpt().raw_logits(normed));
        let vocab = model.gpt().config().shape.vocab_size;
        let raw = &raw[raw.len() - vocab..];
        let sums = direct.components.iter().fold([0.0; 3], |[a, b, c], part| {
            let effect = part.effect;
            [a + effect.raw_target, b + effect.raw_contrast.unwrap(), c + effect.raw_mean]
        });
        let mean = raw.iter().sum::<f32>() / vocab as f32;
        assert_close(name, &sums, &[raw[7], raw[90], mean], LOGIT_ATOL);
    }
}

#[test]
fn a_direct_effect_is_that_on_the_logits_divided_by_the_norms_scale() {
    for (name, model) in every() {
        let normed = HookPoint::FinalNormalized;
        let width = model.gpt().config().shape.n_embd;
        let sae = noisy_sae(width, 2 * width, 6, model.gpt().device());
        let model = model.with_sae(normed, sae).unwrap();
        let attribution = attribute(&model, METRIC);

        let direct = attribution.direct().unwrap();

        assert_eq!(direct.features.len(), 18, "{name}: six features of three SAEs");
        for feature in &direct.features {
            let row = attribution.features()[feature.row];
            assert_eq!(row.position, TOKENS.len() - 1);
            let write = model.write_point(row.hook);
            let direction =
                model.sae(row.hook).unwrap().directions(&[row.feature as usize]).unwrap();
            let effects = logit_effects_on(model.gpt(), write, direction, &[7, 90]).unwrap();
            let factor = match model.gpt().direct_coefficient(write) {
                Some(coefficient) => row.activation * coefficient / direct.final_norm_scale,
                None => row.activation,
            };
            let expected: Vec<f32> = values(effects).iter().map(|x| x * factor).collect();
            let found = [feature.effect.raw_target, feature.effect.raw_contrast.unwrap()];
            assert_close(format!("{name}, {write}"), &found, &expected, 1e-4);
            // Nothing but the softcap is after the input of the unembedding.
            if write == normed {
                let (found, gradient) = (feature.effect.metric, row.attribution);
                assert_close(format!("{name}, {write}"), &[found], &[gradient], 1e-4);
            }
        }
    }
}

#[test]
fn the_lens_of_the_last_block_is_the_models_prediction() {
    for (name, model) in every() {
        let last = HookPoint::ResidPost(model.gpt().config().shape.n_layer - 1);

        let lens = logit_lens(&model, &TOKENS, &[last], 3, &[7]).unwrap();

        let logits = logits(&model, &TOKENS, &Plan::new());
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f32 = logits.iter().map(|logit| (logit - largest).exp()).sum();
        let reading = lens[0].positions.last().unwrap();
        let expected = (logits[7] - largest).exp() / sum;
        assert_close(&name, &reading.asked, &[expected], PROBABILITY_ATOL);
        assert_close(&name, &[reading.top[0].1], &[1.0 / sum], PROBABILITY_ATOL);
    }
}
