//! The command itself.

use std::io::Write;

use anyhow::Result;
use nanoscope_hooks::HookPoint;

use super::args::FeaturesArgs;
use super::found::{DEFAULT_ON_PAGE, Entry, FoundFeatures, Query};
use super::json::to_json;
use super::lines::print;
use super::page::print_pages;
use super::search::{find, hits_json, print_hits};
use crate::load::{note_indexes, open};
use nanoscope::Microscope;

pub(crate) fn features(args: &FeaturesArgs) -> Result<()> {
    args.check()?;
    let scope = open(&args.model)?;
    if let Some(query) = args.query() {
        let hits = find(&scope, &query, args.hook)?;
        note_indexes(&scope);
        let mut out = anstream::stdout().lock();
        if args.json {
            writeln!(out, "{}", hits_json(&scope, &query, &hits, args.top))?;
            return Ok(());
        }
        return print_hits(&mut out, &scope, (&query, &hits), args);
    }
    let found = FoundFeatures::new(&scope, args)?;
    if args.json {
        writeln!(std::io::stdout().lock(), "{}", to_json(&found))?;
        Ok(())
    } else {
        print(&mut anstream::stdout().lock(), &found, &args.model)
    }
}

/// The page of one feature without a text, for lines of `width` cells.
pub(crate) fn page(
    scope: &Microscope,
    hook: HookPoint,
    feature: usize,
    width: usize,
) -> Result<String> {
    let sae = scope.model().sae(hook)?;
    sae.config().check_feature(feature)?;
    let found = FoundFeatures {
        scope,
        hook,
        sae,
        query: Query::Pages(Vec::new()),
        text: None,
        is_user_text: false,
        against: None,
        special: false,
        entries: vec![Entry { feature: feature as u32, key: None }],
        all: 1,
        steer: None,
    };
    let pages = found.pages(&[feature], DEFAULT_ON_PAGE)?;
    let mut out = Vec::new();
    print_pages(&mut out, &found, &pages, width)?;
    Ok(anstream::adapter::strip_str(&String::from_utf8_lossy(&out)).to_string())
}
