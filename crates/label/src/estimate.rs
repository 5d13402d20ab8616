use crate::material::Material;
use crate::prompt::{Message, detect, explain};
use crate::run::CONTEXTS_PER_REQUEST;

/// The number of characters of English text that a token has on average.
const CHARS_PER_TOKEN: usize = 4;
/// The assumed lengths of answers, in tokens: an explanation with the thoughts before it, and the verdict on
/// one context.
const EXPLANATION_TOKENS: u64 = 80;
const VERDICT_TOKENS: u64 = 3;
/// The assumed length of an explanation in the questions that test it, in characters.
const EXPLANATION_CHARS: usize = 80;

/// An estimate of the requests of a run, made before it starts.
///
/// The questions are known but for the explanations in them, which are taken to have 80 characters; a token
/// is taken to have 4 characters. Answers are taken to have 80 tokens for an explanation and 3 for each
/// context. Repeated requests and the tokens of reasoning are not included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Estimate {
    /// The number of requests.
    pub requests: u64,
    /// The tokens of all questions.
    pub prompt_tokens: u64,
    /// The tokens of all answers.
    pub answer_tokens: u64,
}

impl Estimate {
    /// The estimate for these features.
    pub fn of<'m>(work: impl IntoIterator<Item = &'m Material>) -> Self {
        let mut sum = Self::default();
        for material in work {
            sum.add(&explain(&material.shown, material.max), EXPLANATION_TOKENS);
            for contexts in material.contexts.chunks(CONTEXTS_PER_REQUEST) {
                let explanation = "x".repeat(EXPLANATION_CHARS);
                let question =
                    detect(&explanation, contexts.iter().map(|context| &context.excerpt));
                sum.add(&question, VERDICT_TOKENS * contexts.len() as u64);
            }
        }
        sum
    }

    fn add(&mut self, question: &[Message], answer_tokens: u64) {
        let chars: usize = question.iter().map(|message| message.content.chars().count()).sum();
        self.requests += 1;
        self.prompt_tokens += chars.div_ceil(CHARS_PER_TOKEN) as u64;
        self.answer_tokens += answer_tokens;
    }
}

/// The prices of a model, per million tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prices {
    /// For tokens of questions.
    pub prompt: f64,
    /// For tokens of answers.
    pub answer: f64,
}

impl Prices {
    /// The price of a number of tokens.
    pub fn of(&self, prompt_tokens: u64, answer_tokens: u64) -> f64 {
        (prompt_tokens as f64 * self.prompt + answer_tokens as f64 * self.answer) / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::excerpt::Excerpt;
    use crate::material::TestContext;

    #[test]
    fn an_estimate_counts_a_question_and_its_tests() {
        let excerpt = Excerpt::of(&[(" dog", 1.0)]);
        let context = TestContext { excerpt: excerpt.clone(), fires: true };
        let of = |contexts: usize| {
            let contexts = vec![context.clone(); contexts];
            let shown = vec![excerpt.clone()];
            Estimate::of(&[Material { feature: 1, density: 0.1, max: 1.0, shown, contexts }])
        };

        assert_eq!((of(0).requests, of(0).answer_tokens), (1, 80));
        assert_eq!((of(20).requests, of(20).answer_tokens), (3, 80 + 60));
        assert_eq!(of(21).requests, 4);
        let chars: usize = explain(std::slice::from_ref(&excerpt), 1.0)
            .iter()
            .map(|message| message.content.len())
            .sum();
        assert_eq!(of(0).prompt_tokens, chars.div_ceil(4) as u64);
        assert!(of(20).prompt_tokens > of(10).prompt_tokens + 100);
    }

    #[test]
    fn a_price_is_per_million_tokens() {
        assert_eq!(Prices { prompt: 2.0, answer: 10.0 }.of(500_000, 100_000), 2.0);
    }
}
