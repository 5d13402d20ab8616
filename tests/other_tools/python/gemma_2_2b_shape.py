"""Writes a model folder of exactly Gemma-2-2b's shape, with random weights in bfloat16: 5.2 GB.

    python gemma_2_2b_shape.py DIR [--layers 26]

For measurements of memory and speed. The configuration and the names and shapes of the tensors are
those of google/gemma-2-2b in three shards with an index; weights are normal with deviation 0.02, norms
zero. The tokenizer is the small one of tests/fixtures/families/gemma2, so that texts can be continued:
most of the 256,000 ids have no text. One block of values is in memory at a time.

Needs numpy.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import numpy

WIDTH, ROWS, LAYERS, MLP = 2304, 256_000, 26, 9216
HEADS, KV_HEADS, HEAD_DIM = 8, 4, 256
PARAMETERS = 2_614_341_888
SHARDS = 3
BYTES = 2  # of a bfloat16
BLOCK = 1 << 24  # values

CONFIG = {
    "architectures": ["Gemma2ForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "attn_logit_softcapping": 50.0,
    "bos_token_id": 2,
    "cache_implementation": "hybrid",
    "eos_token_id": 1,
    "final_logit_softcapping": 30.0,
    "head_dim": HEAD_DIM,
    "hidden_act": "gelu_pytorch_tanh",
    "hidden_activation": "gelu_pytorch_tanh",
    "hidden_size": WIDTH,
    "initializer_range": 0.02,
    "intermediate_size": MLP,
    "max_position_embeddings": 8192,
    "model_type": "gemma2",
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "num_key_value_heads": KV_HEADS,
    "pad_token_id": 0,
    "query_pre_attn_scalar": 256,
    "rms_norm_eps": 1e-06,
    "rope_theta": 10000.0,
    "sliding_window": 4096,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.42.4",
    "use_cache": True,
    "vocab_size": ROWS,
}
TOKENIZER = Path(__file__).parent.parent.parent / "fixtures" / "families" / "gemma2" / "hf"


def shapes(layers):
    """Names and shapes of the tensors, in the order of the model."""
    found = {"model.embed_tokens.weight": [ROWS, WIDTH]}
    for layer in range(layers):
        block = {
            "input_layernorm": [WIDTH],
            "mlp.down_proj": [WIDTH, MLP],
            "mlp.gate_proj": [MLP, WIDTH],
            "mlp.up_proj": [MLP, WIDTH],
            "post_attention_layernorm": [WIDTH],
            "post_feedforward_layernorm": [WIDTH],
            "pre_feedforward_layernorm": [WIDTH],
            "self_attn.k_proj": [KV_HEADS * HEAD_DIM, WIDTH],
            "self_attn.o_proj": [WIDTH, HEADS * HEAD_DIM],
            "self_attn.q_proj": [HEADS * HEAD_DIM, WIDTH],
            "self_attn.v_proj": [KV_HEADS * HEAD_DIM, WIDTH],
        }
        found |= {f"model.layers.{layer}.{name}.weight": shape for name, shape in block.items()}
    return found | {"model.norm.weight": [WIDTH]}


def size(shape):
    """The number of values."""
    return int(numpy.prod(shape))


def shards(tensors):
    """Divides the tensors into files of about one size, in their order."""
    limit = sum(map(size, tensors.values())) / SHARDS
    files, filled = [{}], 0
    for name, shape in tensors.items():
        if filled >= limit and len(files) < SHARDS:
            files.append({})
            filled = 0
        files[-1][name] = shape
        filled += size(shape)
    return files


def values(name, shape, random):
    """The values of a tensor in blocks, as the upper half of a float32's bits."""
    left = size(shape)
    while left:
        count = min(left, BLOCK)
        if name.endswith("norm.weight"):
            yield numpy.zeros(count, numpy.uint16)
        else:
            block = random.standard_normal(count, numpy.float32)
            block *= numpy.float32(0.02)
            yield (block.view(numpy.uint32) >> 16).astype("<u2")
        left -= count


def write_shard(path, tensors, random):
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in tensors.items():
        start, end = end, end + BYTES * size(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in tensors.items():
            for block in values(name, shape, random):
                file.write(block.tobytes())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=LAYERS, help="fewer, to try the script")
    options = parser.parse_args()

    tensors = shapes(options.layers)
    count = sum(map(size, tensors.values()))
    assert options.layers != LAYERS or count == PARAMETERS, count
    options.folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(options.folder).free
    if free < BYTES * count + (1 << 20):
        sys.exit(f"{options.folder} has {free} bytes free, and {BYTES * count} are needed")
    random = numpy.random.default_rng(0)
    files = shards(tensors)
    weight_map = {}
    for number, part in enumerate(files, 1):
        name = f"model-{number:05}-of-{len(files):05}.safetensors"
        write_shard(options.folder / name, part, random)
        weight_map |= dict.fromkeys(part, name)
    index = {"metadata": {"total_size": BYTES * count}, "weight_map": weight_map}
    for name, content in (
        ("model.safetensors.index.json", index),
        ("config.json", CONFIG | {"num_hidden_layers": options.layers}),
        ("generation_config.json", {"bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0}),
    ):
        (options.folder / name).write_text(json.dumps(content, indent=2) + "\n")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TOKENIZER / name, options.folder)
    print(f"{count} parameters in {len(files)} shards, {BYTES * count} bytes")


if __name__ == "__main__":
    main()
