//! The names and shapes that weights have in each layout of files.

use nanoscope_transformer::{Layout, ParamSpec};

use crate::container::Order;

/// The naming of weights in a file, which also determines which of them are transposed.
#[derive(Debug)]
pub(crate) enum WeightNaming {
    /// nanochat's names and shapes, with `prefix` in front of each name. Its start `root` is shared by
    /// this model's weights and by nothing else in the file.
    Nanochat { prefix: String, root: String },
    /// Our own layout: nanochat's names, and the shapes that weights have in memory.
    Native,
    /// transformers' names. If `tied`, the unembedding is the embedding.
    Transformers { tied: bool },
}

impl WeightNaming {
    /// Returns the name of a weight in the file.
    pub(super) fn name(&self, spec: &ParamSpec) -> String {
        match self {
            Self::Nanochat { prefix, .. } => format!("{prefix}{}", spec.name),
            Self::Native => spec.name.clone(),
            Self::Transformers { tied } => transformers_name(spec, *tied),
        }
    }

    /// Returns whether the file stores a weight transposed.
    pub(super) fn order(&self, spec: &ParamSpec) -> Order {
        match (self, spec.layout) {
            (Self::Native, _) | (_, Layout::Same) => Order::AsStored,
            (_, Layout::Transposed) => Order::Transposed,
        }
    }

    /// Returns the prefix shared by this model's weights and by nothing else in the file.
    pub(super) fn root(&self) -> &str {
        match self {
            Self::Nanochat { root, .. } => root,
            Self::Native | Self::Transformers { .. } => "",
        }
    }
}

/// Returns transformers' name for the weight that nanochat's files call `spec.name`.
///
/// With `tied`, the unembedding is the embedding and has no name of its own.
fn transformers_name(spec: &ParamSpec, tied: bool) -> String {
    const EMBEDDING: &str = "model.embed_tokens.weight";
    const PARTS: [(&str, &str); 6] = [
        ("attn.c_q.weight", "self_attn.q_proj.weight"),
        ("attn.c_k.weight", "self_attn.k_proj.weight"),
        ("attn.c_v.weight", "self_attn.v_proj.weight"),
        ("attn.c_proj.weight", "self_attn.o_proj.weight"),
        ("mlp.c_fc.weight", "mlp.fc1.weight"),
        ("mlp.c_proj.weight", "mlp.fc2.weight"),
    ];
    let in_block = || {
        let (layer, part) = spec.name.strip_prefix("transformer.h.")?.split_once('.')?;
        let (_, theirs) = PARTS.iter().find(|(ours, _)| *ours == part)?;
        Some(format!("model.layers.{layer}.{theirs}"))
    };
    match spec.name.as_str() {
        "transformer.wte.weight" => EMBEDDING.to_owned(),
        "lm_head.weight" if tied => EMBEDDING.to_owned(),
        name => in_block().unwrap_or_else(|| name.to_owned()),
    }
}
