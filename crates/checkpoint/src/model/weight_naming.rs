//! The names and shapes that weights have in each layout of files.

use nanoscope_transformer::{Layout, ParamSpec};

use crate::model::families::{Names, Part, Stored};

/// The naming of weights in a file, which also determines which of them are transposed.
#[derive(Debug)]
pub(crate) enum WeightNaming {
    /// nanochat's names and shapes, with `prefix` in front of each name. Its start `root` is shared by
    /// this model's weights and by nothing else in the file.
    Nanochat { prefix: String, root: String },
    /// Our own layout: canonical names. Linear layers are `[d_in, d_out]` in the format's first versions, and
    /// in PyTorch's order (`by_output`) since.
    Native { by_output: bool },
    /// transformers' names for nanochat. If `tied`, the unembedding is the embedding.
    Transformers { tied: bool },
    /// transformers' names for another family.
    Family(Names),
}

impl WeightNaming {
    /// Returns the tensor that has a weight.
    pub(super) fn stored(&self, spec: &ParamSpec) -> Stored {
        let name = match self {
            Self::Nanochat { prefix, .. } => format!("{prefix}{}", spec.name),
            Self::Native { .. } => spec.name.clone(),
            Self::Transformers { tied } => transformers_name(spec, *tied),
            Self::Family(names) => return names.stored(spec),
        };
        let is_turned = !matches!(self, Self::Native { by_output: false });
        let transposed = spec.layout == Layout::Transposed && is_turned;
        let shape = if transposed { spec.file_shape() } else { spec.shape.clone() };
        Stored { name, shape, part: Part::Whole, transposed, plus: 0.0 }
    }

    /// Returns whether the tensor `name` can only be a weight of this model.
    pub(super) fn is_of_model(&self, name: &str) -> bool {
        match self {
            Self::Nanochat { root, .. } => name.starts_with(root.as_str()),
            Self::Native { .. } | Self::Transformers { .. } => true,
            Self::Family(names) => !names.is_ignored(name),
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
