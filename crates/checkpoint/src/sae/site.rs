//! The sites of activations by other tools' names: modules of Hugging Face's transformers.

use nanoscope_hooks::HookPoint;

/// The meaning of an activation's name in an SAE's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Site {
    /// A hook point.
    Point(HookPoint),
    /// One hook point in models that norm the outputs of their sublayers, another in the others.
    ByPostNorms { with: HookPoint, without: HookPoint },
    /// No hook point of our models.
    Unknown,
}

impl Site {
    /// The site that `name` stands for: a hook point by any of its names, or the output or input of a
    /// module of transformers.
    pub(crate) fn of(name: &str) -> Self {
        if let Ok(point) = name.parse() {
            return Self::Point(point);
        }
        // Both spellings of one side of a module are in use.
        if let Some(module) = name.strip_suffix(".input").or_else(|| name.strip_prefix("input of "))
        {
            return of_input(module);
        }
        of_output(name.strip_suffix(".output").unwrap_or(name))
    }

    /// The hook point in a model that does or does not norm the outputs of its sublayers, as far as
    /// that is known.
    pub(crate) fn point(self, post_norms: Option<bool>) -> Option<HookPoint> {
        match (self, post_norms) {
            (Self::Point(point), _) => Some(point),
            (Self::ByPostNorms { with, without }, Some(has)) => {
                Some(if has { with } else { without })
            }
            _ => None,
        }
    }
}

/// A module's name in transformers: the layer that it is part of, and its name there.
fn in_layer(module: &str) -> Option<(usize, &str)> {
    let module = within_model(module);
    let rest = module.strip_prefix("layers.").or_else(|| module.strip_prefix("h."))?;
    let (layer, part) = match rest.split_once('.') {
        Some((_, "")) => return None,
        Some(split) => split,
        None => (rest, ""),
    };
    let index = layer.parse::<usize>().ok()?;
    // `layers.01` is not a module.
    (index.to_string() == layer).then_some((index, part))
}

/// Cuts off the names of the modules that a model is in.
fn within_model(mut module: &str) -> &str {
    const AROUND: [&str; 4] = ["model.", "language_model.", "transformer.", "gpt_neox."];
    while let Some(inner) = AROUND.iter().find_map(|around| module.strip_prefix(around)) {
        module = inner;
    }
    module
}

fn of_output(module: &str) -> Site {
    use HookPoint as P;

    match within_model(module) {
        // transformers 5 scales Gemma's embedding inside of the module.
        "embed_tokens" | "embed_in" | "wte" => return Site::Point(P::Embed),
        "wpe" => return Site::Point(P::PosEmbed),
        _ => {}
    }
    let Some((layer, part)) = in_layer(module) else { return Site::Unknown };
    let point: fn(usize) -> HookPoint = match part {
        "" => P::ResidPost,
        "self_attn" | "attention" | "attn" | "self_attn.o_proj" | "attention.dense"
        | "attn.c_proj" => P::AttnProjection,
        "mlp" | "mlp.down_proj" | "mlp.dense_4h_to_h" | "mlp.c_proj" => P::MlpProjection,
        "input_layernorm" | "ln_1" => P::AttnIn,
        "post_attention_layernorm" => {
            return Site::ByPostNorms { with: P::AttnOut(layer), without: P::MlpIn(layer) };
        }
        "ln_2" | "pre_feedforward_layernorm" => P::MlpIn,
        "post_feedforward_layernorm" => P::MlpOut,
        "self_attn.q_proj" => P::Q,
        "self_attn.k_proj" => P::K,
        "self_attn.v_proj" => P::V,
        "mlp.gate_proj" | "mlp.dense_h_to_4h" | "mlp.c_fc" => P::MlpPre,
        "mlp.up_proj" => P::MlpPreLinear,
        // Of an MLP without a gate; a gated one multiplies after its activation function.
        "mlp.act" => P::MlpPost,
        _ => return Site::Unknown,
    };
    Site::Point(point(layer))
}

fn of_input(module: &str) -> Site {
    use HookPoint as P;

    let Some((layer, part)) = in_layer(module) else { return Site::Unknown };
    let point: fn(usize) -> HookPoint = match part {
        "" | "input_layernorm" | "ln_1" => P::ResidPre,
        "self_attn"
        | "attention"
        | "attn"
        | "self_attn.q_proj"
        | "self_attn.k_proj"
        | "self_attn.v_proj"
        | "attention.query_key_value"
        | "attn.c_attn" => P::AttnIn,
        "self_attn.o_proj" | "attention.dense" | "attn.c_proj" => P::Z,
        "post_attention_layernorm" => {
            return Site::ByPostNorms {
                with: P::AttnProjection(layer),
                without: P::ResidMid(layer),
            };
        }
        "ln_2" | "pre_feedforward_layernorm" => P::ResidMid,
        "post_feedforward_layernorm" => P::MlpProjection,
        "mlp" | "mlp.gate_proj" | "mlp.up_proj" | "mlp.dense_h_to_4h" | "mlp.c_fc" => P::MlpIn,
        "mlp.act" => P::MlpPre,
        "mlp.down_proj" | "mlp.dense_4h_to_h" | "mlp.c_proj" => P::MlpPost,
        _ => return Site::Unknown,
    };
    Site::Point(point(layer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_a_published_site_is_the_right_hook_point() {
        for (name, expected) in [
            ("blocks.5.hook_resid_pre", "blocks.5.hook_resid_pre"),
            ("blocks.5.hook_mlp_in", "blocks.5.hook_resid_mid"),
            ("blocks.5.ln2.hook_out", "blocks.5.mlp.hook_in"),
            ("blocks.5.attn.hook_z", "blocks.5.attn.hook_z"),
            ("blocks.5.mlp.hook_out", "blocks.5.mlp.hook_out"),
            ("blocks.5.mlp.hook_in", "blocks.5.mlp.hook_in"),
            ("embed.hook_out", "hook_embed"),
            ("layers.3", "blocks.3.hook_resid_post"),
            ("h.3", "blocks.3.hook_resid_post"),
            ("model.layers.3", "blocks.3.hook_resid_post"),
            ("model.layers.3.output", "blocks.3.hook_resid_post"),
            ("model.layers.3.input", "blocks.3.hook_resid_pre"),
            ("model.language_model.layers.3.output", "blocks.3.hook_resid_post"),
            ("language_model.model.layers.3", "blocks.3.hook_resid_post"),
            ("gpt_neox.layers.3", "blocks.3.hook_resid_post"),
            ("transformer.h.3", "blocks.3.hook_resid_post"),
            ("layers.3.mlp", "blocks.3.mlp.hook_out"),
            ("input of layers.3.mlp", "blocks.3.mlp.hook_in"),
            ("gpt_neox.layers.3.attention", "blocks.3.attn.hook_out"),
            ("transformer.h.3.attn", "blocks.3.attn.hook_out"),
            ("model.layers.3.self_attn", "blocks.3.attn.hook_out"),
            ("model.layers.3.self_attn.o_proj.input", "blocks.3.attn.hook_z"),
            ("model.layers.3.self_attn.q_proj", "blocks.3.attn.hook_q"),
            ("model.layers.3.input_layernorm", "blocks.3.attn.hook_in"),
            ("transformer.h.3.ln_1", "blocks.3.attn.hook_in"),
            ("transformer.h.3.ln_2", "blocks.3.mlp.hook_in"),
            ("model.layers.3.pre_feedforward_layernorm.output", "blocks.3.mlp.hook_in"),
            ("model.layers.3.post_feedforward_layernorm.output", "blocks.3.hook_mlp_out"),
            ("model.layers.3.mlp.gate_proj", "blocks.3.mlp.hook_pre"),
            ("model.layers.3.mlp.up_proj", "blocks.3.mlp.hook_pre_linear"),
            ("model.layers.3.mlp.down_proj.input", "blocks.3.mlp.hook_post"),
            ("gpt_neox.layers.3.mlp.dense_h_to_4h", "blocks.3.mlp.hook_pre"),
            ("transformer.h.3.mlp.c_fc", "blocks.3.mlp.hook_pre"),
            ("transformer.h.3.mlp.act", "blocks.3.mlp.hook_post"),
            ("model.embed_tokens", "hook_embed"),
            ("gpt_neox.embed_in", "hook_embed"),
            ("transformer.wte", "hook_embed"),
            ("transformer.wpe", "hook_pos_embed"),
        ] {
            let point: HookPoint = expected.parse().unwrap();
            assert_eq!(Site::of(name), Site::Point(point), "{name}");
        }
    }

    #[test]
    fn a_norm_after_attention_depends_on_the_model() {
        let site = Site::of("model.layers.3.post_attention_layernorm");

        assert_eq!(site.point(Some(true)), Some(HookPoint::AttnOut(3)));
        assert_eq!(site.point(Some(false)), Some(HookPoint::MlpIn(3)));
        assert_eq!(site.point(None), None);
    }

    #[test]
    fn other_modules_are_no_site() {
        for name in [
            "",
            "layers",
            "layers.",
            "layers.x",
            "layers.01",
            "layers.1.",
            "layers.-1",
            "layers.1.mlp.act_fn",
            "model.norm",
            "transformer.ln_f",
            "lm_head",
            "model.layers.1.self_attn.q_norm",
            "transformer.h.1.attn.c_attn",
            "input of embed_tokens",
            "vision_tower.layers.3",
        ] {
            assert_eq!(Site::of(name), Site::Unknown, "{name}");
        }
    }
}
