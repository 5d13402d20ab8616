//! The texts of a generation's tokens.

use nanoscope_runtime::{
    Batch, EndReason, Generation, InterpretableModel, Plan, Sampling, StepOutcome,
};
use nanoscope_testing::{SPECIAL_TOKENS, TINY_SHAPE, byte_tokenizer, test_device, tiny_gpt};
use nanoscope_tokenizer::Tokenizer;
use nanoscope_transformer::GptShape;

/// A model whose tokens are bytes, so that most of its texts are not UTF-8.
fn model() -> InterpretableModel {
    let shape = GptShape { vocab_size: 256 + SPECIAL_TOKENS.len(), ..TINY_SHAPE };
    let model = InterpretableModel::new(tiny_gpt(shape, &test_device()));
    model.with_tokenizer(byte_tokenizer(&SPECIAL_TOKENS)).unwrap()
}

/// Checks one finished generation. Returns whether the model ended the text within a character.
#[track_caller]
fn check(tokenizer: &Tokenizer, pieces: &str, ids: &[u32], end: Option<EndReason>) -> bool {
    assert_eq!(pieces, tokenizer.decode(ids).unwrap(), "{ids:?}, {end:?}");
    let mut stream = tokenizer.stream();
    for &id in ids {
        stream.push(id).unwrap();
    }
    matches!(end, Some(EndReason::Stop { .. })) && stream.is_within_character()
}

#[test]
fn the_pieces_of_a_generation_are_the_text_of_its_tokens_however_it_ends() {
    let model = model();
    let tokenizer = model.tokenizer().unwrap();
    let mut ended_within = 0;

    for seed in 0..120 {
        // Above 1, so that the tokens which end a text are about as likely as the others.
        let sampling = Sampling { temperature: 5.0, seed, max_tokens: 24, ..Sampling::default() };
        let mut generation = model.generate(&[72], &Plan::new(), &sampling).unwrap();
        let (mut pieces, mut ids) = (String::new(), Vec::new());
        for step in generation.by_ref() {
            pieces.push_str(&step.text);
            ids.push(step.token_id);
        }
        ended_within += usize::from(check(tokenizer, &pieces, &ids, generation.end()));
    }

    assert!(ended_within > 0, "no text ended within a character");
}

#[test]
fn the_pieces_of_a_batch_are_the_texts_of_its_tokens() {
    let model = model();
    let tokenizer = model.tokenizer().unwrap();
    let mut batch = Batch::new(&model, 0);
    let mut generations: Vec<Generation<'_>> = (0..12)
        .map(|seed| {
            let sampling =
                Sampling { temperature: 5.0, seed, max_tokens: 16, ..Sampling::default() };
            batch.begin(&[72], &Plan::new(), &sampling).unwrap()
        })
        .collect();
    let mut texts = vec![(String::new(), Vec::new()); generations.len()];

    while generations.iter().any(|generation| generation.end().is_none()) {
        let outcomes = batch.step(&mut generations.iter_mut().collect::<Vec<_>>()).unwrap();
        for (outcome, (pieces, ids)) in outcomes.into_iter().zip(&mut texts) {
            if let StepOutcome::Step(step) = outcome {
                pieces.push_str(&step.text);
                ids.push(step.token_id);
            }
        }
    }

    for (generation, (pieces, ids)) in generations.iter().zip(&texts) {
        check(tokenizer, pieces, ids, generation.end());
    }
}
