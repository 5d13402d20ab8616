//! Cost of attribution, relative to passes of the same text.
//!
//! `cargo bench --bench attribution`
//!
//! - the gradients of all features of the demo's four SAEs on a prompt of 64 tokens, relative to one forward pass
//! - twenty exact ablations, relative to one batch of twenty rows that continue from the prefix they share
//!
//! In each round every quantity is measured in turn, so that all run under the same conditions. Prints the median
//! over the rounds, and the median of the ratios.

use std::path::Path;
use std::time::Instant;

use nanoscope_attribute::{Attribution, Metric, Question};
use nanoscope_checkpoint::{ModelFiles, load_saes};
use nanoscope_hooks::ActivationRecorder;
use nanoscope_runtime::InterpretableModel;
use nanoscope_transformer::{Logits, Prefix, TokenBatch};

const TOKENS: usize = 64;
const ABLATIONS: usize = 20;
const ROUNDS: usize = 15;

fn main() {
    let device = nanoscope_device::by_name("auto").expect("a backend is compiled in");
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo");
    let files = ModelFiles::find(&demo).expect("the demo is in the repository");
    let mut model = InterpretableModel::new(files.load(&device).expect("the demo loads").gpt);
    for loaded in load_saes([demo.join("saes")], &device).expect("the SAEs load") {
        let hook = loaded.hook().expect("its file says where it belongs");
        model.add_sae(hook, loaded.sae).expect("it fits");
    }
    // Once for memory and kernels.
    measure(&model);
    let rounds: Vec<Round> = (0..ROUNDS).map(|_| measure(&model)).collect();

    let of = |number: fn(&Round) -> f64| median(rounds.iter().map(number).collect());
    println!("one forward pass of {TOKENS} tokens: {:.2} ms", of(|round| round.forward));
    println!(
        "gradients of all features of four SAEs: {:.2} ms, {:.2} x one forward pass",
        of(|round| round.gradients),
        of(|round| round.gradients / round.forward)
    );
    println!("{ABLATIONS} rows from the prefix that they share: {:.2} ms", of(|round| round.batch));
    println!(
        "{ABLATIONS} exact ablations: {:.2} ms, {:.2} x the batch",
        of(|round| round.ablations),
        of(|round| round.ablations / round.batch)
    );
}

/// Milliseconds.
struct Round {
    forward: f64,
    gradients: f64,
    batch: f64,
    ablations: f64,
}

fn measure(model: &InterpretableModel) -> Round {
    let gpt = model.gpt();
    let tokens: Vec<u32> = (0..TOKENS as u32).map(|i| 300 + i * 37 % 3000).collect();
    let row = TokenBatch::new(std::slice::from_ref(&tokens)).expect("a row has tokens");
    let run = || {
        let logits = gpt.forward(&row, Logits::Last, &mut ()).expect("the ids are the demo's");
        logits.into_data();
    };
    let (forward, ()) = time(run);
    let metric = Metric::LogitDiff { target: 912, contrast: 1684 };
    let question = Question::new(tokens.clone(), metric);
    let (gradients, attribution) =
        time(|| Attribution::new(model, &question).expect("the question fits the demo"));

    let strongest = attribution.strongest(ABLATIONS);
    let positions = strongest.iter().map(|&row| attribution.features()[row].position);
    let shared = positions.min().expect("features are active");
    let points = (0..gpt.config().shape.n_layer).flat_map(|l| gpt.config().cached_points(l));
    let mut recorder = ActivationRecorder::new(points);
    gpt.forward(&row, Logits::Last, &mut recorder).expect("the ids are the demo's");
    let recorded = recorder.finish().expect("the pass reaches every point");
    let prefix = Prefix::new(gpt, tokens.clone(), |point| Some(recorded.get(point)?.tensor()));
    let prefix = prefix.expect("every point was recorded");
    let rows = TokenBatch::new(&vec![tokens[shared..].to_vec(); ABLATIONS]).expect("equal rows");
    let (batch, ()) = time(|| {
        let cache = prefix.cache(gpt, ABLATIONS, shared, TOKENS);
        let mut cache = cache.expect("there is room");
        let logits = gpt.forward_cached(&rows, &mut cache, Logits::Last, &mut ());
        logits.expect("it fits").into_data();
    });
    let (ablations, _) = time(|| attribution.ablate(&strongest).expect("the rows exist"));
    Round { forward, gradients, batch, ablations }
}

fn time<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let started = Instant::now();
    let done = work();
    (started.elapsed().as_secs_f64() * 1e3, done)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
