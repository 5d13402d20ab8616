//! The prior: the probability of each token in the model's own texts.

use std::ops::ControlFlow;

use burn::tensor::activation::softmax;
use nanoscope_kernels::to_host;
use nanoscope_runtime::{
    Batch, Generation, InterpretableModel, Plan, RuntimeError, Sampling, Step,
};
use nanoscope_transformer::TokenBatch;

/// The number of texts and their length. Together they are enough for the words that a model often uses.
const TEXTS: u64 = 8;
const TOKENS: usize = 24;

/// The mean probability of each token of the vocabulary in texts that `model` writes after `start`, at
/// temperature 1.
pub(super) fn prior(model: &InterpretableModel, start: u32) -> Result<Vec<f32>, RuntimeError> {
    let mut batch = Batch::new(model, 0);
    let tokens = TOKENS.min(model.context_len().saturating_sub(1));
    let begin = |seed| {
        let sampling =
            Sampling { temperature: 1.0, seed, max_tokens: tokens, ..Sampling::default() };
        batch.begin(&[start], &Plan::new(), &sampling)
    };
    let mut rows: Vec<Generation<'_>> = (0..TEXTS).map(begin).collect::<Result<_, _>>()?;
    let steps = batch.finish(&mut rows, || ControlFlow::Continue(()))?.unwrap_or_default();
    let ids = |steps: Vec<Step>| steps.into_iter().map(|step| step.token_id);
    let texts: Vec<Vec<u32>> =
        steps.into_iter().map(|steps| [start].into_iter().chain(ids(steps)).collect()).collect();
    let mut sum: Option<Vec<f32>> = None;
    let mut positions = 0;
    for text in &texts {
        let logits = model.run(&TokenBatch::new(std::slice::from_ref(text))?, &Plan::new())?.logits;
        let of_text = to_host(softmax(logits.squeeze_dim::<2>(0), 1).sum_dim(0));
        positions += text.len();
        match &mut sum {
            Some(sum) => sum.iter_mut().zip(of_text).for_each(|(sum, p)| *sum += p),
            None => sum = Some(of_text),
        }
    }
    let mut mean = sum.unwrap_or_default();
    for p in &mut mean {
        *p /= positions as f32;
    }
    Ok(mean)
}
