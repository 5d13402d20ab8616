//! The search for features by a word.

use std::fmt::Write as _;
use std::io::Write;

use anyhow::Result;
use nanoscope::Microscope;
use nanoscope_hooks::HookPoint;
use nanoscope_index::{Hit, Search, SearchOptions};
use serde_json::{Value, json};

use super::args::{FeaturesArgs, SearchBy, SearchQuery};
use super::lines::model_flags;
use crate::load::unwrapped;
use crate::terminal::display::{DIM, VALUE, cut, visible, width};
use crate::terminal::feature_name::Naming;
use crate::terminal::messages::Hint;
use crate::terminal::progress::with_spinner;

/// The default number of listed hits.
const DEFAULT_HITS: usize = 10;

/// Searches the SAE at `hook`, or all of them.
pub(crate) fn find(
    scope: &Microscope,
    query: &SearchQuery,
    hook: Option<HookPoint>,
) -> Result<Vec<Hit>> {
    let (model, names) = (scope.model(), scope.names());
    if model.saes().is_empty() {
        return Err(Hint::new("no SAE is loaded", "load one with --sae PATH").into());
    }
    if let Some(hook) = hook {
        model.sae(hook)?;
    }
    let mut hooks = model.saes().keys().filter(|&&at| hook.is_none_or(|hook| hook == at));
    if query.by == SearchBy::FiresOn && hooks.all(|&hook| names.index(hook).is_none()) {
        let hint = "make one with `nanoscope index --text FILE`; --promotes needs none";
        return Err(Hint::new("the tokens on which features fire are in an index", hint).into());
    }
    let options = SearchOptions {
        hook,
        labels: query.by == SearchBy::Anything,
        promotes: query.by != SearchBy::FiresOn,
        fires_on: query.by != SearchBy::Promotes,
    };
    let label = |hook, feature| scope.label(hook, feature).map(str::to_owned);
    let search = Search::default();
    let found =
        with_spinner("searching", || search.find(model, names, &query.text, &options, label));
    found.map_err(|error| unwrapped(error.into()))
}

/// Prints the hits with their names and reasons.
pub(crate) fn print_hits(
    out: &mut impl Write,
    scope: &Microscope,
    (query, hits): (&SearchQuery, &[Hit]),
    args: &FeaturesArgs,
) -> Result<()> {
    let n = args.top.map_or(DEFAULT_HITS, |top| top as usize);
    let list = list(scope, query, hits, (n, width()));
    writeln!(out, "{list}")?;
    if let Some(first) = hits.first() {
        let which = if hits.len() == 1 { "this feature" } else { "the first feature" };
        let steer = scope.names().turn_up(first.hook, first.feature);
        writeln!(out, "\n{DIM}to steer with {which}:{DIM:#}")?;
        writeln!(out, "  nanoscope generate{} --steer {steer}", model_flags(&args.model))?;
    }
    Ok(())
}

/// The hits for a word as text without styles, for lines of `width` cells.
pub(crate) fn found_text(scope: &Microscope, word: &str, width: usize) -> Result<String> {
    let query = SearchQuery { text: word.to_owned(), by: SearchBy::Anything };
    let hits = find(scope, &query, None)?;
    let mut text = list(scope, &query, &hits, (DEFAULT_HITS, width));
    if let Some(first) = hits.first() {
        let _ = write!(
            text,
            "\nto steer with the first: /steer {}",
            scope.names().turn_up(first.hook, first.feature)
        );
    }
    Ok(anstream::adapter::strip_str(&text).to_string())
}

fn list(
    scope: &Microscope,
    query: &SearchQuery,
    hits: &[Hit],
    (n, width): (usize, usize),
) -> String {
    let what = match query.by {
        SearchBy::Anything => "for",
        SearchBy::Promotes => "that promote",
        SearchBy::FiresOn => "that fire on",
    };
    let word = visible(&query.text);
    let mut text = match hits.len() {
        0 => return format!("no feature was found {what} \"{word}\""),
        1 => format!("1 feature {what} \"{word}\""),
        all if all > n => format!("{all} features {what} \"{word}\", the best {n}"),
        all => format!("{all} features {what} \"{word}\", best first"),
    };
    text = format!("{DIM}{text}{DIM:#}");
    for hit in hits.iter().take(n) {
        let place = format!("{}:{}", hit.hook, hit.feature);
        let room = width.saturating_sub(place.len() + 2);
        let why = cut(&visible(&hit.why()), room.max(20));
        let _ = write!(text, "\n{VALUE}{place}{VALUE:#}  {why}");
        scope.prepare(hit.hook, &[(hit.feature, 0.0)]);
        if let Some(name) = Naming::name(scope, hit.hook, hit.feature) {
            let (shown, style) = (name.shown(width.saturating_sub(4)), name.style());
            let _ = write!(text, "\n    {style}{shown}{style:#}");
        }
    }
    text
}

/// The hits as one object.
pub(crate) fn hits_json(
    scope: &Microscope,
    query: &SearchQuery,
    hits: &[Hit],
    top: Option<u32>,
) -> Value {
    let n = top.map_or(DEFAULT_HITS, |top| top as usize);
    let one = |hit: &Hit| {
        scope.prepare(hit.hook, &[(hit.feature, 0.0)]);
        let name = Naming::name(scope, hit.hook, hit.feature);
        let (label, auto) =
            name.map(|name| (name.text().to_owned(), name.automatic)).unwrap_or_default();
        json!({
            "hook": hit.hook.to_string(),
            "feature": hit.feature,
            "label": label,
            "auto": auto,
            "why": hit.why(),
            "score": hit.score,
            "steer": scope.names().turn_up(hit.hook, hit.feature).to_string(),
        })
    };
    json!({
        "query": query.text,
        "found": hits.len(),
        "hits": hits.iter().take(n).map(one).collect::<Vec<_>>(),
    })
}
