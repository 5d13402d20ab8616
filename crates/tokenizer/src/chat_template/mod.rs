//! Chat templates: the Jinja program that writes a conversation as a family's models know it.

mod bounds;
mod functions;
mod namespaces;
mod render;
mod tags;

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, escape_formatter};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde_json::{Map, Value as Json};

use crate::error::TokenizerError;
use crate::limits::MAX_TEMPLATE_BYTES;
use functions::Raised;
use render::rendered;

/// A chat template with the special tokens that it can name.
///
/// Templates get what transformers gives them: `messages`, `add_generation_prompt`, `bos_token` and
/// the other special tokens, `tools` and `documents` (none), `raise_exception`, `strftime_now` and
/// `tojson`; Python's methods of strings, lists and dicts; and blocks take the white space around them
/// away as `trim_blocks` and `lstrip_blocks` do.
///
/// ```
/// use nanoscope_tokenizer::ChatTemplate;
/// use serde_json::{Map, json};
///
/// # fn main() -> Result<(), nanoscope_tokenizer::TokenizerError> {
/// let source = "{% for m in messages %}{{ m.role.upper() }}: {{ m.content }}{{ eos_token }}{% endfor %}";
/// let template = ChatTemplate::new(source, Map::from_iter([("eos_token".to_owned(), json!("</s>"))]))?;
///
/// let messages = json!([{"role": "user", "content": "Hi"}]);
/// assert_eq!(template.render(&messages, false, &Map::new())?, "USER: Hi</s>");
/// # Ok(())
/// # }
/// ```
pub struct ChatTemplate {
    environment: Arc<Environment<'static>>,
    source: String,
    tokens: Map<String, Json>,
}

impl ChatTemplate {
    /// Compiles the template `source`. `tokens` are variables such as `bos_token`.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::ChatTemplateTooLong`] and, for what is not Jinja,
    /// [`TokenizerError::ChatTemplate`].
    pub fn new(source: &str, tokens: Map<String, Json>) -> Result<Self, TokenizerError> {
        if source.len() > MAX_TEMPLATE_BYTES {
            return Err(TokenizerError::ChatTemplateTooLong { found: source.len() });
        }
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(failed)?);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_formatter(|out, state, value| {
            bounds::check(value, 0)?;
            escape_formatter(out, state, value)
        });
        environment.set_unknown_method_callback(|state, value, method, arguments| {
            if method == "format" {
                bounds::check_format(value)?;
            }
            unknown_method_callback(state, value, method, arguments)
        });
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(MAX_RECURSION);
        environment.add_function("raise_exception", functions::raise_exception);
        environment.add_function("strftime_now", functions::strftime_now);
        environment.add_filter("tojson", functions::tojson);
        let text = without_generation_tags(source);
        tags::check(&text).map_err(failed)?;
        namespaces::check(&text).map_err(failed)?;
        environment.add_template_owned(NAME, text).map_err(failed)?;
        Ok(Self { environment: Arc::new(environment), source: source.to_owned(), tokens })
    }

    /// Writes `messages`, a list of objects with `role` and `content`, as text. With
    /// `add_generation_prompt` the start of the assistant's answer follows. `variables` are given
    /// besides, such as `enable_thinking`.
    ///
    /// # Errors
    ///
    /// [`TokenizerError::ChatTemplateRaised`] if the template refuses the messages, and
    /// [`TokenizerError::ChatTemplate`] if it fails, does not end, or writes too much.
    pub fn render(
        &self,
        messages: &Json,
        add_generation_prompt: bool,
        variables: &Map<String, Json>,
    ) -> Result<String, TokenizerError> {
        let mut context = self.tokens.clone();
        context.insert("messages".to_owned(), messages.clone());
        context.insert("tools".to_owned(), Json::Null);
        context.insert("documents".to_owned(), Json::Null);
        context.insert("add_generation_prompt".to_owned(), add_generation_prompt.into());
        context.extend(variables.iter().map(|(name, value)| (name.clone(), value.clone())));
        rendered(&self.environment, NAME, context).map_err(failed)
    }

    /// The template as it was given.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The special tokens that the template can name.
    pub fn tokens(&self) -> &Map<String, Json> {
        &self.tokens
    }
}

impl fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatTemplate")
            .field("source_bytes", &self.source.len())
            .field("tokens", &self.tokens)
            .finish_non_exhaustive()
    }
}

/// The error of a template, or the message with which it refuses a conversation.
fn failed(error: minijinja::Error) -> TokenizerError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(error) = cause {
        if let Some(Raised(message)) = error.downcast_ref::<Raised>() {
            return TokenizerError::ChatTemplateRaised { message: message.clone() };
        }
        cause = error.source();
    }
    TokenizerError::ChatTemplate { source: Box::new(error) }
}

/// Replaces transformers' own tag `generation`, which marks what the assistant writes, by a block that
/// writes the same.
fn without_generation_tags(source: &str) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        text.push_str(before);
        let Some((inside, after)) = tag[2..].split_once("%}") else {
            rest = tag;
            break;
        };
        match inside.trim_matches(['-', '+']).trim() {
            "generation" => {
                text.push_str("{%");
                text.push_str(&inside.replace("generation", "if true"));
                text.push_str("%}");
            }
            "endgeneration" => {
                text.push_str("{%");
                text.push_str(&inside.replace("endgeneration", "endif"));
                text.push_str("%}");
            }
            _ => text.push_str(&tag[..tag.len() - after.len()]),
        }
        rest = after;
    }
    text.push_str(rest);
    text
}

const NAME: &str = "chat template";

/// Steps that a rendering may take, and 64 bytes each that it may make.
const FUEL: u64 = 4_000_000;

/// Maximum depth of macros and loops that call themselves. minijinja's own limit is 500.
const MAX_RECURSION: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn render(source: &str) -> Result<String, TokenizerError> {
        let messages =
            json!([{"role": "user", "content": "a<b"}, {"role": "assistant", "content": "c"}]);
        ChatTemplate::new(source, Map::new())?.render(&messages, true, &Map::new())
    }

    #[test]
    fn a_tag_cut_short_is_an_error_or_text_and_not_a_panic() {
        for source in ["{%}", "{%%}", "{%-}", "{%", "{%}%}", "a{%}{% endgeneration %}", "%}{%"] {
            let template = ChatTemplate::new(source, Map::new());
            let rendered = template.map(|made| made.render(&json!([]), false, &Map::new()));
            assert!(rendered.is_err() || source == "%}{%", "{source}: {rendered:?}");
        }
    }

    #[test]
    fn templates_write_what_jinja2_writes() {
        for (source, expected) in [
            ("{{ messages[0].content }}", "a<b"),
            ("{{ messages[::-1][0]['role'] }}", "assistant"),
            (
                "{{ messages | tojson }}",
                r#"[{"role": "user", "content": "a<b"}, {"role": "assistant", "content": "c"}]"#,
            ),
            (
                "{{ {'a': [1, 'é']} | tojson(indent=2) }}",
                "{\n  \"a\": [\n    1,\n    \"é\"\n  ]\n}",
            ),
            ("{{ '\\\\u003c' | tojson }}", r#""\\u003c""#),
            (
                "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
                "2",
            ),
            ("  {% if true %}\n  x\n  {% endif %}\ny\n", "  x\ny"),
            (
                "{% for m in messages %}{% if loop.last %}{% break %}{% endif %}{{ m.role }}{% endfor %}",
                "user",
            ),
            ("{%- generation -%} x {%- endgeneration %} y", "x y"),
            ("{{ '  a b '.strip().split(' ')[-1].lstrip('b') ~ 'c'.upper() }}", "C"),
            ("{% if tools is not none %}tools{% endif %}{{ missing }}", ""),
            ("{{ strftime_now('%%') }}", "%"),
        ] {
            assert_eq!(render(source).unwrap(), expected, "{source}");
        }
    }

    #[test]
    fn a_template_that_refuses_says_why() {
        let error =
            render("{% macro m() %}{{ raise_exception('no system') }}{% endmacro %}{{ m() }}");

        let error = error.unwrap_err();
        assert!(
            matches!(&error, TokenizerError::ChatTemplateRaised { message } if message == "no system"),
            "{error:?}"
        );
    }

    #[test]
    fn a_template_that_does_not_end_or_grows_is_an_error() {
        for source in [
            "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
            "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
            "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}",
            "{% include 'chat template' %}",
            "{% set ns = namespace(s='aaaaaaaa') %}{% for a in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}",
            "{{ 'a' * 99999999999 }}",
            "{{ strftime_now('%Q') }}",
            "{{ missing.content }}",
            "{% if %}",
            "{{ messages | tojson(sort_keys=true) }}",
            "{{ messages | tojson(indent=9999999999) }}",
            "{{ ([[1] * 10000] * 10000) | tojson }}",
            "{% set ns = namespace(l=[1]) %}{% for a in range(30) %}{% set ns.l = ns.l + ns.l %}{% endfor %}{{ ns.l }}",
            "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns ~ 'a' }}",
            "{{ '{:>9999999999}'.format(1) }}",
        ] {
            let error = render(source).unwrap_err();
            assert!(matches!(error, TokenizerError::ChatTemplate { .. }), "{source}: {error}");
        }
    }

    #[test]
    fn a_template_of_megabytes_and_nesting_without_end_are_refused() {
        let long = "{{ 1 }}".repeat(1_500_000);
        let error = ChatTemplate::new(&long, Map::new()).unwrap_err();
        assert!(matches!(error, TokenizerError::ChatTemplateTooLong { found: 10_500_000 }));

        for (open, times) in [("{% if true %}", 40_000), ("{{ (", 1), ("{{ [", 1)] {
            let nested = format!("{}{}", open.repeat(times), "([".repeat(200_000));
            assert!(ChatTemplate::new(&nested, Map::new()).is_err(), "{open}");
        }
        for link in ["-", "not ", "1 + ", "1 ~ ", "1 | upper | ", "a.", "a and "] {
            let chain = format!("{{{{ {}1 }}}}", link.repeat(50_000));
            assert!(ChatTemplate::new(&chain, Map::new()).is_err(), "{link}");
        }
    }

    #[test]
    fn an_operation_that_the_engine_cannot_do_is_no_panic() {
        let _ = render("{{ [1, 2, 3][::-9223372036854775808] }}");
        let _ = render("{{ -9223372036854775808 // -1 }}");
    }
}
