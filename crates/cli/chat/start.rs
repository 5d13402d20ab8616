//! The start of a session, on a terminal or on standard input.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use nanoscope_runtime::Batch;
use nanoscope_tokenizer::TokenizerError;

use super::args::ChatArgs;
use super::mode::Mode;
use super::session::{ModelInfo, Session, SpecialTokens};
use super::{plain, screen};
use crate::load::{is_chat_model, open, plan, text_tokenizer};
use crate::terminal::messages::Hint;

pub(crate) fn chat(args: &ChatArgs) -> Result<ExitCode> {
    let sampling = args.sampling.sampling(args.max_tokens);
    sampling.check()?;
    let scope = open(&args.model)?;
    // Without a tokenizer, every line would fail; without a template, every message.
    let tokenizer = text_tokenizer(&scope)?;
    if args.chat && tokenizer.is_hugging_face() && !tokenizer.can_chat() {
        let error = TokenizerError::NoChatTemplate.to_string();
        return Err(Hint::new(error, "omit --chat: the model continues your text").into());
    }
    let can_chat = tokenizer.can_chat();
    let plan = plan(&scope, &args.plan)?;
    // An invalid plan is reported now, and not with the first text.
    Batch::new(scope.model(), 0).begin(&scope.encode("a")?, &plan, &sampling)?;
    let mode = match (args.chat, args.story) {
        (true, _) => Mode::Chat,
        (_, true) => Mode::Story,
        _ if is_chat_model(&scope) => Mode::Chat,
        _ => Mode::Story,
    };
    let saes = scope.model().saes().iter().map(|(&hook, sae)| (hook, sae.config().d_sae()));
    let saes = saes.collect();
    let scope = Arc::new(scope);
    let model_info = ModelInfo { saes, names: Arc::clone(&scope) as _ };
    let mut session = Session::new(model_info, mode, plan, sampling);
    session.compare = args.compare.then_some(true);
    session.can_chat = can_chat;
    if args.special.special_tokens {
        session.special_tokens = SpecialTokens::Tokens;
    }
    let first = args.prompt.as_deref();

    let is_watched = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if is_watched && std::env::var_os("TERM").is_none_or(|term| term != "dumb") {
        return screen::run(scope, session, first);
    }
    let (input, mut out) = (std::io::stdin().lock(), anstream::stdout().lock());
    let succeeded = plain::dialogue(&scope, &mut session, first, input, &mut out)?;
    Ok(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
