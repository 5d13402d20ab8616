use std::borrow::Cow;
use std::collections::BTreeMap;

use nanoscope_kernels::{exp, log_sum_exp, sum};
use nanoscope_sae::Selection;
use rand::SeedableRng;
use rand::rngs::ChaCha12Rng;

use crate::error::RuntimeError;

/// Parameters for choosing tokens and limiting their number.
///
/// The JSON form is an object with the fields as keys, each of which may be absent for its default.
/// An unknown key and a value that [`check`](Self::check) rejects are errors.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0 chooses the most likely token. Default: 1.
    pub temperature: f32,
    /// Samples from the `k` most likely tokens only. Default: all.
    pub top_k: Option<usize>,
    /// Samples from the most likely tokens that together reach this probability (nucleus sampling,
    /// Holtzman et al. 2020, arXiv:1904.09751); in (0, 1]. Default: all.
    pub top_p: Option<f32>,
    /// Seed of the random number generator, ChaCha with 12 rounds. Equal seeds give equal texts.
    /// Default: 42.
    pub seed: u64,
    /// The maximum number of tokens to generate. Default: 128.
    pub max_tokens: usize,
    /// Subtracted from a token's logit for each time that it was generated; in -2..=2, as in
    /// OpenAI's API. Default: 0.
    pub frequency_penalty: f32,
    /// Subtracted once from the logit of each token that was generated; in -2..=2. Default: 0.
    pub presence_penalty: f32,
    /// The number of most likely tokens that each step lists ([`Step::top_logprobs`]). Default: 0.
    ///
    /// [`Step::top_logprobs`]: crate::Step::top_logprobs
    pub top_logprobs: usize,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: None,
            top_p: None,
            seed: 42,
            max_tokens: 128,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            top_logprobs: 0,
        }
    }
}

impl Sampling {
    /// Chooses the most likely token each time, and at most `max_tokens` of them.
    pub fn greedy(max_tokens: usize) -> Self {
        Self { temperature: 0.0, max_tokens, ..Self::default() }
    }

    /// Checks that each parameter is in its range.
    ///
    /// # Errors
    /// [`RuntimeError::Sampling`] for the first one out of range.
    pub fn check(&self) -> Result<(), RuntimeError> {
        let wrong = |parameter, found: String, expected| {
            Err(RuntimeError::Sampling { parameter, found, expected })
        };
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return wrong("temperature", self.temperature.to_string(), "0 or more");
        }
        if let Some(top_p) = self.top_p.filter(|p| !(*p > 0.0 && *p <= 1.0)) {
            return wrong("top-p", top_p.to_string(), "above 0 and at most 1");
        }
        if self.top_k == Some(0) {
            return wrong("top-k", "0".to_owned(), "1 or more");
        }
        for (parameter, penalty) in [
            ("frequency-penalty", self.frequency_penalty),
            ("presence-penalty", self.presence_penalty),
        ] {
            if !(-2.0..=2.0).contains(&penalty) {
                return wrong(parameter, penalty.to_string(), "in -2..=2");
            }
        }
        if self.max_tokens == 0 {
            return wrong("max-tokens", "0".to_owned(), "1 or more");
        }
        Ok(())
    }
}

/// Chooses tokens one after another.
#[derive(Debug)]
pub(super) struct Sampler {
    sampling: Sampling,
    rng: ChaCha12Rng,
    /// The number of times each token was chosen; empty without penalties.
    chosen: BTreeMap<u32, u32>,
}

/// A chosen token and its probability.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choice {
    pub(super) token: u32,
    /// The natural logarithm of the model's probability for the token, before penalties,
    /// temperature, top-k and top-p.
    pub(super) logprob: f32,
    /// The most likely tokens by the same probability, most likely first.
    pub(super) top: Vec<(u32, f32)>,
}

impl Sampler {
    pub(super) fn new(sampling: Sampling) -> Self {
        let rng = ChaCha12Rng::seed_from_u64(sampling.seed);
        Self { rng, sampling, chosen: BTreeMap::new() }
    }

    /// Chooses the next token from the logits of the last position, `[vocab_size]`; `None` if one of
    /// them is not finite.
    pub(super) fn choose(&mut self, logits: &[f32]) -> Option<Choice> {
        let all = log_sum_exp(logits)?;
        let token = {
            let logits = self.penalised(logits);
            if self.sampling.temperature == 0.0 {
                argmax(&logits)
            } else {
                let uniform = uniform(&mut self.rng);
                draw(&logits, &self.sampling, uniform)
            }
        };
        if self.penalises() {
            *self.chosen.entry(token as u32).or_default() += 1;
        }
        let mut order = Likeliest::new(logits);
        let top = (0..self.sampling.top_logprobs.min(logits.len())).map(|rank| order.at(rank));
        Some(Choice {
            token: token as u32,
            logprob: all.logprob(logits[token]),
            top: top.map(|index| (index as u32, all.logprob(logits[index]))).collect(),
        })
    }

    fn penalises(&self) -> bool {
        self.sampling.frequency_penalty != 0.0 || self.sampling.presence_penalty != 0.0
    }

    fn penalised<'l>(&self, logits: &'l [f32]) -> Cow<'l, [f32]> {
        if self.chosen.is_empty() {
            return Cow::Borrowed(logits);
        }
        let Sampling { frequency_penalty, presence_penalty, .. } = self.sampling;
        let mut logits = logits.to_vec();
        for (&token, &times) in &self.chosen {
            logits[token as usize] -= frequency_penalty * times as f32 + presence_penalty;
        }
        Cow::Owned(logits)
    }
}

/// Draws a number in `0..1` with 53 random bits.
fn uniform(rng: &mut ChaCha12Rng) -> f64 {
    use rand::Rng;

    (rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Returns the index of the largest number; ties go to the lower index.
fn argmax(logits: &[f32]) -> usize {
    let mut best = 0;
    for (index, &logit) in logits.iter().enumerate() {
        if logit > logits[best] {
            best = index;
        }
    }
    best
}

/// Returns the token at `uniform` of the cumulative probabilities, most likely first.
fn draw(logits: &[f32], sampling: &Sampling, uniform: f64) -> usize {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut order = Likeliest::new(logits);
    let kept = sampling.top_k.unwrap_or(logits.len()).min(logits.len());
    let scaled = |index: usize| (logits[index] - max) / sampling.temperature;
    // The weights that are summed are those that are counted off, to the bit.
    let all = (kept == logits.len()).then(|| exponentials((0..kept).map(scaled)));
    let weight = |index: usize| match &all {
        Some(all) => f64::from(all[index]),
        None => f64::from(scaled(index)).exp(),
    };
    let mut total: f64 = match &all {
        Some(all) => sum(all),
        None => (0..kept).map(|rank| weight(order.at(rank))).sum(),
    };
    let mut last = kept - 1;
    if let Some(top_p) = sampling.top_p {
        let enough = f64::from(top_p) * total;
        let mut reached = 0.0;
        for rank in 0..kept {
            reached += weight(order.at(rank));
            if reached >= enough {
                (last, total) = (rank, reached);
                break;
            }
        }
    }
    let mut left = uniform * total;
    for rank in 0..=last {
        let index = order.at(rank);
        left -= weight(index);
        if left < 0.0 {
            return index;
        }
    }
    // Rounding can leave a remainder beyond the last token.
    order.at(last)
}

/// The exponentials of numbers, in float32.
fn exponentials(exponents: impl Iterator<Item = f32>) -> Vec<f32> {
    let mut exponentials: Vec<f32> = exponents.collect();
    exp(&mut exponentials);
    exponentials
}

/// The indices of logits, largest logit first, with ties by index. Only as many are sorted as are needed.
struct Likeliest<'l> {
    logits: &'l [f32],
    sorted: Vec<usize>,
}

impl<'l> Likeliest<'l> {
    /// The number sorted at first; each extension quadruples it.
    const FIRST: usize = 64;

    fn new(logits: &'l [f32]) -> Self {
        Self { logits, sorted: Vec::new() }
    }

    /// Returns the index at `rank`.
    fn at(&mut self, rank: usize) -> usize {
        if self.sorted.len() <= rank {
            let more = (4 * self.sorted.len()).max(Self::FIRST).max(rank + 1);
            let mut selection = Selection::new(more.min(self.logits.len()));
            let mut largest = selection.select(self.logits).to_vec();
            largest.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            self.sorted = largest.into_iter().map(|(index, _)| index as usize).collect();
        }
        self.sorted[rank]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Probabilities 0.5, 0.3, 0.15, 0.05 at temperature 1, in a different order.
    const LOGITS: [f32; 4] = [-1.897_12, -std::f32::consts::LN_2, -2.995_732, -1.203_973];

    fn drawn(sampling: &Sampling) -> [usize; 4] {
        let mut counts = [0; 4];
        for step in 0..1000 {
            counts[draw(&LOGITS, sampling, (f64::from(step) + 0.5) / 1000.0)] += 1;
        }
        counts
    }

    #[test]
    fn tokens_are_drawn_as_often_as_they_are_likely() {
        assert_eq!(drawn(&Sampling::default()), [150, 500, 50, 300]);
    }

    #[test]
    fn top_k_and_top_p_leave_the_unlikely_out() {
        let top_k = Sampling { top_k: Some(2), ..Sampling::default() };
        assert_eq!(drawn(&top_k), [0, 625, 0, 375]);
        // 0.5 + 0.3 reaches 0.75, 0.5 alone does not.
        let top_p = Sampling { top_p: Some(0.75), ..Sampling::default() };
        assert_eq!(drawn(&top_p), [0, 625, 0, 375]);
        let both = Sampling { top_k: Some(3), top_p: Some(0.4), ..Sampling::default() };
        assert_eq!(drawn(&both), [0, 1000, 0, 0]);
    }

    #[test]
    fn what_is_sorted_as_far_as_needed_is_in_order() {
        let logits: Vec<f32> = (0..1000_u32).map(|i| (i * 7919 % 101) as f32).collect();
        let mut sorted: Vec<usize> = (0..1000).collect();
        sorted.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));

        let mut order = Likeliest::new(&logits);
        assert_eq!(order.at(63), sorted[63]);
        assert_eq!(order.sorted.len(), 64);
        assert_eq!((0..1000).map(|rank| order.at(rank)).collect::<Vec<_>>(), sorted);
    }

    #[test]
    fn a_low_temperature_favours_the_likeliest() {
        // 0.5², 0.3², 0.15² and 0.05², divided by their sum, 0.365
        let cold = Sampling { temperature: 0.5, ..Sampling::default() };
        assert_eq!(drawn(&cold), [61, 685, 7, 247]);
    }

    #[test]
    fn the_log_probability_is_the_models_own() {
        let mut sampler = Sampler::new(Sampling { temperature: 0.0, ..Sampling::default() });

        let choice = sampler.choose(&LOGITS).unwrap();

        assert_eq!(choice.token, 1);
        assert!((choice.logprob - 0.5_f32.ln()).abs() < 1e-5, "{}", choice.logprob);
    }

    #[test]
    fn the_likeliest_tokens_are_named_with_their_log_probabilities() {
        let sampling = Sampling { top_logprobs: 2, ..Sampling::greedy(1) };

        let top = Sampler::new(sampling).choose(&LOGITS).unwrap().top;

        assert_eq!([top[0].0, top[1].0], [1, 3]);
        assert!((top[0].1 - 0.5_f32.ln()).abs() < 1e-5 && (top[1].1 - 0.3_f32.ln()).abs() < 1e-5);
    }

    #[test]
    fn a_penalty_grows_with_each_time_and_leaves_the_log_probability_alone() {
        // ln 0.5 - ln 0.3 = 0.51, and ln 0.5 - ln 0.15 = 1.2
        let penalty = |frequency_penalty, presence_penalty| {
            let sampling = Sampling { frequency_penalty, presence_penalty, ..Sampling::greedy(9) };
            let mut sampler = Sampler::new(sampling);
            (0..4).map(|_| sampler.choose(&LOGITS).unwrap()).collect::<Vec<_>>()
        };
        let tokens = |choices: &[Choice]| choices.iter().map(|c| c.token).collect::<Vec<_>>();

        let frequency = penalty(0.4, 0.0);
        assert_eq!(tokens(&frequency), [1, 1, 3, 1]);
        assert!((frequency[1].logprob - 0.5_f32.ln()).abs() < 1e-5);
        // Once per token, however often it was generated.
        assert_eq!(tokens(&penalty(0.0, 0.6)), [1, 3, 1, 1]);
        let refused = Sampling { presence_penalty: 2.5, ..Sampling::default() }.check();
        assert_eq!(
            refused.unwrap_err().to_string(),
            "presence-penalty is 2.5; it must be in -2..=2"
        );
    }

    #[test]
    fn nothing_is_drawn_from_logits_that_are_not_finite() {
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in 0..LOGITS.len() {
                let mut logits = LOGITS;
                logits[at] = wrong;
                for temperature in [0.0, 1.0] {
                    let sampling = Sampling { temperature, ..Sampling::default() };
                    assert_eq!(Sampler::new(sampling).choose(&logits), None, "{wrong} at {at}");
                }
            }
        }
        assert_eq!(Sampler::new(Sampling::default()).choose(&[f32::NAN; 4]), None);
    }

    #[test]
    fn the_same_seed_draws_the_same_numbers() {
        let draws = |seed| {
            let mut sampler = Sampler::new(Sampling { seed, ..Sampling::default() });
            (0..20).map(|_| sampler.choose(&LOGITS).unwrap().token).collect::<Vec<_>>()
        };

        assert_eq!(draws(1), draws(1));
        assert_ne!(draws(1), draws(2));
    }

    #[test]
    fn parameters_out_of_range_are_errors() {
        let message = |sampling: Sampling| sampling.check().unwrap_err().to_string();

        let cold = Sampling { temperature: -1.0, ..Sampling::default() };
        assert_eq!(message(cold), "temperature is -1; it must be 0 or more");
        let nan = Sampling { temperature: f32::NAN, ..Sampling::default() };
        assert_eq!(message(nan), "temperature is NaN; it must be 0 or more");
        let top_p = Sampling { top_p: Some(1.5), ..Sampling::default() };
        assert_eq!(message(top_p), "top-p is 1.5; it must be above 0 and at most 1");
        let top_k = Sampling { top_k: Some(0), ..Sampling::default() };
        assert_eq!(message(top_k), "top-k is 0; it must be 1 or more");
    }
}
