//! A session without a terminal: lines in, texts out.

use std::io::{BufRead, Write};

use anyhow::{Context, Result};
use nanoscope_runtime::Batch;

use super::job::{Job, WorkerEvent};
use super::mode::Mode;
use super::session::{Reply, Session};
use super::turn::{State, Turn, Variant};
use super::worker::{PREFIX_BYTES, do_job};
use crate::terminal::display::{counted, end_note, sanitized, width};
use crate::terminal::messages::print_error;
use nanoscope::Microscope;

/// Handles lines until the end of the input or `/quit`. Returns whether all of them succeeded.
pub(crate) fn dialogue(
    scope: &Microscope,
    session: &mut Session,
    first: Option<&str>,
    mut input: impl BufRead,
    out: &mut impl Write,
) -> Result<bool> {
    let mut batch = Batch::new(scope.model(), PREFIX_BYTES);
    let mut succeeded = true;
    let mut first = first.map(str::to_owned);
    loop {
        let line = match first.take() {
            Some(text) => format!("{}{text}", if text.starts_with('/') { "/" } else { "" }),
            None => {
                let mut line = Vec::new();
                if input.read_until(b'\n', &mut line).context("could not read a line")? == 0 {
                    return Ok(succeeded);
                }
                String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned()
            }
        };
        match session.submit(&line, width()) {
            Ok(Reply::Quit) => return Ok(succeeded),
            Ok(Reply::Cleared) => {}
            Ok(Reply::Message(message)) if message.is_empty() => {}
            Ok(Reply::Message(message)) => writeln!(out, "{}", sanitized(&message))?,
            Ok(Reply::Work(job)) => succeeded &= work(scope, &mut batch, session, &job, out)?,
            Err(error) => {
                print_error(&error);
                succeeded = false;
            }
        }
    }
}

/// Does `job` and prints its results. Returns whether it succeeded.
fn work<'m>(
    scope: &'m Microscope,
    batch: &mut Batch<'m>,
    session: &mut Session,
    job: &Job,
    out: &mut impl Write,
) -> Result<bool> {
    let is_pair = matches!(job, Job::Write { plans, .. } if plans.len() > 1);
    let (mut printed, mut failed) = (Ok(()), None);
    do_job(scope, batch, job, &mut |event| {
        let wrote = match &event {
            _ if printed.is_err() => Ok(()),
            WorkerEvent::Begun { .. } if !is_pair => write!(out, "{}", opening(session)),
            WorkerEvent::Token { token, .. } if !is_pair => {
                write!(out, "{}", sanitized(&token.text)).and_then(|()| out.flush())
            }
            WorkerEvent::Failed(why) => {
                failed = Some(why.clone());
                Ok(())
            }
            _ => Ok(()),
        };
        printed = std::mem::replace(&mut printed, Ok(())).and(wrote);
        match session.record(event) {
            Some(message) if failed.is_none() && printed.is_ok() => {
                printed = match job {
                    Job::Page { .. } | Job::Find { .. } | Job::Why { .. } => {
                        write!(out, "{}", sanitized(&message))
                    }
                    Job::Write { .. } => {
                        crate::terminal::messages::note(&sanitized(&message));
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
        print_error(&anyhow::anyhow!(why));
        return Ok(false);
    }
    if let (Job::Write { .. }, Some(turn)) = (job, session.turns.last()) {
        finish(turn, is_pair, &opening(session), out)?;
    }
    Ok(true)
}

/// The beginning of a story; empty in a chat, where the answer does not continue the question.
fn opening(session: &Session) -> String {
    match session.turns.last() {
        Some(turn) if turn.mode == Mode::Story => sanitized(&turn.typed),
        _ => String::new(),
    }
}

fn finish(turn: &Turn, is_pair: bool, opening: &str, out: &mut impl Write) -> Result<()> {
    debug_assert_eq!(turn.state, State::Done);
    if is_pair {
        for variant in &turn.variants {
            let name = if variant.is_steered { "steered" } else { "unsteered" };
            writeln!(out, "[{name}] {opening}{}", variant.text())?;
        }
    } else {
        writeln!(out)?;
    }
    for line in turn.variants.iter().flat_map(Variant::report) {
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    for variant in &turn.variants {
        let why = variant.end.as_ref().map(end_note).unwrap_or_default();
        if !why.is_empty() {
            anstream::eprintln!(
                "{}{why}",
                counted(variant.generated().count() as u64, "token", "tokens")
            );
        }
    }
    Ok(())
}
