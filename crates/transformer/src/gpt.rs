//! The transformer of nanochat, in all its eras.
//!
//! `Gpt` is not a burn `Module`: nothing trains it, its lambdas are plain numbers on the host, and
//! each weight goes directly from its file to its place. `Sae` is a `Module`, because SAEs are
//! trained.

use std::collections::HashMap;

use burn::tensor::{Device, Tensor};
use nanoscope_hooks::{HookPoint, HookRouter};

use crate::attention::{Attention, Masks, Pass, ValueEmbed};
use crate::block::Block;
use crate::config::{GptConfig, ResidualMix};
use crate::embed::{Bigram, Embed, Smear, rows};
use crate::error::GptError;
use crate::kv_cache::{Caches, KvCache};
use crate::layout::{self, ParamSpec, linear};
use crate::mlp::Mlp;
use crate::norm::rms_norm;
use crate::rope::{Rope, Rows};
use crate::tokens::TokenBatch;
use crate::weights::WeightSource;

/// nanochat's GPT, for inference.
///
/// The weights are plain tensors, not parameters of a burn module, because nothing trains this
/// model. Clones share them.
#[derive(Debug, Clone)]
pub struct Gpt {
    config: GptConfig,
    device: Device,
    rope: Rope,
    embed: Embed,
    blocks: Vec<Block>,
    lambdas: Option<Lambdas>,
    backout_lambda: f32,
    lm_head: Tensor<2>, // [n_embd, padded_vocab]
}

/// The weights of the residual stream and of the embedding in each block's input, by layer.
#[derive(Debug, Clone)]
struct Lambdas {
    resid: Vec<f32>,
    x0: Vec<f32>,
}

/// The positions whose logits a pass computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logits {
    /// All positions: `[batch, seq, vocab_size]`.
    All,
    /// The last position: `[batch, 1, vocab_size]`.
    Last,
}

/// nanochat's rotary tables cover this many times the context; longer sequences are rejected.
const MAX_CONTEXTS: usize = 10;

impl Gpt {
    /// Builds a model from the weights that `source` supplies.
    ///
    /// # Errors
    /// The errors of the source.
    ///
    /// # Panics
    /// If a weight does not have the rank of its spec.
    pub fn load<S: WeightSource>(
        config: GptConfig,
        source: &mut S,
        device: &Device,
    ) -> Result<Self, S::Error> {
        let mut weights = Weights::read(&config, source)?;
        let shape = config.shape;
        let norm_epsilon = config.constants.norm_epsilon;
        let blocks = (0..shape.n_layer)
            .map(|layer| {
                let value_embed = config.value_embeds.filter(|_| config.has_value_embed(layer));
                let attention = Attention {
                    shape,
                    window: config.windows[layer],
                    qk_scale: config.qk_scale,
                    norm_epsilon,
                    c_q: weights.in_block(layer, "attn.c_q"),
                    c_k: weights.in_block(layer, "attn.c_k"),
                    c_v: weights.in_block(layer, "attn.c_v"),
                    c_proj: weights.in_block(layer, "attn.c_proj"),
                    value_embed: value_embed.map(|parts| ValueEmbed {
                        parts,
                        table: weights.matrix(&layout::value_embed(layer)),
                        gate: weights.in_block(layer, "attn.ve_gate"),
                    }),
                };
                let mlp = Mlp {
                    c_fc: weights.in_block(layer, "mlp.c_fc"),
                    c_proj: weights.in_block(layer, "mlp.c_proj"),
                };
                Block { attention, mlp, norm_epsilon }
            })
            .collect();
        let embed = Embed {
            wte: weights.matrix(layout::WTE),
            norm_epsilon,
            smear: config.smear.then(|| Smear {
                gate: weights.matrix(layout::SMEAR_GATE),
                lambda: weights.scalar(layout::SMEAR_LAMBDA),
            }),
            bigram: config.bigram.then(|| Bigram {
                table: weights.matrix(layout::BIGRAM_EMBED),
                lambdas: weights.vector(layout::BIGRAM_LAMBDAS),
            }),
        };
        let lambdas = (config.residual == ResidualMix::Lambdas).then(|| Lambdas {
            resid: weights.vector(layout::RESID_LAMBDAS),
            x0: weights.vector(layout::X0_LAMBDAS),
        });
        let backout_lambda =
            if config.backout { weights.scalar(layout::BACKOUT_LAMBDA) } else { 0.0 };
        Ok(Self {
            rope: Rope::new(&config, device),
            device: device.clone(),
            embed,
            blocks,
            lambdas,
            backout_lambda,
            lm_head: weights.matrix(layout::LM_HEAD),
            config,
        })
    }

    /// The configuration.
    pub fn config(&self) -> &GptConfig {
        &self.config
    }

    /// The device of the weights.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The unembedding matrix, without norm and softcap.
    ///
    /// # Shapes
    /// - output: `[n_embd, padded_vocab_size]`
    pub fn w_u(&self) -> Tensor<2> {
        self.lm_head.clone()
    }

    /// Creates an empty cache for `batch` rows of up to `capacity` positions.
    pub fn cache(&self, batch: usize, capacity: usize) -> KvCache {
        KvCache::new(&self.config.shape, batch, capacity, &self.device)
    }

    /// Runs `tokens` from position 0.
    ///
    /// # Shapes
    /// - output: `[batch, seq or 1, vocab_size]`, after the softcap
    ///
    /// # Errors
    /// [`GptError::TokenOutOfRange`] if an id is outside the vocabulary,
    /// [`GptError::ContextFull`] if the rows are longer than ten times the context, the length of
    /// nanochat's rotary tables.
    pub fn forward(
        &self,
        tokens: &TokenBatch,
        logits: Logits,
        router: &mut impl HookRouter,
    ) -> Result<Tensor<3>, GptError> {
        self.check_uncached(tokens)?;
        Ok(self
            .run(tokens, &mut Caches(&mut []), Some(logits), router)
            .expect("logits were requested"))
    }

    /// Runs `tokens` from position 0 up to the block of `deepest`, for the activations alone: later
    /// blocks and the logits are not computed. Up to there, `router` receives the same activations as
    /// in [`forward`](Self::forward), bit for bit.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn forward_to(
        &self,
        tokens: &TokenBatch,
        deepest: HookPoint,
        router: &mut impl HookRouter,
    ) -> Result<(), GptError> {
        self.check_uncached(tokens)?;
        let blocks = match deepest {
            HookPoint::Embed => 0,
            HookPoint::FinalNormalized => self.blocks.len(),
            point => point.layer().map_or(0, |layer| layer + 1),
        };
        let (x, backout) = self.run_blocks(tokens, &mut Caches(&mut []), blocks, router);
        if deepest == HookPoint::FinalNormalized {
            self.final_norm(x, backout, router);
        }
        Ok(())
    }

    fn check_uncached(&self, tokens: &TokenBatch) -> Result<(), GptError> {
        tokens.check(self.config.shape.vocab_size)?;
        let (needed, capacity) = (tokens.seq(), MAX_CONTEXTS * self.config.shape.sequence_len);
        if needed > capacity {
            return Err(GptError::ContextFull { needed, capacity });
        }
        Ok(())
    }

    /// Runs `tokens` after those in `cache`, and appends them to it.
    ///
    /// Whether a prompt is run as a whole, in pieces or token by token, the logits are the same
    /// within float32 noise.
    ///
    /// # Shapes
    /// - output: `[batch, seq or 1, vocab_size]`, after the softcap
    ///
    /// # Errors
    /// [`GptError`] if an id is outside the vocabulary, the cache is full or has another batch
    /// size. The cache is then unchanged.
    pub fn forward_cached(
        &self,
        tokens: &TokenBatch,
        cache: &mut KvCache,
        logits: Logits,
        router: &mut impl HookRouter,
    ) -> Result<Tensor<3>, GptError> {
        let out = self.forward_together(tokens, &mut [cache], Some(logits), router)?;
        Ok(out.expect("logits were requested"))
    }

    /// Runs rows at different positions in one pass, each after the tokens in its own cache.
    ///
    /// The rows of `tokens` are the rows of the caches, in their order. Weights are read once for all
    /// rows; each row attends to its own cache. A row's logits are the same as if it were run alone,
    /// within float32 noise.
    ///
    /// # Shapes
    /// - output: `[batch, seq or 1, vocab_size]`, after the softcap; `None` if `logits` is `None`
    ///
    /// # Errors
    /// As [`forward_cached`](Self::forward_cached); [`GptError::RaggedPattern`] if there are several
    /// caches and `router` wants an attention pattern. The caches are then unchanged.
    pub fn forward_together(
        &self,
        tokens: &TokenBatch,
        caches: &mut [&mut KvCache],
        logits: Option<Logits>,
        router: &mut impl HookRouter,
    ) -> Result<Option<Tensor<3>>, GptError> {
        tokens.check(self.config.shape.vocab_size)?;
        let (found, expected) = (tokens.batch(), caches.iter().map(|cache| cache.batch()).sum());
        if found != expected {
            return Err(GptError::BatchMismatch { found, expected });
        }
        for cache in caches.iter() {
            let needed = cache.len() + tokens.seq();
            if needed > cache.capacity() {
                return Err(GptError::ContextFull { needed, capacity: cache.capacity() });
            }
        }
        let patterns = (0..self.blocks.len()).map(HookPoint::Pattern);
        if caches.len() > 1
            && let Some(hook) = patterns.into_iter().find(|&hook| router.wants(hook))
        {
            return Err(GptError::RaggedPattern { hook: hook.to_string() });
        }
        let out = self.run(tokens, &mut Caches(caches), logits, router);
        let mut last_tokens = tokens.rows().map(|row| row[row.len() - 1]);
        for cache in caches {
            cache.advance(tokens.seq());
            cache.last_tokens = last_tokens.by_ref().take(cache.batch()).collect();
        }
        Ok(out)
    }

    fn run(
        &self,
        tokens: &TokenBatch,
        caches: &mut Caches<'_, '_>,
        logits: Option<Logits>,
        router: &mut impl HookRouter,
    ) -> Option<Tensor<3>> {
        let seq = tokens.seq();
        let (mut x, mut backout) = self.run_blocks(tokens, caches, self.blocks.len(), router);
        let wanted = router.wants(HookPoint::FinalNormalized);
        if logits.is_none() && !wanted {
            return None;
        }
        // From here on positions are independent; a generation needs only the last.
        if logits == Some(Logits::Last) && !wanted {
            x = x.slice_dim(1, seq - 1..seq);
            backout = backout.map(|x| x.slice_dim(1, seq - 1..seq));
        }
        let x = self.final_norm(x, backout, router);
        let [_, kept, _] = x.dims();
        let x = if logits? == Logits::Last { x.slice_dim(1, kept - 1..kept) } else { x };
        Some(self.unembed(x))
    }

    /// Computes the residual stream after the first `blocks` blocks, and the part of it kept for the
    /// backout.
    fn run_blocks(
        &self,
        tokens: &TokenBatch,
        caches: &mut Caches<'_, '_>,
        blocks: usize,
        router: &mut impl HookRouter,
    ) -> (Tensor<3>, Option<Tensor<3>>) {
        let seq = tokens.seq();
        let offsets = caches.offsets();
        let flat = tokens.flat(&self.device);
        let mut pass = Pass {
            rope: match offsets.as_slice() {
                &[offset] => self.rope.rows(offset, seq),
                offsets => {
                    let rows = |(at, &offset)| (self.rope.rows(offset, seq), caches.rows(at));
                    Rows::cat(offsets.iter().enumerate().map(rows).collect())
                }
            },
            masks: offsets
                .iter()
                .map(|&offset| Masks::new(offset, seq, self.device.clone()))
                .collect(),
            // Only backends that compute on a device have memory pools.
            on_host: self.device.memory_pool_usage().is_none(),
        };

        let mut x = self.embed.forward(tokens, flat.clone(), caches, router);
        let x0 = x.clone();
        let bigram = self.embed.bigram.as_ref();
        let bigram = bigram.map(|b| (b.forward(tokens, caches), b.lambdas.as_slice()));
        let mut backout = None;
        for (layer, block) in self.blocks.iter().enumerate().take(blocks) {
            if let Some(lambdas) = &self.lambdas {
                x = x * lambdas.resid[layer] + x0.clone() * lambdas.x0[layer];
            }
            if let Some((embedded, lambdas)) = &bigram {
                x = x + embedded.clone() * lambdas[layer];
            }
            let values = block.attention.value_embed.as_ref();
            let values = values.map(|embed| rows(&embed.table, flat.clone(), tokens));
            x = block.forward(x, values, layer, &mut pass, caches, router);
            if self.config.backout_layer() == Some(layer) {
                backout = Some(x.clone());
            }
        }
        (x, backout)
    }

    fn final_norm(
        &self,
        x: Tensor<3>,
        backout: Option<Tensor<3>>,
        router: &mut impl HookRouter,
    ) -> Tensor<3> {
        let x = match backout {
            Some(backout) => x - backout * self.backout_lambda,
            None => x,
        };
        let x = rms_norm(x, self.config.constants.norm_epsilon);
        router.route(HookPoint::FinalNormalized, x)
    }

    /// Computes logits from the activation at [`HookPoint::FinalNormalized`]: unembedding and softcap.
    ///
    /// Positions are independent. With a large vocabulary and little memory, run a pass for the last
    /// position's logits, record the activation at that point, and unembed a few rows at a time.
    ///
    /// # Shapes
    /// - `x`: `[batch, seq, n_embd]`, normed
    /// - output: `[batch, seq, vocab_size]`, after the softcap
    pub fn unembed(&self, x: Tensor<3>) -> Tensor<3> {
        let logits = linear(x, &self.lm_head).slice_dim(2, 0..self.config.shape.vocab_size);
        match self.config.constants.softcap {
            Some(softcap) => (logits / softcap).tanh() * softcap,
            None => logits,
        }
    }

    /// The model's weights with their names in nanochat's files, flattened, in the order of
    /// [`GptConfig::params`].
    pub fn weights(&self) -> Vec<(ParamSpec, Tensor<1>)> {
        let flat = |x: &Tensor<2>| {
            let [rows, columns] = x.dims();
            x.clone().reshape([rows * columns])
        };
        let vector = |values: &[f32]| Tensor::<1>::from_floats(values, &self.device);
        let value_embed = |layer: usize| self.blocks[layer].attention.value_embed.as_ref();
        self.config
            .params()
            .into_iter()
            .map(|spec| {
                let weight = match spec.name.as_str() {
                    layout::LM_HEAD => flat(&self.lm_head),
                    layout::WTE => flat(&self.embed.wte),
                    layout::BACKOUT_LAMBDA => vector(&[self.backout_lambda]),
                    name => self
                        .lambda(name)
                        .map(vector)
                        .or_else(|| self.embedding(name).map(flat))
                        .or_else(|| {
                            (0..self.blocks.len()).find_map(|layer| {
                                if name == layout::value_embed(layer) {
                                    return value_embed(layer).map(|embed| flat(&embed.table));
                                }
                                self.blocks[layer].part(layer, name).map(flat)
                            })
                        })
                        .expect("params lists only weights of the model"),
                };
                (spec, weight)
            })
            .collect()
    }

    fn lambda(&self, name: &str) -> Option<&[f32]> {
        match name {
            layout::RESID_LAMBDAS => self.lambdas.as_ref().map(|lambdas| lambdas.resid.as_slice()),
            layout::X0_LAMBDAS => self.lambdas.as_ref().map(|lambdas| lambdas.x0.as_slice()),
            layout::BIGRAM_LAMBDAS => self.embed.bigram.as_ref().map(|b| b.lambdas.as_slice()),
            layout::SMEAR_LAMBDA => {
                self.embed.smear.as_ref().map(|smear| std::slice::from_ref(&smear.lambda))
            }
            _ => None,
        }
    }

    fn embedding(&self, name: &str) -> Option<&Tensor<2>> {
        match name {
            layout::SMEAR_GATE => self.embed.smear.as_ref().map(|smear| &smear.gate),
            layout::BIGRAM_EMBED => self.embed.bigram.as_ref().map(|bigram| &bigram.table),
            _ => None,
        }
    }
}

impl Block {
    fn part(&self, layer: usize, name: &str) -> Option<&Tensor<2>> {
        let attention = &self.attention;
        let gate = attention.value_embed.as_ref().map(|embed| &embed.gate);
        [
            ("attn.c_q", Some(&attention.c_q)),
            ("attn.c_k", Some(&attention.c_k)),
            ("attn.c_v", Some(&attention.c_v)),
            ("attn.c_proj", Some(&attention.c_proj)),
            ("attn.ve_gate", gate),
            ("mlp.c_fc", Some(&self.mlp.c_fc)),
            ("mlp.c_proj", Some(&self.mlp.c_proj)),
        ]
        .into_iter()
        .find(|(part, _)| name == layout::block_param(layer, part))
        .and_then(|(_, weight)| weight)
    }
}

/// Weights that have been read and not yet put into the model.
struct Weights {
    matrices: HashMap<String, Tensor<2>>,
    vectors: HashMap<String, Vec<f32>>,
}

impl Weights {
    fn read<S: WeightSource>(config: &GptConfig, source: &mut S) -> Result<Self, S::Error> {
        let mut weights = Self { matrices: HashMap::new(), vectors: HashMap::new() };
        for spec in config.params() {
            if let [_] = spec.shape.as_slice() {
                let values = source.weight::<1>(&spec)?.into_data().iter::<f32>().collect();
                weights.vectors.insert(spec.name, values);
            } else {
                let matrix = source.weight::<2>(&spec)?;
                weights.matrices.insert(spec.name, matrix);
            }
        }
        Ok(weights)
    }

    fn matrix(&mut self, name: &str) -> Tensor<2> {
        self.matrices.remove(name).expect("params lists every weight that load takes")
    }

    fn in_block(&mut self, layer: usize, part: &str) -> Tensor<2> {
        self.matrix(&layout::block_param(layer, part))
    }

    fn vector(&mut self, name: &str) -> Vec<f32> {
        self.vectors.remove(name).expect("params lists every weight that load takes")
    }

    fn scalar(&mut self, name: &str) -> f32 {
        self.vector(name)[0]
    }
}
