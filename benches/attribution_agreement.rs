//! Agreement of the gradient with exact ablation, over all active features of ten prompts of the demo.
//!
//! `cargo bench --bench attribution_agreement`
//!
//! The prompts are the first tokens of ten stories; the metric is the logit difference of the likeliest next token and
//! the runner-up, and the log probability of the likeliest. Prints a table in Markdown: per layer the median of the
//! rank correlations (Spearman), with the lowest, of the linear correlations (Pearson), and the number of the ten
//! strongest by ablation that are among the ten strongest by gradient. In the last layer only the last position can
//! have an effect.

use std::path::Path;

use nanoscope_attribute::{Asked, Attribution, Metric, Question};
use nanoscope_checkpoint::{ModelFiles, load_saes, load_tokenizer};
use nanoscope_hooks::HookPoint;
use nanoscope_runtime::InterpretableModel;

const PROMPTS: usize = 10;
const TOKENS: usize = 32;

fn main() {
    let model = demo();
    let prompts = prompts(&model);
    let mut found: Vec<(&str, Vec<Agreement>)> = Vec::new();
    for tokens in &prompts {
        let asked = Asked::Token { target: None, contrast: None };
        let attribution = asked.attribute(&model, tokens, None, None).expect("the demo's tokens");
        let Metric::LogitDiff { target, .. } = attribution.metric() else { unreachable!() };
        add(&mut found, &attribution);
        let question = Question::new(tokens.clone(), Metric::LogProb { target });
        add(&mut found, &Attribution::new(&model, &question).expect("the demo's tokens"));
    }
    println!(
        "| metric | hook point | features | Spearman, median (lowest) | Pearson, median (lowest) | of the \
         10 strongest |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    for metric in ["logit_diff", "logprob"] {
        let of_metric = found.iter().filter(|(name, _)| *name == metric);
        let all: Vec<&Vec<Agreement>> = of_metric.map(|(_, layers)| layers).collect();
        for (layer, name) in all[0].iter().map(|layer| &layer.name).enumerate() {
            let numbers = |number: fn(&Agreement) -> f64| -> Vec<f64> {
                let mut numbers: Vec<f64> = all.iter().map(|of| number(&of[layer])).collect();
                numbers.sort_by(f64::total_cmp);
                numbers
            };
            let (rank, linear) = (numbers(|a| a.spearman), numbers(|a| a.pearson));
            let hits = numbers(|a| a.hits as f64);
            let features: usize = all.iter().map(|of| of[layer].features).sum();
            println!(
                "| {metric} | {name} | {features} | {:.3} ({:.3}) | {:.3} ({:.3}) | {:.1} |",
                median(&rank),
                rank[0],
                median(&linear),
                linear[0],
                hits.iter().sum::<f64>() / hits.len() as f64,
            );
        }
    }
    let all = found.iter().filter_map(|(_, layers)| layers.last());
    let (opposite, strong) = all.fold((0, 0), |(o, s), all| (o + all.opposite, s + all.strong));
    println!("\n{opposite} of the {strong} strongest (20 a prompt and metric) have opposite signs");
}

/// The agreement over one layer of one prompt, or over all of them.
struct Agreement {
    name: String,
    features: usize,
    spearman: f64,
    pearson: f64,
    hits: usize,
    strong: usize,
    opposite: usize,
}

fn add(found: &mut Vec<(&'static str, Vec<Agreement>)>, attribution: &Attribution<'_>) {
    let features = attribution.features();
    let rows: Vec<usize> = (0..features.len()).collect();
    let exact = attribution.ablate(&rows).expect("the rows exist");
    let deepest = attribution.hooks().last().expect("the demo has SAEs").hook;
    let counts = |row: usize| {
        features[row].hook != deepest || features[row].position == attribution.position()
    };
    let pairs = |hook: Option<HookPoint>| -> Vec<(f64, f64)> {
        let of_hook = rows.iter().filter(|&&row| hook.is_none_or(|h| features[row].hook == h));
        of_hook
            .filter(|&&row| counts(row))
            .map(|&row| (f64::from(features[row].attribution), f64::from(exact[row])))
            .collect()
    };
    let mut layers: Vec<Agreement> = attribution
        .hooks()
        .iter()
        .map(|terms| Agreement::new(terms.hook.to_string(), &pairs(Some(terms.hook))))
        .collect();
    layers.push(Agreement::new("all".to_owned(), &pairs(None)));
    found.push((attribution.metric().name(), layers));
}

impl Agreement {
    fn new(name: String, pairs: &[(f64, f64)]) -> Self {
        let (estimate, exact): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
        let strongest = |values: &[f64], n: usize| -> Vec<usize> {
            let mut order: Vec<usize> = (0..values.len()).collect();
            order.sort_by(|&a, &b| values[b].abs().total_cmp(&values[a].abs()));
            order.truncate(n);
            order
        };
        let by_estimate = strongest(&estimate, 10);
        let strong = strongest(&exact, 20);
        Self {
            name,
            features: pairs.len(),
            spearman: correlation(&ranks(&estimate), &ranks(&exact)),
            pearson: correlation(&estimate, &exact),
            hits: strongest(&exact, 10).iter().filter(|at| by_estimate.contains(at)).count(),
            opposite: strong.iter().filter(|&&at| estimate[at] * exact[at] < 0.0).count(),
            strong: strong.len(),
        }
    }
}

/// The median of sorted values.
fn median(values: &[f64]) -> f64 {
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    }
}

/// The ranks of values; equal ones share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    for equal in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let first = order.partition_point(|&at| values[at] < values[equal[0]]);
        for &at in equal {
            ranks[at] = first as f64 + (equal.len() - 1) as f64 / 2.0;
        }
    }
    ranks
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (a - mean_a, b - mean_b);
        (ab, aa, bb) = (ab + a * b, aa + a * a, bb + b * b);
    }
    ab / (aa * bb).sqrt()
}

fn demo() -> InterpretableModel {
    let device = nanoscope_device::by_name("auto").expect("a backend is compiled in");
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo");
    let files = ModelFiles::find(&demo).expect("the demo is in the repository");
    let gpt = files.load(&device).expect("the demo loads").gpt;
    let tokenizer = load_tokenizer(&demo.join("tokenizer")).expect("the demo has a tokenizer");
    let mut model = InterpretableModel::new(gpt).with_tokenizer(tokenizer).expect("it fits");
    for loaded in load_saes([demo.join("saes")], &device).expect("the SAEs load") {
        let hook = loaded.hook().expect("its file says where it belongs");
        model.add_sae(hook, loaded.sae).expect("it fits");
    }
    model
}

/// The first tokens of the first stories that are long enough.
fn prompts(model: &InterpretableModel) -> Vec<Vec<u32>> {
    let tokenizer = model.tokenizer().expect("the demo has a tokenizer");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/dashboard/stories.jsonl");
    let stories = std::fs::read_to_string(path).expect("the stories are in the repository");
    let tokens = stories.lines().map(|line| {
        let story: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
        let text = story["text"].as_str().expect("a story has a text");
        tokenizer.encode_with_bos(text).expect("a story is text")
    });
    let long = tokens.filter(|tokens| tokens.len() > TOKENS).map(|mut tokens| {
        tokens.truncate(TOKENS);
        tokens
    });
    let prompts: Vec<Vec<u32>> = long.take(PROMPTS).collect();
    assert_eq!(prompts.len(), PROMPTS, "there are too few stories");
    prompts
}
