//! Weights that are not those of the family that `config.json` names.

use std::collections::BTreeMap;
use std::fs;

use nanoscope_checkpoint::{CheckpointError, LoadedModel};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;
use tempfile::TempDir;

use super::families::{CONFIG, WEIGHTS, copy, with_key};
use super::hugging_face::change_json;
use crate::files::{floats, load_model};
use crate::refused;

const INDEX: &str = "model.safetensors.index.json";

/// The element type, shape and bytes of a tensor.
type Entry = (Dtype, Vec<usize>, Vec<u8>);

/// Loads the model `name` after `change` to its weights.
fn with_tensors(
    name: &str,
    change: impl FnOnce(&mut BTreeMap<String, Entry>),
) -> Result<LoadedModel, CheckpointError> {
    let dir = copy(name);
    let path = dir.path().join(WEIGHTS);
    let bytes = fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut entries: BTreeMap<String, Entry> = file
        .tensors()
        .into_iter()
        .map(|(name, view)| (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec())))
        .collect();
    change(&mut entries);
    let views = entries.iter().map(|(name, (dtype, shape, bytes))| {
        (name.as_str(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    load_model(dir.path(), None)
}

#[test]
fn the_weights_that_are_spoilt_here_are_good_before() {
    with_tensors("gpt2", |_| {}).unwrap();
}

#[test]
fn weights_that_are_not_the_familys_are_refused_by_name() {
    let packed = "transformer.h.1.attn.c_attn.weight";
    refused!(
        "missing packed weight",
        with_tensors("gpt2", |tensors| drop(tensors.remove(packed))),
        CheckpointError::MissingTensor { .. },
        [WEIGHTS, packed]
    );
    refused!(
        "packed weight the other way round",
        with_tensors("gpt2", |tensors| tensors.get_mut(packed).unwrap().1.reverse()),
        CheckpointError::ShapeMismatch { .. },
        [WEIGHTS, packed, "[108, 36]", "[36, 108]"]
    );
    refused!(
        "packed weight that is not finite",
        with_tensors("gpt2", |tensors| {
            tensors.get_mut(packed).unwrap().2[8..12].copy_from_slice(&f32::NAN.to_le_bytes());
        }),
        CheckpointError::NotFinite { at: 2, .. },
        [WEIGHTS, packed]
    );
    let bias = "gpt_neox.layers.0.attention.query_key_value.bias";
    refused!(
        "missing packed bias",
        with_tensors("pythia", |tensors| drop(tensors.remove(bias))),
        CheckpointError::MissingTensor { .. },
        [WEIGHTS, bias]
    );
    let bias = "model.layers.0.self_attn.q_proj.bias";
    refused!(
        "bias of another family",
        with_tensors("qwen3", |tensors| {
            tensors.insert(bias.to_owned(), (Dtype::F32, vec![48], floats(&[0.0; 48])));
        }),
        CheckpointError::UnexpectedTensor { .. },
        [WEIGHTS, bias, "Qwen 3"]
    );
    let vision = "vision_tower.vision_model.post_layernorm.weight";
    refused!(
        "images of another family",
        with_tensors("gemma2", |tensors| {
            tensors.insert(vision.to_owned(), (Dtype::F32, vec![2], floats(&[0.0; 2])));
        }),
        CheckpointError::UnexpectedTensor { .. },
        [WEIGHTS, vision, "Gemma 2"]
    );
    for (tensor, dtype, says) in [
        ("model.layers.0.mlp.up_proj.weight", Dtype::I8, "element type i8"),
        ("model.layers.1.self_attn.o_proj.weight", Dtype::U8, "element type u8"),
        ("model.norm.weight", Dtype::BOOL, "element type bool"),
    ] {
        refused!(
            format!("weight of {dtype:?}"),
            with_tensors("llama31", |tensors| {
                let entry = tensors.get_mut(tensor).unwrap();
                (entry.0, entry.2) = (dtype, vec![1; entry.1.iter().product()]);
            }),
            CheckpointError::NotFloats { .. },
            [WEIGHTS, tensor, says, "quantized models are not supported"]
        );
    }
}

#[test]
fn an_unembedding_that_is_not_the_embedding_it_is_tied_to_is_refused() {
    let embedding = "model.embed_tokens.weight";
    let unembedding = "lm_head.weight";

    let same = with_tensors("gemma2", |tensors| {
        let entry = tensors[embedding].clone();
        tensors.insert(unembedding.to_owned(), entry);
    });

    same.unwrap();
    let says = [CONFIG, "tie_word_embeddings is true", unembedding, embedding];
    refused!(
        "another one in the file",
        with_tensors("gemma2", |tensors| {
            let mut entry = tensors[embedding].clone();
            entry.2[0] ^= 1;
            tensors.insert(unembedding.to_owned(), entry);
        }),
        CheckpointError::Contradicted { .. },
        says
    );
    refused!(
        "tied by the configuration alone",
        with_key("llama31", "tie_word_embeddings", json!(true)),
        CheckpointError::Contradicted { .. },
        says
    );
}

#[test]
fn shards_of_a_family_that_are_not_there_or_cut_are_refused_by_name() {
    let shard = "model-00002-of-00002.safetensors";
    let with_shards = |change: &dyn Fn(&TempDir)| {
        let dir = copy("gemma2_shards_bf16");
        change(&dir);
        load_model(dir.path(), None)
    };
    refused!(
        "shard that is not there",
        with_shards(&|dir| fs::remove_file(dir.path().join(shard)).unwrap()),
        CheckpointError::MissingShard { .. },
        [INDEX, shard, "which does not exist"]
    );
    refused!(
        "shard that is cut",
        with_shards(&|dir| {
            let whole = fs::read(dir.path().join(shard)).unwrap();
            fs::write(dir.path().join(shard), &whole[..whole.len() / 2]).unwrap();
        }),
        CheckpointError::Safetensors { .. },
        [shard]
    );
    for outside in ["../model.safetensors", "/etc/passwd"] {
        refused!(
            format!("shard {outside}"),
            with_shards(&|dir| change_json(&dir.path().join(INDEX), |index| {
                index["weight_map"]["model.norm.weight"] = json!(outside);
            })),
            CheckpointError::ShardOutside { .. },
            [INDEX, outside]
        );
    }
    refused!(
        "tensor in another shard",
        with_shards(&|dir| change_json(&dir.path().join(INDEX), |index| {
            index["weight_map"]["model.embed_tokens.weight"] = json!(shard);
        })),
        CheckpointError::NotInIndex { .. },
        ["model.embed_tokens.weight"]
    );
}
