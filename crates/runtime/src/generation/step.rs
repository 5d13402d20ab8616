//! One step of several generations, in shared passes.

use std::collections::BTreeMap;

use nanoscope_kernels::{each_chunk, read_together};
use nanoscope_transformer::{KvCache, Logits, TokenBatch};

use crate::generation::outcome::StepOutcome;
use crate::generation::prefix_cache::PrefixCache;
use crate::generation::state::{Generation, Turn};
use crate::model::InterpretableModel;
use crate::pass::NonFinite;
use crate::pass::pass_router::PassRouter;
use crate::pass::plan_pass::{PassOutput, PlanPass};
use crate::pass::report::ReportBuilder;
use crate::pass::token_positions::TokenPositions;

/// The results of a pass for one of its generations.
struct PassResult {
    /// The error is that of a number that is not finite.
    output: Result<PassOutput, NonFinite>,
    report: ReportBuilder,
    logits: Option<Vec<f32>>,
}

/// Steps each generation once. Generations that run equally many tokens share a pass.
pub(super) fn step_together<'m>(
    model: &'m InterpretableModel,
    generations: &mut [&mut Generation<'m>],
    mut prefixes: Option<&mut PrefixCache>,
) -> Vec<StepOutcome> {
    let turns = turns(generations);
    let mut passes: BTreeMap<(usize, bool), Vec<usize>> = BTreeMap::new();
    for (at, (generation, turn)) in generations.iter().zip(&turns).enumerate() {
        let len = generation.turn_tokens(turn).len();
        if len > 0 {
            passes.entry((len, generation.wants_logits(turn))).or_default().push(at);
        }
    }
    let mut ran: BTreeMap<usize, PassResult> = BTreeMap::new();
    for ((_, logits), members) in passes {
        let mut of_pass: Vec<_> = generations
            .iter_mut()
            .enumerate()
            .filter(|(at, _)| members.contains(at))
            .map(|(at, generation)| (&mut **generation, &turns[at]))
            .collect();
        let of_pass = pass(model, &mut of_pass, logits);
        ran.extend(members.into_iter().zip(of_pass));
    }
    let nothing = ReportBuilder::new(0);
    let progress = generations.iter_mut().zip(turns).enumerate().map(|(at, (generation, turn))| {
        match (turn, ran.remove(&at)) {
            (Turn::Prompt(piece), Some(PassResult { output: Ok(output), report, logits })) => {
                generation.ran_prompt(piece, output, &report, logits, prefixes.as_deref_mut())
            }
            (Turn::Token(choice), Some(PassResult { output: Ok(output), report, logits })) => {
                generation.ran_token(choice, Some(output), &report, logits)
            }
            (Turn::Last(choice), _) => generation.ran_token(choice, None, &nothing, None),
            (Turn::Prompt(piece), Some(PassResult { output: Err(found), .. })) => {
                generation.fail(found, piece.end)
            }
            (Turn::Token(choice), Some(PassResult { output: Err(found), .. })) => {
                generation.tokens.push(choice.token);
                generation.fail(found, generation.tokens.len())
            }
            (Turn::Prompt(_) | Turn::Token(_), None) | (Turn::End, _) => StepOutcome::End,
        }
    });
    progress.collect()
}

/// Decides each generation's next action, and samples a token where one is due.
fn turns(generations: &mut [&mut Generation<'_>]) -> Vec<Turn> {
    let mut turns: Vec<_> =
        generations.iter_mut().map(|generation| (generation, Turn::End)).collect();
    let threads = turns.len();
    each_chunk(&mut turns, 1, threads, |_, one| {
        for (generation, turn) in one {
            *turn = generation.turn();
        }
    });
    turns.into_iter().map(|(_, turn)| turn).collect()
}

/// Runs the tokens of `turns`, the same number in each, in one pass.
fn pass<'m>(
    model: &'m InterpretableModel,
    turns: &mut [(&mut Generation<'m>, &Turn)],
    logits: bool,
) -> Vec<PassResult> {
    let rows: Vec<Vec<u32>> = turns.iter().map(|(g, turn)| g.turn_tokens(turn)).collect();
    let positions: Vec<TokenPositions> =
        turns.iter().zip(&rows).map(|((g, _), row)| g.token_positions(row)).collect();
    let tokens = TokenBatch::new(&rows).expect("the rows of a pass are equally long");
    let mut reports: Vec<ReportBuilder> = turns
        .iter()
        .map(|(generation, _)| ReportBuilder::new(generation.plan.interventions.len()))
        .collect();

    let mut caches: Vec<&mut KvCache> = Vec::with_capacity(turns.len());
    let mut passes = Vec::with_capacity(turns.len());
    for (((generation, _), positions), report) in turns.iter_mut().zip(&positions).zip(&mut reports)
    {
        let Generation { plan, cache, .. } = &mut **generation;
        caches.push(cache);
        passes.push(PlanPass::new(plan, positions, report));
    }
    let mut router = PassRouter::new(&mut passes);
    let out = model.gpt().forward_together(
        &tokens,
        &mut caches,
        logits.then_some(Logits::Last),
        &mut router,
    );
    let out = out.expect("ids were checked, and there is room for each token that is chosen");
    // The device is waited for once.
    let unread = out.map(|logits| logits.flatten(0, 2)).into_iter().chain(router.take_unread());
    let mut numbers = read_together(unread.collect()).into_iter();
    let out = if logits { numbers.next() } else { None };
    router.receive(&mut numbers);
    let outputs: Vec<_> = passes.into_iter().map(PlanPass::finish).collect();

    let vocab_size = model.gpt().config().shape.vocab_size;
    let mut logits: Vec<Option<Vec<f32>>> = match out {
        // A single row is handed on without a copy.
        Some(row) if outputs.len() == 1 => vec![Some(row)],
        Some(rows) => rows.chunks(vocab_size).map(|row| Some(row.to_vec())).collect(),
        None => vec![None; outputs.len()],
    };
    outputs
        .into_iter()
        .zip(reports)
        .zip(&mut logits)
        .map(|((output, report), logits)| PassResult { output, report, logits: logits.take() })
        .collect()
}
