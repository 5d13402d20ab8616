//! The output of `nanoscope label`: the estimate, a line per label, and the end.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;

use anyhow::Result;
use nanoscope_label::{Endpoint, Estimate, Explained, Prices, Usage};
use serde_json::json;

use super::args::LabelArgs;
use crate::terminal::display::{DIM, LABEL, VALUE, counted};
use crate::terminal::messages::{Hint, note};

/// Prints what would be sent where.
pub(super) fn print_estimate(
    args: &LabelArgs,
    features: usize,
    endpoint: &Endpoint,
    key: Option<&str>,
    estimate: &Estimate,
) {
    let Estimate { requests, prompt_tokens, answer_tokens } = *estimate;
    let features = counted(features as u64, "feature", "features");
    let requests = counted(requests, "request", "requests");
    let cost = prices(args).map_or(String::new(), |prices| {
        format!(", at these prices about {:.2}", prices.of(prompt_tokens, answer_tokens))
    });
    anstream::eprintln!(
        "{features}: {requests} to {} at {endpoint}\n\
         about {prompt_tokens} tokens of questions and {answer_tokens} of answers{cost}\n\
         {DIM}(a token is taken to have 4 characters, an explanation 80 tokens, a verdict 3; repeated \
         requests and reasoning come on top){DIM:#}",
        args.by
    );
    match key {
        Some(name) => note(&format!("excerpts of the text and the key in {name} are sent there")),
        None => note("excerpts of the text are sent there, and no key"),
    }
    if endpoint.is_readable_on_the_way() {
        note("the connection is not encrypted, so others on the way can read them");
    }
}

/// Asks whether to go on; true with --yes.
///
/// # Errors
/// A [`Hint`] if there is nobody to ask.
pub(super) fn confirm(args: &LabelArgs) -> Result<bool> {
    if args.yes {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        let error = "nothing was sent: there is no terminal to confirm it on";
        return Err(Hint::new(error, "--yes sends the requests without a question").into());
    }
    anstream::eprint!("send them? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

fn prices(args: &LabelArgs) -> Option<Prices> {
    Some(Prices { prompt: args.price_in?, answer: args.price_out? })
}

/// The results of a run so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) labelled: usize,
    pub(super) unusable: Vec<u32>,
    scores: Vec<f64>,
    usage: Usage,
}

impl Tally {
    /// Counts a label and prints it.
    pub(super) fn add(&mut self, args: &LabelArgs, explained: &Explained) -> Result<()> {
        let score = explained.detection.balanced_accuracy();
        self.labelled += 1;
        self.scores.extend(score);
        self.usage += explained.usage;
        if !args.json {
            let score = score.map_or("   -".to_owned(), |score| format!("{score:.2}"));
            let (feature, label) = (explained.feature, &explained.explanation);
            writeln!(
                anstream::stdout(),
                "{DIM}#{feature:<6}{DIM:#} {VALUE}{score}{VALUE:#}  {LABEL}{label}{LABEL:#}"
            )?;
        }
        Ok(())
    }

    fn mean_score(&self) -> Option<f64> {
        let n = self.scores.len();
        (n > 0).then(|| self.scores.iter().sum::<f64>() / n as f64)
    }

    /// Prints the end of a run.
    pub(super) fn print(&self, args: &LabelArgs, path: &Path) -> Result<()> {
        let mut out = anstream::stdout().lock();
        let Usage { prompt_tokens, completion_tokens } = self.usage;
        let cost = prices(args).map(|prices| prices.of(prompt_tokens, completion_tokens));
        if args.json {
            let line = json!({
                "labelled": self.labelled,
                "unusable": self.unusable,
                "scored": self.scores.len(),
                "mean_score": self.mean_score(),
                "prompt_tokens": prompt_tokens,
                "answer_tokens": completion_tokens,
                "cost": cost,
                "out": path,
            });
            writeln!(out, "{line}")?;
            return Ok(());
        }
        write!(out, "{}", counted(self.labelled as u64, "feature labelled", "features labelled"))?;
        if let Some(mean) = self.mean_score() {
            write!(out, ", mean score {mean:.2} (0.5 is chance)")?;
        }
        if prompt_tokens > 0 {
            write!(out, "; {prompt_tokens} tokens of questions, {completion_tokens} of answers")?;
        }
        if let Some(cost) = cost.filter(|_| prompt_tokens > 0) {
            write!(out, ", {cost:.2} at these prices")?;
        }
        writeln!(out, "\nlabels in {}", path.display())?;
        Ok(())
    }
}
