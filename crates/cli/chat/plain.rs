//! The dialogue without a terminal: lines in, texts out.

use std::io::{BufRead, Write};

use anyhow::{Context, Result};
use nanoscope_runtime::Batch;

use super::job::{Job, News};
use super::mode::Mode;
use super::session::{Reply, Session};
use super::turn::{State, Turn};
use super::worker::{PREFIX_BYTES, do_job};
use crate::load::Scope;
use crate::terminal::applied;
use crate::terminal::display::why;
use crate::terminal::display::{harmless, width};
use crate::terminal::messages::complain;

/// Reads lines until there are no more, or one leaves. Gives whether each could be followed.
pub(crate) fn dialogue(
    scope: &Scope,
    session: &mut Session,
    first: Option<&str>,
    mut input: impl BufRead,
    out: &mut impl Write,
) -> Result<bool> {
    let mut batch = Batch::new(&scope.model, PREFIX_BYTES);
    let mut is_well = true;
    let mut first = first.map(str::to_owned);
    loop {
        let line = match first.take() {
            Some(text) => format!("{}{text}", if text.starts_with('/') { "/" } else { "" }),
            None => {
                let mut line = Vec::new();
                if input.read_until(b'\n', &mut line).context("could not read a line")? == 0 {
                    return Ok(is_well);
                }
                String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned()
            }
        };
        match session.submit(&line, width()) {
            Ok(Reply::Quit) => return Ok(is_well),
            Ok(Reply::Cleared) => {}
            Ok(Reply::Say(said)) if said.is_empty() => {}
            Ok(Reply::Say(said)) => writeln!(out, "{}", harmless(&said))?,
            Ok(Reply::Work(job)) => is_well &= work(scope, &mut batch, session, &job, out)?,
            Err(error) => {
                complain(&error);
                is_well = false;
            }
        }
    }
}

/// Does `job` and prints what comes of it; whether it succeeded.
fn work<'m>(
    scope: &'m Scope,
    batch: &mut Batch<'m>,
    session: &mut Session,
    job: &Job,
    out: &mut impl Write,
) -> Result<bool> {
    let is_pair = matches!(job, Job::Write { plans, .. } if plans.len() > 1);
    let (mut printed, mut failed) = (Ok(()), None);
    do_job(scope, batch, job, &mut |news| {
        let wrote = match &news {
            _ if printed.is_err() => Ok(()),
            News::Begun { .. } if !is_pair => write!(out, "{}", opening(session)),
            News::Token { token, .. } if !is_pair => {
                write!(out, "{}", harmless(&token.text)).and_then(|()| out.flush())
            }
            News::Failed(why) => {
                failed = Some(why.clone());
                Ok(())
            }
            _ => Ok(()),
        };
        printed = std::mem::replace(&mut printed, Ok(())).and(wrote);
        match session.record(news) {
            Some(said) if failed.is_none() && printed.is_ok() => {
                printed = match job {
                    Job::Page { .. } => write!(out, "{}", harmless(&said)),
                    Job::Write { .. } => {
                        crate::terminal::messages::note(&harmless(&said));
                        Ok(())
                    }
                };
            }
            _ => {}
        }
        printed.is_ok()
    });
    printed?;
    if let Some(why) = failed {
        complain(&anyhow::anyhow!(why));
        return Ok(false);
    }
    if let (Job::Write { .. }, Some(turn)) = (job, session.turns.last()) {
        finish(turn, is_pair, &opening(session), out)?;
    }
    Ok(true)
}

/// What a story begins with; an answer is not a continuation of the question.
fn opening(session: &Session) -> String {
    match session.turns.last() {
        Some(turn) if turn.mode == Mode::Story => harmless(&turn.asked),
        _ => String::new(),
    }
}

fn finish(turn: &Turn, is_pair: bool, opening: &str, out: &mut impl Write) -> Result<()> {
    debug_assert_eq!(turn.state, State::Done);
    if is_pair {
        for take in &turn.takes {
            let name = if take.is_steered { "steered" } else { "default" };
            writeln!(out, "[{name}] {opening}{}", take.text())?;
        }
    } else {
        writeln!(out)?;
    }
    for applied in turn.takes.iter().flat_map(|take| &take.applied) {
        writeln!(out, "{}", applied::line(applied))?;
    }
    out.flush()?;
    for take in &turn.takes {
        let why = take.end.as_ref().map(why).unwrap_or_default();
        if !why.is_empty() {
            anstream::eprintln!("{} tokens{why}", take.generated().count());
        }
    }
    Ok(())
}
