//! Building a model from its weights, and listing them again.

use std::collections::HashMap;

use burn::tensor::{Device, Tensor};
use nanoscope_kernels::{Matrix, is_host, to_host};

use crate::attention::{Attention, ValueEmbed};
use crate::block::Block;
use crate::config::{GptConfig, QkNorm, ResidualMix};
use crate::embed::{Bigram, Embed, Smear};
use crate::gpt::{Gpt, Lambdas};
use crate::linear::Linear;
use crate::mlp::Mlp;
use crate::norm::Norm;
use crate::params::{self, ParamSpec};
use crate::rope::Rope;
use crate::weights::{Weight, WeightSource};

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
        let mut weights = Weights::read(&config, source, device)?;
        let shape = config.shape;
        let blocks = (0..shape.n_layer).map(|layer| weights.block(&config, layer)).collect();
        let wte = weights.matrix(params::WTE);
        let lm_head = if config.tied { wte.transposed() } else { weights.matrix(params::LM_HEAD) };
        let embed = Embed {
            wte,
            scale: config.embedding.scale,
            wpe: config.embedding.positions.map(|_| weights.tensor(params::WPE)),
            norm_epsilon: config.embedding.normed.then_some(config.norm.epsilon),
            smear: config.smear.then(|| Smear {
                gate: weights.tensor(params::SMEAR_GATE),
                lambda: weights.scalar(params::SMEAR_LAMBDA),
            }),
            bigram: config.bigram.then(|| Bigram {
                table: weights.matrix(params::BIGRAM_EMBED),
                lambdas: weights.numbers(params::BIGRAM_LAMBDAS),
            }),
        };
        let lambdas = (config.residual == ResidualMix::Lambdas).then(|| Lambdas {
            resid: weights.numbers(params::RESID_LAMBDAS),
            x0: weights.numbers(params::X0_LAMBDAS),
        });
        let backout_lambda =
            if config.backout { weights.scalar(params::BACKOUT_LAMBDA) } else { 0.0 };
        let rope = |rope| Rope::new(rope, shape.sequence_len, device);
        Ok(Self {
            ropes: config.ropes.iter().map(rope).collect(),
            on_host: is_host(device),
            device: device.clone(),
            embed,
            blocks,
            lambdas,
            backout_lambda,
            ln_f: weights.norm(&config, params::LN_F),
            lm_head,
            config,
        })
    }

    /// The model's weights with their canonical names, in the order of [`GptConfig::params`].
    pub fn weights(&self) -> Vec<(ParamSpec, Weight)> {
        let mut named = self.named();
        let weight = |spec: ParamSpec| {
            let weight = named.remove(&spec.name).expect("params lists only weights of the model");
            (spec, weight)
        };
        self.config.params().into_iter().map(weight).collect()
    }

    fn named(&self) -> HashMap<String, Weight> {
        let mut named = HashMap::new();
        let Embed { wte, wpe, smear, bigram, .. } = &self.embed;
        let mut matrix = |name: String, x: &Matrix| {
            named.insert(name, Weight::Matrix(x.clone()));
        };
        matrix(params::LM_HEAD.to_owned(), &self.lm_head);
        matrix(params::WTE.to_owned(), wte);
        for (layer, block) in self.blocks.iter().enumerate() {
            for (part, linear) in block.linears() {
                if let Some(linear) = linear {
                    matrix(params::weight(&params::in_block(layer, part)), &linear.weight);
                }
            }
        }
        if let Some(bigram) = bigram {
            matrix(params::BIGRAM_EMBED.to_owned(), &bigram.table);
        }
        for (layer, block) in self.blocks.iter().enumerate() {
            if let Some(embed) = &block.attention.value_embed {
                matrix(params::value_embed(layer), &embed.table);
                let gate = params::in_block(layer, "attn.ve_gate");
                matrix(params::weight(&gate), &Matrix::Device(embed.gate.clone()));
            }
        }
        let mut tensor = |name: String, x: Option<&Tensor<2>>| {
            if let Some(x) = x {
                matrix(name, &Matrix::Device(x.clone()));
            }
        };
        tensor(params::WPE.to_owned(), wpe.as_ref());
        tensor(params::SMEAR_GATE.to_owned(), smear.as_ref().map(|smear| &smear.gate));
        let mut vector = |name: String, x: Option<&Tensor<1>>| {
            if let Some(x) = x {
                named.insert(name, Weight::Vector(x.clone()));
            }
        };
        for (layer, block) in self.blocks.iter().enumerate() {
            let name = |part: &str| params::in_block(layer, part);
            for (part, linear) in block.linears() {
                vector(params::bias(&name(part)), linear.and_then(|linear| linear.bias.as_ref()));
            }
            for (part, norm) in block.norms() {
                vector(params::weight(&name(part)), norm.and_then(|norm| norm.gain.as_ref()));
                vector(params::bias(&name(part)), norm.and_then(|norm| norm.bias.as_ref()));
            }
            if let Some((q, k)) = &block.attention.qk_gains {
                vector(params::weight(&name("attn.q_norm")), Some(q));
                vector(params::weight(&name("attn.k_norm")), Some(k));
            }
        }
        vector(params::weight(params::LN_F), self.ln_f.gain.as_ref());
        vector(params::bias(params::LN_F), self.ln_f.bias.as_ref());
        let mut numbers = |name: &str, values: Option<&[f32]>| {
            if let Some(values) = values {
                let values = Tensor::from_floats(values, &self.device);
                named.insert(name.to_owned(), Weight::Vector(values));
            }
        };
        let lambdas = self.lambdas.as_ref();
        numbers(params::RESID_LAMBDAS, lambdas.map(|lambdas| lambdas.resid.as_slice()));
        numbers(params::X0_LAMBDAS, lambdas.map(|lambdas| lambdas.x0.as_slice()));
        numbers(params::BIGRAM_LAMBDAS, bigram.as_ref().map(|bigram| bigram.lambdas.as_slice()));
        numbers(params::SMEAR_LAMBDA, smear.as_ref().map(|s| std::slice::from_ref(&s.lambda)));
        numbers(params::BACKOUT_LAMBDA, Some(&[self.backout_lambda]));
        named
    }
}

impl Block {
    /// The linear layers by their canonical names in the block.
    fn linears(&self) -> [(&'static str, Option<&Linear>); 7] {
        let Attention { c_q, c_k, c_v, c_proj, .. } = &self.attention;
        [
            ("attn.c_q", Some(c_q)),
            ("attn.c_k", Some(c_k)),
            ("attn.c_v", Some(c_v)),
            ("attn.c_proj", Some(c_proj)),
            ("mlp.c_gate", self.mlp.gate.as_ref()),
            ("mlp.c_fc", Some(&self.mlp.up)),
            ("mlp.c_proj", Some(&self.mlp.down)),
        ]
    }

    /// The norms by their canonical names in the block.
    fn norms(&self) -> [(&'static str, Option<&Norm>); 4] {
        [
            ("ln_1", Some(&self.ln1)),
            ("ln_2", Some(&self.ln2)),
            ("attn.post_norm", self.attention_post_norm.as_ref()),
            ("mlp.post_norm", self.mlp_post_norm.as_ref()),
        ]
    }
}

/// Weights that have been read and not yet put into the model.
struct Weights {
    device: Device,
    matrices: HashMap<String, Matrix>,
    vectors: HashMap<String, Tensor<1>>,
}

impl Weights {
    fn read<S: WeightSource>(
        config: &GptConfig,
        source: &mut S,
        device: &Device,
    ) -> Result<Self, S::Error> {
        let (matrices, vectors) = (HashMap::new(), HashMap::new());
        let mut weights = Self { device: device.clone(), matrices, vectors };
        for spec in config.params() {
            if let [_] = spec.shape.as_slice() {
                let vector = source.weight::<1>(&spec)?;
                weights.vectors.insert(spec.name, vector);
            } else if spec.is_matrix() {
                let matrix = source.matrix(&spec)?;
                weights.matrices.insert(spec.name, matrix);
            } else {
                let matrix = Matrix::Device(source.weight::<2>(&spec)?);
                weights.matrices.insert(spec.name, matrix);
            }
        }
        Ok(weights)
    }

    fn block(&mut self, config: &GptConfig, layer: usize) -> Block {
        let name = |part: &str| params::in_block(layer, part);
        let qk_gains = (config.attention.qk_norm == QkNorm::GainBeforeRope).then(|| {
            let mut gain = |part| self.vector(&params::weight(&name(part)));
            (gain("attn.q_norm"), gain("attn.k_norm"))
        });
        let value_embed = config.value_embeds.filter(|_| config.has_value_embed(layer));
        let attention = Attention {
            shape: config.shape,
            config: config.attention,
            norm_epsilon: config.norm.epsilon,
            layer: config.layers[layer],
            c_q: self.linear(&name("attn.c_q")),
            c_k: self.linear(&name("attn.c_k")),
            c_v: self.linear(&name("attn.c_v")),
            c_proj: self.linear(&name("attn.c_proj")),
            qk_gains,
            value_embed: value_embed.map(|parts| ValueEmbed {
                parts,
                table: self.matrix(&params::value_embed(layer)),
                gate: self.tensor(&params::weight(&name("attn.ve_gate"))),
            }),
        };
        let mlp = Mlp {
            activation: config.mlp.activation,
            gate: config.mlp.gated.then(|| self.linear(&name("mlp.c_gate"))),
            up: self.linear(&name("mlp.c_fc")),
            down: self.linear(&name("mlp.c_proj")),
        };
        let mut post_norm = |part: &str| config.post_norms.then(|| self.norm(config, &name(part)));
        Block {
            parallel: config.parallel,
            attention_post_norm: post_norm("attn.post_norm"),
            mlp_post_norm: post_norm("mlp.post_norm"),
            ln1: self.norm(config, &name("ln_1")),
            attention,
            ln2: self.norm(config, &name("ln_2")),
            mlp,
        }
    }

    fn linear(&mut self, name: &str) -> Linear {
        let weight = self.matrix(&params::weight(name));
        Linear { weight, bias: self.vectors.remove(&params::bias(name)) }
    }

    fn norm(&mut self, config: &GptConfig, name: &str) -> Norm {
        let gain = self.vectors.remove(&params::weight(name));
        Norm { config: config.norm, gain, bias: self.vectors.remove(&params::bias(name)) }
    }

    fn matrix(&mut self, name: &str) -> Matrix {
        self.matrices.remove(name).expect("params lists every weight that load takes")
    }

    /// A matrix that is not used by multiplication alone.
    fn tensor(&mut self, name: &str) -> Tensor<2> {
        self.matrix(name).to_tensor(&self.device)
    }

    fn vector(&mut self, name: &str) -> Tensor<1> {
        self.vectors.remove(name).expect("params lists every weight that load takes")
    }

    fn numbers(&mut self, name: &str) -> Vec<f32> {
        to_host(self.vector(name))
    }

    fn scalar(&mut self, name: &str) -> f32 {
        self.numbers(name)[0]
    }
}
