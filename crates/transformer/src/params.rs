use crate::config::{GptConfig, NormKind, QkNorm, ResidualMix, SMEAR_CHANNELS};

/// A weight's canonical name, which is its name in nanochat's files where nanochat has it, and its
/// shape in this crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParamSpec {
    /// The canonical name.
    pub name: String,
    /// The shape in this crate; for a linear layer `[d_in, d_out]`.
    pub shape: Vec<usize>,
    /// The layout in PyTorch's files.
    pub layout: Layout,
}

impl ParamSpec {
    /// Returns whether the weight is a matrix of a linear layer or a table, which a model can hold in fewer bits
    /// than float32. Other weights are small.
    pub fn is_matrix(&self) -> bool {
        let is_gate = self.name == SMEAR_GATE || self.name.ends_with(VE_GATE);
        self.shape.len() == 2 && self.name != WPE && !is_gate
    }

    /// Returns whether the weight is a table of embeddings, whose rows are looked up.
    pub fn is_table(&self) -> bool {
        let is_value_embed = self.name.starts_with(VALUE_EMBEDS);
        [WTE, WPE, BIGRAM_EMBED].contains(&self.name.as_str()) || is_value_embed
    }
}

/// The layout of a weight in PyTorch's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// The same as in this crate.
    Same,
    /// Transposed: the files hold a linear layer as `[d_out, d_in]`.
    Transposed,
}

impl ParamSpec {
    fn new(name: impl Into<String>, shape: &[usize], layout: Layout) -> Self {
        Self { name: name.into(), shape: shape.to_vec(), layout }
    }

    /// The shape in PyTorch's files.
    pub fn file_shape(&self) -> Vec<usize> {
        match self.layout {
            Layout::Same => self.shape.clone(),
            Layout::Transposed => self.shape.iter().rev().copied().collect(),
        }
    }
}

/// Names of the weights that are not in a block.
pub(crate) const WTE: &str = "transformer.wte.weight";
pub(crate) const WPE: &str = "transformer.wpe.weight";
pub(crate) const LN_F: &str = "transformer.ln_f";
pub(crate) const LM_HEAD: &str = "lm_head.weight";
pub(crate) const RESID_LAMBDAS: &str = "resid_lambdas";
pub(crate) const X0_LAMBDAS: &str = "x0_lambdas";
pub(crate) const BIGRAM_LAMBDAS: &str = "bigram_lambdas";
pub(crate) const BIGRAM_EMBED: &str = "bigram_embed.embed.weight";
pub(crate) const SMEAR_LAMBDA: &str = "smear_lambda";
pub(crate) const SMEAR_GATE: &str = "smear_gate.weight";
pub(crate) const BACKOUT_LAMBDA: &str = "backout_lambda";

/// End of the names of the gates of value embeddings.
const VE_GATE: &str = "attn.ve_gate.weight";
/// Beginning of the names of the tables of value embeddings.
const VALUE_EMBEDS: &str = "value_embeds.";

/// Rows of the bigram table per token of the vocabulary, without padding.
const BIGRAM_ROWS: usize = 5;

pub(crate) fn in_block(layer: usize, part: &str) -> String {
    format!("transformer.h.{layer}.{part}")
}

pub(crate) fn weight(part: &str) -> String {
    format!("{part}.weight")
}

pub(crate) fn bias(part: &str) -> String {
    format!("{part}.bias")
}

pub(crate) fn value_embed(layer: usize) -> String {
    format!("{VALUE_EMBEDS}{layer}.weight")
}

impl GptConfig {
    /// Every weight of the model, the largest ones first. Read in this order, transposing a weight
    /// never needs more memory in total than the finished model and that weight.
    pub fn params(&self) -> Vec<ParamSpec> {
        use Layout::{Same, Transposed};

        let (width, vocab, layers) =
            (self.shape.n_embd, self.padded_vocab_size, self.shape.n_layer);
        let mut params = Vec::new();
        if !self.tied {
            params.push(ParamSpec::new(LM_HEAD, &[width, vocab], Transposed));
        }
        params.push(ParamSpec::new(WTE, &[vocab, width], Same));
        if let Some(positions) = self.embedding.positions {
            params.push(ParamSpec::new(WPE, &[positions, width], Same));
        }
        if self.bigram {
            params.push(ParamSpec::new(
                BIGRAM_EMBED,
                &[BIGRAM_ROWS * self.shape.vocab_size, width],
                Same,
            ));
            params.push(ParamSpec::new(BIGRAM_LAMBDAS, &[layers], Same));
        }
        for layer in (0..layers).filter(|&layer| self.has_value_embed(layer)) {
            params.push(ParamSpec::new(value_embed(layer), &[vocab, self.kv_dim()], Same));
        }
        for layer in 0..layers {
            self.block_params(layer, &mut params);
        }
        self.norm_params(LN_F.to_owned(), &mut params);
        if self.residual == ResidualMix::Lambdas {
            params.push(ParamSpec::new(RESID_LAMBDAS, &[layers], Same));
            params.push(ParamSpec::new(X0_LAMBDAS, &[layers], Same));
        }
        if self.smear {
            params.push(ParamSpec::new(SMEAR_GATE, &[SMEAR_CHANNELS, 1], Transposed));
            params.push(ParamSpec::new(SMEAR_LAMBDA, &[1], Same));
        }
        if self.backout {
            params.push(ParamSpec::new(BACKOUT_LAMBDA, &[1], Same));
        }
        params
    }

    fn block_params(&self, layer: usize, params: &mut Vec<ParamSpec>) {
        use Layout::{Same, Transposed};

        let (width, d_mlp) = (self.shape.n_embd, self.mlp.d_mlp);
        let (q_dim, kv_dim) = (self.q_dim(), self.kv_dim());
        let (qkv, out, mlp) = (self.attention.qkv_bias, self.attention.out_bias, self.mlp.bias);
        for (part, d_in, d_out, has_bias) in [
            ("mlp.c_gate", width, if self.mlp.gated { d_mlp } else { 0 }, mlp),
            ("mlp.c_fc", width, d_mlp, mlp),
            ("mlp.c_proj", d_mlp, width, mlp),
            ("attn.c_q", width, q_dim, qkv),
            ("attn.c_k", width, kv_dim, qkv),
            ("attn.c_v", width, kv_dim, qkv),
            ("attn.c_proj", q_dim, width, out),
        ] {
            if d_out == 0 {
                continue;
            }
            let name = in_block(layer, part);
            params.push(ParamSpec::new(weight(&name), &[d_in, d_out], Transposed));
            if has_bias {
                params.push(ParamSpec::new(bias(&name), &[d_out], Same));
            }
        }
        if let (Some(embeds), true) = (self.value_embeds, self.has_value_embed(layer)) {
            let gate = [embeds.gate_channels, self.shape.n_kv_head];
            let name = weight(&in_block(layer, "attn.ve_gate"));
            params.push(ParamSpec::new(name, &gate, Transposed));
        }
        if self.attention.qk_norm == QkNorm::GainBeforeRope {
            for part in ["attn.q_norm", "attn.k_norm"] {
                let name = weight(&in_block(layer, part));
                params.push(ParamSpec::new(name, &[self.attention.head_dim], Same));
            }
        }
        let post_norms = ["attn.post_norm", "mlp.post_norm"].into_iter();
        for part in ["ln_1", "ln_2"].into_iter().chain(post_norms.filter(|_| self.post_norms)) {
            self.norm_params(in_block(layer, part), params);
        }
    }

    fn norm_params(&self, name: String, params: &mut Vec<ParamSpec>) {
        let width = self.shape.n_embd;
        if self.has_norm_gain() {
            params.push(ParamSpec::new(weight(&name), &[width], Layout::Same));
        }
        if self.norm.kind == NormKind::LayerNorm {
            params.push(ParamSpec::new(bias(&name), &[width], Layout::Same));
        }
    }
}
