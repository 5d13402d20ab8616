use axum::Json;
use nanoscope_hooks::HookPoint;
use nanoscope_tokenizer::Tokenizer;
use serde_json::{Value, json};

use super::labels::Saved;
use crate::openai::shortest_decimal;
use crate::served_model::{SaeInfo, ServedModel};
use crate::state::AppState;

/// `GET /api/about`
pub(crate) async fn about(state: AppState) -> Json<Value> {
    let (served, limits) = (&state.served, &state.config.limits);
    let config = served.model.gpt().config();
    let shape = &config.shape;
    let tokenizer = served.model.tokenizer();
    let chat = tokenizer.is_some_and(Tokenizer::can_chat);
    let hook = |hook: HookPoint| json!({"name": hook.to_string(), "shape": config.hook_shape(hook).to_string()});
    let sae = |(&hook, sae): (&HookPoint, &nanoscope_sae::Sae)| {
        let (config, source) = (sae.config(), served.sae_info.get(&hook));
        json!({
            "hook": hook.to_string(),
            "writes": served.model.write_point(hook).to_string(),
            "source": ServedModel::source_id(hook),
            "set": ServedModel::source_set(hook),
            "d_in": config.d_in(),
            "d_sae": config.d_sae(),
            "architecture": config.architecture().name(),
            "labels": state.labels.count(hook),
            "labels_saved": Saved::from(state.labels.place(hook)),
            "dashboard": source.is_some_and(SaeInfo::has_dashboard),
            "index": served.names.index(hook).is_some(),
            "steering": served.names.index(hook).and_then(|index| index.shares.as_ref()).map(|shares| {
                json!({"share": shortest_decimal(shares.default), "breaks": shares.breaks.map(shortest_decimal)})
            }),
        })
    };
    Json(json!({
        "name": served.name,
        "version": env!("CARGO_PKG_VERSION"),
        "device": device_name(served.model.gpt().device()),
        "model": {
            "n_layer": shape.n_layer,
            "d_model": shape.n_embd,
            "vocab_size": shape.vocab_size,
            "context": served.model.context_len(),
            "chat": chat,
        },
        "hooks": config.hook_points().map(hook).collect::<Vec<_>>(),
        "saes": served.model.saes().iter().map(sae).collect::<Vec<_>>(),
        "topics": served.topics,
        "limits": {
            "max_tokens": limits.max_tokens,
            "rows": limits.rows,
            "queue": limits.queue,
            "body": limits.body,
            "seconds": limits.request_timeout.as_secs(),
        },
    }))
}

/// A device in words: `Cpu (Flex)` for burn's `Device<Flex(Cpu)>`.
fn device_name(device: &impl std::fmt::Debug) -> String {
    let debug = format!("{device:?}");
    let inner = debug.strip_prefix("Device<").and_then(|rest| rest.strip_suffix('>'));
    let parts = inner.and_then(|inner| inner.strip_suffix(')')?.split_once('('));
    parts.map_or_else(
        || inner.unwrap_or(&debug).to_owned(),
        |(backend, device)| format!("{device} ({backend})"),
    )
}
