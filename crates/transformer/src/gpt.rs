//! The forward pass of every model.
//!
//! `Gpt` is not a burn `Module`: nothing trains it, its lambdas are plain numbers on the host, and
//! each weight goes directly from its file to its place.

use burn::tensor::{Device, Int, Tensor};
use nanoscope_hooks::{HookPoint, HookRouter};
use nanoscope_kernels::Matrix;

use crate::attention::{Masks, Pass};
use crate::block::Block;
use crate::cache::{Caches, KvCache};
use crate::config::GptConfig;
use crate::embed::{Embed, rows};
use crate::error::GptError;
use crate::linear::multiply;
use crate::norm::Norm;
use crate::rope::{Rope, Rows};
use crate::tokens::TokenBatch;

/// A decoder-only transformer, for inference.
///
/// The weights are plain tensors, not parameters of a burn module, because nothing trains this
/// model. Clones share them.
#[derive(Debug, Clone)]
pub struct Gpt {
    pub(crate) config: GptConfig,
    pub(crate) device: Device,
    /// True if tensors are in the host's memory. Kept, because a device waits for its queue before it answers.
    pub(crate) on_host: bool,
    pub(crate) ropes: Vec<Rope>,
    pub(crate) embed: Embed,
    pub(crate) blocks: Vec<Block>,
    pub(crate) lambdas: Option<Lambdas>,
    pub(crate) backout_lambda: f32,
    pub(crate) ln_f: Norm,
    pub(crate) lm_head: Matrix, // [n_embd, padded_vocab]
}

/// The weights of the residual stream and of the embedding in each block's input, by layer.
#[derive(Debug, Clone)]
pub(crate) struct Lambdas {
    pub(crate) resid: Vec<f32>,
    pub(crate) x0: Vec<f32>,
}

/// The positions whose logits a pass computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logits {
    /// All positions: `[batch, seq, vocab_size]`.
    All,
    /// The last position: `[batch, 1, vocab_size]`.
    Last,
}

impl Gpt {
    /// The configuration.
    pub fn config(&self) -> &GptConfig {
        &self.config
    }

    /// The device of the weights.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Computes what directions of the normalised residual stream add to the logits before the softcap:
    /// the gain of the final norm and the unembedding, without biases.
    ///
    /// # Shapes
    /// - `directions`: `[rows, n_embd]`
    /// - output: `[rows, vocab_size]`
    pub fn unembed_directions(&self, directions: Tensor<2>) -> Tensor<2> {
        let scaled = match &self.ln_f.gain {
            Some(gain) => directions * gain.clone().unsqueeze(),
            None => directions,
        };
        self.lm_head.multiply(scaled).slice_dim(1, 0..self.config.shape.vocab_size)
    }

    /// The vectors with which a direction of the residual stream is multiplied for its effect on the logits of
    /// `ids`: columns of the unembedding, times the gain of the final norm.
    ///
    /// # Shapes
    /// - output: `[ids, n_embd]`
    ///
    /// # Errors
    /// [`GptError::TokenOutOfRange`] if an id is outside the vocabulary.
    pub fn unembedding_of(&self, ids: &[u32]) -> Result<Tensor<2>, GptError> {
        let tokens = TokenBatch::new(&[ids.to_vec()])?;
        tokens.check(self.config.shape.vocab_size)?;
        let on_device = Tensor::<1, Int>::from_ints(
            ids.iter().map(|&id| id as i32).collect::<Vec<_>>().as_slice(),
            &self.device,
        );
        let columns = self.lm_head.transposed().rows(ids, &on_device);
        Ok(match &self.ln_f.gain {
            Some(gain) => columns * gain.clone().unsqueeze(),
            None => columns,
        })
    }

    /// Creates an empty cache for `batch` rows of up to `capacity` positions.
    pub fn cache(&self, batch: usize, capacity: usize) -> KvCache {
        KvCache::new(&self.config, batch, capacity, &self.device)
    }

    /// Runs `tokens` from position 0.
    ///
    /// # Shapes
    /// - output: `[batch, seq or 1, vocab_size]`, after the softcap
    ///
    /// # Errors
    /// [`GptError::TokenOutOfRange`] if an id is outside the vocabulary,
    /// [`GptError::ContextFull`] if the rows are longer than [`GptConfig::max_positions`].
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
            HookPoint::Embed | HookPoint::PosEmbed => 0,
            HookPoint::FinalNormalized => self.blocks.len(),
            point => point.layer().map_or(0, |layer| layer + 1),
        };
        let (x, backout) = self.run_blocks(tokens, &mut Caches(&mut []), blocks, router);
        if deepest == HookPoint::FinalNormalized {
            self.final_norm(x, backout, router);
        }
        Ok(())
    }

    pub(crate) fn check_uncached(&self, tokens: &TokenBatch) -> Result<(), GptError> {
        tokens.check(self.config.shape.vocab_size)?;
        let (needed, capacity) = (tokens.seq(), self.config.max_positions);
        if needed > capacity {
            return Err(GptError::ContextFull { needed, capacity });
        }
        Ok(())
    }

    /// Runs `tokens` after those in `cache`, and appends them to it.
    ///
    /// The logits of a prompt are the same within float32 noise if it is run as a whole, in pieces or token by
    /// token.
    ///
    /// # Shapes
    /// - output: `[batch, seq or 1, vocab_size]`, after the softcap
    ///
    /// # Errors
    /// [`GptError`] if an id is outside the vocabulary, the cache or the model's context is full, or the cache has
    /// another batch size. The cache is then unchanged.
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
            let capacity = cache.capacity().min(self.config.max_positions);
            if needed > capacity {
                return Err(GptError::ContextFull { needed, capacity });
            }
        }
        let patterns = (0..self.blocks.len())
            .flat_map(|layer| [HookPoint::AttnScores(layer), HookPoint::Pattern(layer)]);
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
        // The host compiles nothing, so that further keys are only work.
        let in_blocks = seq == 1 && !self.on_host && !caches.0.is_empty();
        let mut pass = Pass {
            ropes: self.ropes.iter().map(|rope| rope_rows(rope, &offsets, seq, caches)).collect(),
            masks: offsets
                .iter()
                .map(|&offset| Masks::new(offset, seq, in_blocks, self.device.clone()))
                .collect(),
            on_host: self.on_host,
        };

        let mut x = self.embed.forward(tokens, &flat, caches, router);
        let x0 = x.clone();
        let bigram = self.embed.bigram.as_ref();
        let bigram =
            bigram.map(|b| (b.forward(tokens, &self.device, caches), b.lambdas.as_slice()));
        let mut backout = None;
        for (layer, block) in self.blocks.iter().enumerate().take(blocks) {
            if let Some(lambdas) = &self.lambdas {
                x = x * lambdas.resid[layer] + x0.clone() * lambdas.x0[layer];
            }
            if let Some((embedded, lambdas)) = &bigram {
                x = x + embedded.clone() * lambdas[layer];
            }
            let values = block.attention.value_embed.as_ref();
            let values = values.map(|embed| rows(&embed.table, tokens.ids(), &flat, tokens));
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
        router.route(HookPoint::FinalNormalized, self.ln_f.normalize(x))
    }

    /// Computes logits from the activation at [`HookPoint::FinalNormalized`]: the norm's gain and bias,
    /// unembedding and softcap.
    ///
    /// Positions are independent. With a large vocabulary and little memory, run a pass for the last
    /// position's logits, record the activation at that point, and unembed a few rows at a time.
    ///
    /// # Shapes
    /// - `x`: `[batch, seq, n_embd]`, normalised
    /// - output: `[batch, seq, vocab_size]`, after the softcap
    pub fn unembed(&self, x: Tensor<3>) -> Tensor<3> {
        let logits = self.raw_logits(x);
        match self.config.softcap {
            Some(cap) => nanoscope_kernels::softcap(logits, cap),
            None => logits,
        }
    }

    /// Computes logits as [`unembed`](Self::unembed) does, before the softcap.
    ///
    /// # Shapes
    /// - `x`: `[batch, seq, n_embd]`, normalised
    /// - output: `[batch, seq, vocab_size]`
    pub fn raw_logits(&self, x: Tensor<3>) -> Tensor<3> {
        let x = self.ln_f.affine(x);
        multiply(x, &self.lm_head).slice_dim(2, 0..self.config.shape.vocab_size)
    }
}

/// The rows of `rope` for every row of a pass, at its cache's offset.
fn rope_rows(rope: &Rope, offsets: &[usize], seq: usize, caches: &Caches<'_, '_>) -> Rows {
    match offsets {
        &[offset] => rope.rows(offset, seq),
        offsets => {
            let rows = |(at, &offset)| (rope.rows(offset, seq), caches.rows(at));
            Rows::cat(offsets.iter().enumerate().map(rows).collect())
        }
    }
}
