//! The features that a search finds for a word: how often they write it, and how fluent the text stays.
//!
//! `cargo bench --bench find_and_steer`, with other words `cargo bench --bench find_and_steer -- dog cat cake`,
//! with other SAEs of the demo `cargo bench --bench find_and_steer -- --sae runs/stories`
//!
//! For each word: the first hit of the search over the demo's SAEs, turned up by the share of the norm that the
//! search prints; the number of 20 sampled continuations (temperature 0.7, 64 tokens) that contain the word; and the
//! negative log-likelihood of the continuations under the unsteered model, divided by that of 20 unsteered
//! ones. A word passes with 10 of 20 and a ratio of at most 2. For a word that fails, the best of its first
//! five hits is named too. Then 100 features, evenly over the SAEs, each turned up in four texts: the number whose
//! texts have a ratio above 2. Then the demo's topics: each passes with 16 of 20, at most 4 of 20 in unsteered
//! texts, and the same ratio.

use std::ops::ControlFlow;
use std::path::Path;

use nanoscope::{
    Batch, Generation, Microscope, Plan, Result, Sampling, Search, SearchOptions, device,
};
use serde::Deserialize;

/// The words that are searched for by default: the demo's children's vocabulary.
const WORDS: [&str; 30] = [
    "dog", "cat", "cake", "rain", "boat", "tree", "happy", "sad", "mom", "ball", "bird", "park",
    "friend", "car", "sun", "flower", "fish", "bear", "house", "water", "book", "dance", "garden",
    "dragon", "rabbit", "star", "snow", "toy", "king", "cookie",
];
const PROMPT: &str = "Once upon a time, there was a";
const TEXTS: u64 = 20;
const TOKENS: usize = 64;
const TEMPERATURE: f32 = 0.7;
/// The ratio of negative log-likelihoods up to which a text counts as fluent.
const FLUENT: f64 = 2.0;
/// The features of all SAEs that are turned up to see how many break, and the texts of each.
const SAMPLE: usize = 100;
const SAMPLE_TEXTS: u64 = 4;
/// The hits of which the best is named for a word that fails.
const HITS: usize = 5;

#[derive(Deserialize)]
struct Topic {
    name: String,
    steer: String,
    prompt: String,
    words: Vec<String>,
}

fn main() -> Result<()> {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo");
    let mut given: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let of_demo = given.first().is_none_or(|arg| arg != "--sae");
    let saes =
        if of_demo { demo.join("saes") } else { given.drain(..2).nth(1).expect("a path").into() };
    let scope = Microscope::open(&demo, &device("auto")?)?.with_saes([saes])?;
    let words: Vec<&str> =
        if given.is_empty() { WORDS.to_vec() } else { given.iter().map(String::as_str).collect() };
    let unsteered = Texts::write(&scope, PROMPT, &Plan::new(), TEXTS)?;

    println!("word      first hit                      texts  unsteered  ratio");
    let search = Search::default();
    let mut passed = 0;
    for word in &words {
        let label = |hook, feature| scope.label(hook, feature).map(str::to_owned);
        let options = SearchOptions::default();
        let hits = search.find(scope.model(), scope.names(), word, &options, label)?;
        let mut tried = Vec::new();
        for hit in hits.iter().take(HITS) {
            let steer = scope.names().turn_up(hit.hook, hit.feature);
            let texts = Texts::write(&scope, PROMPT, &Plan::new().intervene(steer.clone()), TEXTS)?;
            let (count, ratio) = (texts.about(&[*word]), texts.nll / unsteered.nll);
            tried.push((steer, count, ratio));
            // The others are only wanted if the first fails.
            if tried.len() == 1 && passes(count, ratio) {
                break;
            }
        }
        let Some((steer, count, ratio)) = tried.first() else {
            println!("{word:<9} none");
            continue;
        };
        let verdict = if passes(*count, *ratio) {
            passed += 1;
            String::new()
        } else {
            let best =
                tried.iter().filter(|(.., ratio)| *ratio <= FLUENT).max_by_key(|(_, n, _)| *n);
            let best = best.map(|(steer, n, ratio)| format!("; best {steer}: {n}, {ratio:.2}"));
            format!("  fails{}", best.unwrap_or_default())
        };
        let steer = steer.to_string().replace("blocks.", "").replace("hook_", "");
        let plain = unsteered.about(&[*word]);
        println!("{word:<9} {steer:<30} {count:>5}  {plain:>9}  {ratio:>5.2}{verdict}");
    }
    println!("{passed} of {} words pass\n", words.len());
    if !given.is_empty() {
        return Ok(());
    }
    sample(&scope)?;
    if of_demo { topics(&scope, &demo) } else { Ok(()) }
}

/// Prints how many features break a text when they are turned up.
fn sample(scope: &Microscope) -> Result<()> {
    let saes = scope.model().saes();
    let unsteered = Texts::write(scope, PROMPT, &Plan::new(), SAMPLE_TEXTS)?;
    let (mut broken, mut all) = (0, 0);
    for (&hook, sae) in saes {
        let (of_sae, d_sae) = (SAMPLE / saes.len(), sae.config().d_sae());
        for feature in (0..of_sae).map(|at| at * d_sae / of_sae) {
            let plan = Plan::new().intervene(scope.names().turn_up(hook, feature as u32));
            let texts = Texts::write(scope, PROMPT, &plan, SAMPLE_TEXTS)?;
            broken += usize::from(texts.nll / unsteered.nll > FLUENT);
            all += 1;
        }
    }
    println!("{broken} of {all} features break their texts\n");
    Ok(())
}

fn passes(count: usize, ratio: f64) -> bool {
    count >= 10 && ratio <= FLUENT
}

/// Prints how the demo's topics do.
fn topics(scope: &Microscope, demo: &Path) -> Result<()> {
    let file = std::fs::read(demo.join("topics.json")).expect("the demo has topics");
    let topics: Vec<Topic> = serde_json::from_slice(&file).expect("the topics are valid");
    println!("topic        texts  unsteered  ratio");
    for Topic { name, steer, prompt, words } in topics {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let unsteered = Texts::write(scope, &prompt, &Plan::new(), TEXTS)?;
        let texts = Texts::write(scope, &prompt, &Plan::new().intervene(steer.parse()?), TEXTS)?;
        let (count, plain, ratio) =
            (texts.about(&words), unsteered.about(&words), texts.nll / unsteered.nll);
        let verdict = if count >= 16 && plain <= 4 && ratio <= FLUENT { "" } else { "  fails" };
        println!("{name:<12} {count:>5}  {plain:>9}  {ratio:>5.2}{verdict}");
    }
    Ok(())
}

/// Sampled continuations, and their mean negative log-likelihood under the unsteered model.
struct Texts {
    texts: Vec<String>,
    nll: f64,
}

impl Texts {
    fn write(scope: &Microscope, prompt: &str, plan: &Plan, n: u64) -> Result<Self> {
        let prompt = scope.encode(prompt)?;
        let mut batch = Batch::new(scope.model(), 1 << 20);
        let begin = |seed| {
            let sampling = Sampling {
                temperature: TEMPERATURE,
                seed,
                max_tokens: TOKENS,
                ..Sampling::default()
            };
            batch.begin(&prompt, plan, &sampling)
        };
        let mut rows: Vec<Generation<'_>> =
            (0..n).map(begin).collect::<std::result::Result<_, _>>()?;
        let steps =
            batch.finish(&mut rows, || ControlFlow::Continue(()))?.expect("nothing ends it early");
        let (mut sum, mut texts) = (0.0, Vec::new());
        for steps in steps {
            let generated = steps.iter().map(|step| step.token_id);
            let tokens: Vec<u32> = prompt.iter().copied().chain(generated).collect();
            let nll = scope.model().mean_nll(&tokens, prompt.len())?;
            // A text that ends at once is as bad as can be.
            sum += nll.unwrap_or(f64::INFINITY);
            texts.push(steps.into_iter().map(|step| step.text).collect());
        }
        Ok(Self { texts, nll: sum / n as f64 })
    }

    /// The number of texts with one of `words`, alone or with a common ending.
    fn about(&self, words: &[&str]) -> usize {
        let has = |text: &&String| {
            let text = text.to_lowercase();
            let mut found = text.split(|c: char| !c.is_alphanumeric());
            found.any(|found| words.iter().any(|word| is_form_of(found, word)))
        };
        self.texts.iter().filter(has).count()
    }
}

/// Returns whether `found` is `word` with a common ending.
fn is_form_of(found: &str, word: &str) -> bool {
    let ends = |stem: &str, endings: &[&str]| {
        found.strip_prefix(stem).is_some_and(|rest| endings.contains(&rest))
    };
    ends(word, &["", "s", "es", "ed", "ing"])
        || word.strip_suffix('e').is_some_and(|stem| ends(stem, &["ing", "ed"]))
}
