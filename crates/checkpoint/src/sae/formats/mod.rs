//! One file for each tool's format.

pub(crate) mod circuit_tracer;
pub(crate) mod dictionary_learning;
pub(crate) mod gemma_scope;
pub(crate) mod gemma_scope_2;
pub(crate) mod goodfire;
pub(crate) mod llama_scope;
pub(crate) mod nanochat_sae;
pub(crate) mod openai;
pub(crate) mod qwen_scope;
pub(crate) mod saelens;
pub(crate) mod sparsify;
