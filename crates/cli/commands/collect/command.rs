//! `nanoscope collect`.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use nanoscope_checkpoint::WeightDtype;
use nanoscope_corpus::{
    ActivationSource, ActivationStoreWriter, Corpus, CorpusError, ModelActivations, SpecialTokens,
    StorePart, StoreSettings, TokenizeOptions, TokenizedCorpus, contexts_within, files_sha256,
    free_space, hook_widths, text_sha256,
};
use nanoscope_tokenizer::Tokenizer;
use serde_json::json;

use super::args::CollectArgs;
use crate::args::MemoryArgs;
use crate::commands::interruption::{end_of_download, is_interruption};
use crate::load::{open_model, tokenizer};
use crate::preflight::{NewFolder, output_folder};
use crate::terminal::display::{be, counted};
use crate::terminal::messages::note;
use crate::terminal::progress::{DelayedBar, with_spinner};
use crate::terminal::signals::{InterruptFlag, exit_code};
use crate::texts::{check_tokens, default_context, note_passed_over};

/// The default size of a shard's activations in float32, in bytes.
const SHARD_BYTES: u64 = 128 << 20;
/// The number of shards of a text of at least as many contexts. A training holds out whole shards, from
/// all over the text.
const MIN_SHARDS: u64 = 40;

pub(crate) fn collect(args: &CollectArgs) -> Result<ExitCode> {
    args.texts.check()?;
    let memory = MemoryArgs { dtype: args.model_dtype, ignore_memory: args.ignore_memory };
    let scope = open_model(&args.gpt, memory)?;
    let origin = scope.origin().expect("the model was opened from files");
    let gpt = scope.model().gpt();
    let mut hooks = args.hook.clone();
    hooks.sort();
    let width: usize = hook_widths(gpt, &hooks)?.iter().map(|(_, width)| width).sum();
    let out = output_folder(&args.out)?;
    let interrupted = InterruptFlag::watch();
    let corpus = match args.texts.open(&interrupted) {
        Err(error) if is_interruption(&error) => return Ok(end_of_download()),
        corpus => corpus?,
    };
    let _folder = NewFolder::create(&out)?;

    let context_len = args
        .context
        .map_or_else(|| default_context(gpt.config().shape.sequence_len), |n| n as usize);
    check_tokens(args.tokens, context_len)?;
    let tokenizer = tokenizer(&scope, "name its folder with --tokenizer")?;
    let Some(tokens) = tokens(args, &out, &corpus, tokenizer, context_len, &interrupted)? else {
        note("interrupted while reading the texts; nothing was collected");
        return Ok(exit_code());
    };
    let contexts = match args.shard_tokens {
        Some(tokens) => (tokens / context_len as u64).max(1),
        None => contexts_within(SHARD_BYTES, context_len, width)
            .min(tokens.contexts() / MIN_SHARDS)
            .max(1),
    };
    let special = if args.keep_special { SpecialTokens::Keep } else { SpecialTokens::Skip };
    let live = ModelActivations::new(gpt.clone(), tokens, &hooks, special, contexts)?;
    let model = with_spinner("hashing the model", || -> Result<String> {
        Ok(files_sha256(&origin.files.all()?)?)
    })?;
    let dtype = args.dtype.map_or(WeightDtype::F32, Into::into);
    let era = origin.kind.era();
    let era = era.map_or_else(|| origin.kind.to_string(), |era| era.to_string());
    let (era, tokenizer) = (era, text_sha256(tokenizer.to_json()));
    let settings = StoreSettings::new(&live, &corpus, model, era, tokenizer, dtype);
    let part = args.shard.unwrap_or(StorePart::WHOLE);
    let collection = ActivationStoreWriter::open(&out, part, settings)?;
    CollectJob { args, live, collection, part, interrupted: &interrupted }.run()
}

/// Tokenizes the texts; none if that was interrupted. The tokens are stored in the output folder,
/// where there is room for them.
fn tokens(
    args: &CollectArgs,
    out: &Path,
    corpus: &Corpus,
    tokenizer: &Tokenizer,
    context_len: usize,
    interrupted: &InterruptFlag,
) -> Result<Option<TokenizedCorpus>> {
    let options = TokenizeOptions { context_len, limit: args.tokens, dir: out.to_owned() };
    let bar = DelayedBar::new("reading the texts", corpus.bytes(), "bytes");
    let tokens = TokenizedCorpus::build(corpus, tokenizer, &options, &mut |so_far| {
        bar.set(so_far.bytes);
        interrupted.control_flow()
    });
    let tokens = match tokens {
        Err(CorpusError::Interrupted) => return Ok(None),
        tokens => tokens?,
    };
    drop(bar);
    note_passed_over(tokens.passed_over());
    if tokens.dropped() > 0 {
        let last = match tokens.dropped() {
            1 => format!("token does not fill a context of {context_len} and is"),
            n => format!("{n} tokens do not fill a context of {context_len} and are"),
        };
        note(&format!("the last {last} left out"));
    }
    if let Some(limit) = args.tokens.filter(|&limit| limit > tokens.len()) {
        let tokens = counted(tokens.len(), "token", "tokens");
        note(&format!("the texts have {tokens}, fewer than {limit}"));
    }
    Ok(Some(tokens))
}

/// A collection of activations that is ready to run.
struct CollectJob<'a> {
    args: &'a CollectArgs,
    live: ModelActivations,
    collection: ActivationStoreWriter,
    part: StorePart,
    interrupted: &'a InterruptFlag,
}

impl CollectJob<'_> {
    fn run(mut self) -> Result<ExitCode> {
        let missing = self.collection.missing();
        let (done, all) = (self.collection.complete(), self.collection.complete() + missing.len());
        let rows: usize = missing.iter().map(|&shard| self.live.rows(shard)).sum();
        let needed = self.collection.bytes(missing.iter().map(|&shard| self.live.rows(shard)));
        if done > 0 {
            let shards = counted(all as u64, "shard", "shards");
            note(&format!("{done} of {shards} {} already complete", be(all as u64)));
        }
        note(&format!(
            "{} in {}: {} to write, {} free",
            counted(rows as u64, "row", "rows"),
            counted(missing.len() as u64, "shard", "shards"),
            size(needed),
            size(free_space(&self.args.out)?),
        ));
        self.collection.check_room(needed)?;

        let began = Instant::now();
        let Some(tokens) = self.compute(&missing, all)? else {
            note(&format!(
                "interrupted; {} of {} {} complete, and the same command continues after them",
                self.collection.complete(),
                counted(all as u64, "shard", "shards"),
                be(all as u64),
            ));
            return Ok(exit_code());
        };
        self.collection.finish()?;
        self.args.origin().write(&self.args.out, self.part)?;
        self.report(missing.len(), tokens, began)?;
        Ok(ExitCode::SUCCESS)
    }

    /// Computes the missing shards. Returns how many tokens the model ran on; none if that was
    /// interrupted.
    fn compute(&mut self, missing: &[u64], all: usize) -> Result<Option<u64>> {
        let context_len = self.live.tokens().context_len() as u64;
        let contexts = |shard| self.live.contexts(shard).count() as u64;
        let total: u64 = missing.iter().map(|&shard| contexts(shard)).sum::<u64>() * context_len;
        let bar = DelayedBar::new("collecting", total, "tokens, {per_sec}, left");
        let mut tokens = 0;
        for &shard in missing {
            let rows = self.live.segment_with(shard, &mut |some| {
                tokens += some;
                bar.set(tokens);
                self.interrupted.control_flow()
            });
            let rows = match rows {
                Err(CorpusError::Interrupted) => return Ok(None),
                rows => rows?,
            };
            let origins = self.live.origins(shard)?;
            self.collection.write(shard, &rows, &origins).with_context(|| {
                format!(
                    "shard {shard} was not written; {} of {all} {} complete, and the same command \
                     continues after them",
                    self.collection.complete(),
                    be(all as u64),
                )
            })?;
        }
        Ok(Some(tokens))
    }

    fn report(&self, made: usize, tokens: u64, began: Instant) -> Result<()> {
        let (settings, all) = (self.collection.settings(), self.collection.complete());
        let seconds = began.elapsed().as_secs_f64();
        let own = (0..settings.shards).filter(|&shard| self.part.has(shard));
        let rows: usize = own.map(|shard| self.live.rows(shard)).sum();
        let mut out = anstream::stdout().lock();
        if self.args.json {
            let line = json!({
                "rows": rows,
                "shards": all,
                "made": made,
                "hooks": settings.hooks.iter().map(|hook| &hook.name).collect::<Vec<_>>(),
                "documents": settings.text.documents,
                "contexts": settings.text.contexts,
                "bytes_per_row": settings.bytes_per_row(),
                "tokens": tokens,
                "seconds": seconds,
                "out": self.args.out,
            });
            writeln!(out, "{line}")?;
            return Ok(());
        }
        let per_second = tokens as f64 / seconds.max(1e-9);
        let rows = counted(rows as u64, "row", "rows");
        let shards = counted(all as u64, "shard", "shards");
        writeln!(out, "{rows} in {shards} in {}", self.args.out.display())?;
        if made > 0 {
            let tokens = counted(tokens, "token", "tokens");
            writeln!(out, "{tokens} in {seconds:.1} s, {per_second:.0} per second")?;
        }
        Ok(())
    }
}

fn size(bytes: u64) -> String {
    indicatif::DecimalBytes(bytes).to_string()
}
