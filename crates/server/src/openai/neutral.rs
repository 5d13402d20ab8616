//! Fields whose value asks for nothing.
//!
//! Clients send every parameter that they know, mostly at the value that switches it off: llama.cpp's
//! `top_k: -1`, vLLM's `min_p: 0`, an empty `stop`. Those values are accepted; others of a parameter that
//! is not supported are rejected by name.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

/// The fields of a request, without those that are ignored. Nothing is kept of them, however large they are.
#[derive(Debug)]
pub(crate) struct RawFields(pub(crate) Map<String, Value>);

/// The values of a parameter that ask for nothing. `null`, and an empty string, list or object, always do.
#[derive(Debug, Clone, Copy)]
enum Neutral {
    Number(f64),
    EitherNumber(f64, f64),
    Boolean(bool),
    Words(&'static [&'static str]),
}

use Neutral::{Boolean, EitherNumber, Number, Words};

/// Parameters that both endpoints have, with the values that mean the same as leaving them out.
const SUPPORTED: [(&str, Neutral); 10] = [
    ("top_k", EitherNumber(-1.0, 0.0)),
    ("top_p", Number(1.0)),
    ("seed", Number(-1.0)),
    ("n", Number(1.0)),
    ("frequency_penalty", Number(0.0)),
    ("presence_penalty", Number(0.0)),
    ("logprobs", Boolean(false)),
    ("stream", Boolean(false)),
    ("special_tokens", Boolean(false)),
    ("skip_special_tokens", Boolean(false)),
];

/// Parameters that are not supported, of OpenAI, vLLM, llama.cpp, SGLang, text-generation-webui and
/// Hugging Face's servers, with the values that switch them off.
const UNSUPPORTED: [(&str, Neutral); 63] = [
    // OpenAI
    ("tool_choice", Words(&["none", "auto"])),
    ("function_call", Words(&["none", "auto"])),
    ("best_of", Number(1.0)),
    ("reasoning_effort", Words(&["none"])),
    ("echo", Boolean(false)),
    // Sampling, in every server
    ("min_p", Number(0.0)),
    ("top_a", Number(0.0)),
    ("tfs", Number(1.0)),
    ("tfs_z", Number(1.0)),
    ("typical", Number(1.0)),
    ("typical_p", Number(1.0)),
    ("typ_p", Number(1.0)),
    ("top_n_sigma", EitherNumber(-1.0, 0.0)),
    ("repetition_penalty", Number(1.0)),
    ("repeat_penalty", Number(1.0)),
    ("rep_pen", Number(1.0)),
    ("encoder_repetition_penalty", Number(1.0)),
    ("length_penalty", Number(1.0)),
    ("no_repeat_ngram_size", Number(0.0)),
    ("penalty_alpha", Number(0.0)),
    ("epsilon_cutoff", Number(0.0)),
    ("eta_cutoff", Number(0.0)),
    ("smoothing_factor", Number(0.0)),
    ("guidance_scale", Number(1.0)),
    ("mirostat", Number(0.0)),
    ("mirostat_mode", Number(0.0)),
    ("dynatemp_range", Number(0.0)),
    ("dynamic_temperature", Boolean(false)),
    ("temperature_last", Boolean(false)),
    ("xtc_probability", Number(0.0)),
    ("dry_multiplier", Number(0.0)),
    ("do_sample", Boolean(true)),
    ("num_beams", Number(1.0)),
    ("use_beam_search", Boolean(false)),
    ("early_stopping", Boolean(false)),
    // Lengths and ends
    ("min_tokens", Number(0.0)),
    ("min_length", Number(0.0)),
    ("min_new_tokens", Number(0.0)),
    ("n_predict", Number(-1.0)),
    ("n_keep", Number(0.0)),
    ("n_discard", Number(0.0)),
    ("n_indent", Number(0.0)),
    ("t_max_predict_ms", EitherNumber(-1.0, 0.0)),
    ("truncate", Boolean(false)),
    ("ignore_eos", Boolean(false)),
    ("ban_eos_token", Boolean(false)),
    ("include_stop_str_in_output", Boolean(false)),
    ("no_stop_trim", Boolean(false)),
    // The form of prompts and answers
    ("detokenize", Boolean(true)),
    ("add_bos_token", Boolean(true)),
    ("add_generation_prompt", Boolean(true)),
    ("continue_final_message", Boolean(false)),
    ("return_full_text", Boolean(false)),
    ("details", Boolean(false)),
    ("decoder_input_details", Boolean(false)),
    ("watermark", Boolean(false)),
    ("n_probs", Number(0.0)),
    ("post_sampling_probs", Boolean(false)),
    ("return_tokens", Boolean(false)),
    ("return_token_ids", Boolean(false)),
    ("return_tokens_as_token_ids", Boolean(false)),
    ("return_hidden_states", Boolean(false)),
    ("think", Boolean(false)),
];

/// Parameters that do not affect the text, and those of a sampler that is rejected by name where it is
/// switched on.
const IGNORED: [&str; 43] = [
    "user",
    "metadata",
    "store",
    "service_tier",
    "parallel_tool_calls",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "verbosity",
    "request_id",
    "rid",
    "priority",
    "cache_salt",
    "cache_prompt",
    "id_slot",
    "slot_id",
    "keep_alive",
    "ttl",
    "timings_per_token",
    "return_progress",
    "include_reasoning",
    "separate_reasoning",
    "stream_reasoning",
    "reasoning_format",
    "spaces_between_special_tokens",
    "guided_decoding_backend",
    "min_keep",
    "repeat_last_n",
    "repetition_penalty_range",
    "rep_pen_range",
    "rep_pen_slope",
    "penalize_nl",
    "mirostat_tau",
    "mirostat_eta",
    "dynatemp_exponent",
    "dynatemp_low",
    "dynatemp_high",
    "smoothing_curve",
    "xtc_threshold",
    "dry_base",
    "dry_allowed_length",
    "dry_penalty_last_n",
    "dry_sequence_breakers",
];

/// Fields of whole numbers, which some clients write as `16.0`.
const WHOLE: [&str; 7] =
    ["max_tokens", "max_completion_tokens", "top_k", "seed", "n", "logprobs", "top_logprobs"];

impl<'de> Deserialize<'de> for RawFields {
    fn deserialize<D: Deserializer<'de>>(body: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = RawFields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut body: A) -> Result<RawFields, A::Error> {
                let mut fields = Map::new();
                while let Some(name) = body.next_key::<String>()? {
                    if IGNORED.contains(&name.as_str()) {
                        body.next_value::<IgnoredAny>()?;
                    } else {
                        fields.insert(name, body.next_value()?);
                    }
                }
                Ok(RawFields(fields))
            }
        }

        body.deserialize_map(Fields)
    }
}

impl Neutral {
    fn holds(self, value: &Value) -> bool {
        match self {
            Number(number) => value.as_f64() == Some(number),
            EitherNumber(one, other) => {
                value.as_f64().is_some_and(|found| found == one || found == other)
            }
            Boolean(boolean) => value.as_bool() == Some(boolean),
            Words(words) => value.as_str().is_some_and(|found| words.contains(&found)),
        }
    }
}

/// Removes the supported parameters whose value asks for nothing, and writes whole numbers without a
/// fraction.
pub(crate) fn normalize(body: &mut Map<String, Value>) {
    for (field, neutral) in SUPPORTED {
        if body.get(field).is_some_and(|value| neutral.holds(value)) {
            body.remove(field);
        }
    }
    for field in WHOLE {
        if let Some(value) = body.get_mut(field)
            && let Some(number) = value.as_f64().filter(|_| value.is_f64())
            && number.fract() == 0.0
            && number.abs() < 9e15
        {
            *value = (number as i64).into();
        }
    }
}

/// Returns whether an unsupported parameter's value asks for nothing.
pub(crate) fn asks_for_nothing(field: &str, body: &Map<String, Value>) -> bool {
    let value = &body[field];
    if is_empty(value) {
        return true;
    }
    if UNSUPPORTED.iter().any(|(name, neutral)| *name == field && neutral.holds(value)) {
        return true;
    }
    match field {
        "response_format" => value.get("type").is_some_and(|kind| kind == "text"),
        "modalities" => value.as_array().is_some_and(|list| list.iter().all(|m| m == "text")),
        // As many candidates as texts: none is dropped.
        "best_of" => body.get("n") == Some(value),
        "logit_bias" => value
            .as_object()
            .is_some_and(|biases| biases.values().all(|bias| bias.as_f64() == Some(0.0))),
        _ => false,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(object) => object.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body(field: &str, value: Value) -> Map<String, Value> {
        Map::from_iter([(field.to_owned(), value)])
    }

    #[test]
    fn each_parameter_is_accepted_where_it_is_off_and_not_where_it_is_on() {
        for (field, neutral) in UNSUPPORTED {
            let (off, on) = match neutral {
                Number(number) | EitherNumber(_, number) => {
                    (vec![json!(number), json!(number as i64)], json!(number + 0.5))
                }
                Boolean(boolean) => (vec![json!(boolean)], json!(!boolean)),
                Words(words) => (words.iter().map(|word| json!(word)).collect(), json!("other")),
            };
            for value in off.into_iter().chain([json!(null), json!([]), json!({}), json!("")]) {
                assert!(asks_for_nothing(field, &body(field, value.clone())), "{field}: {value}");
            }
            assert!(!asks_for_nothing(field, &body(field, on.clone())), "{field}: {on}");
        }
        assert!(!asks_for_nothing("temprature", &body("temprature", json!(1))));
        assert!(asks_for_nothing("logit_bias", &body("logit_bias", json!({"5": 0, "6": 0.0}))));
        assert!(!asks_for_nothing("logit_bias", &body("logit_bias", json!({"5": 0, "6": 1}))));
    }

    #[test]
    fn nothing_is_kept_of_a_field_that_is_ignored() {
        let read = |text: &str| serde_json::from_str::<RawFields>(text);

        let RawFields(fields) =
            read(r#"{"n": 1, "metadata": {"a": [1, {}]}, "user": null}"#).unwrap();
        assert_eq!(Value::Object(fields), json!({"n": 1}));
        assert!(read(r#"{"metadata": [1,}"#).is_err());
        assert!(read("null").unwrap_err().to_string().contains("expected a map"));
    }

    #[test]
    fn no_parameter_is_in_two_lists() {
        let names = UNSUPPORTED.iter().map(|(name, _)| *name).chain(IGNORED);
        let mut seen: Vec<&str> = SUPPORTED.iter().map(|(name, _)| *name).collect();
        for name in names {
            assert!(!seen.contains(&name), "{name}");
            seen.push(name);
        }
    }

    #[test]
    fn a_supported_parameter_that_is_off_is_left_out_and_a_whole_number_is_read() {
        let mut found =
            json!({"top_k": 40.0, "seed": -1, "n": 1.0, "top_p": 1, "temperature": 0.0});
        let found = found.as_object_mut().unwrap();

        normalize(found);

        assert_eq!(*found, *json!({"top_k": 40, "temperature": 0.0}).as_object().unwrap());
        assert!(found["top_k"].is_u64());
    }
}
