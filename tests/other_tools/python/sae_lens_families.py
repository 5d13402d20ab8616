"""Compares SAELens on transformers' activations with `nanoscope run`, for models of several families.

    NANOSCOPE_BINARY=target/debug/nanoscope python sae_lens_families.py

The models are those of tests/fixtures/families. For each case a small SAE of SAELens's own class, with
random weights, is saved by SAELens. transformers (float32, eager attention) computes the activation and
SAELens the features and the reconstruction; `nanoscope run --out` reads the same two folders and must
give the same, within 5e-5. A case with centring has `center_writing_weights` in the SAE's metadata, and
the mean is subtracted from transformers' activation.

Needs torch, transformers 5 and sae-lens 6. Run by .ci/run where sae-lens is installed.
"""

import json
import os
import subprocess
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file
from sae_lens import (
    JumpReLUSAE,
    JumpReLUSAEConfig,
    StandardSAE,
    StandardSAEConfig,
    TopKSAE,
    TopKSAEConfig,
)
from sae_lens.saes.sae import SAEMetadata
from transformers import AutoModelForCausalLM

ATOL = 5e-5
# Where features start discontinuously, no pre-activation of a case is nearer to that point.
MARGIN = 4 * ATOL
FAMILIES = Path(__file__).parent.parent.parent / "fixtures" / "families"
D_SAE, K = 64, 7


@dataclass
class Case:
    model: str
    hook: str
    # A module of transformers; its input instead of its output if it ends with `.input`.
    module: str
    architecture: str
    centred: bool = False


CASES = [
    Case("gpt2", "blocks.1.hook_resid_pre", "transformer.h.1.input", "standard", centred=True),
    Case("gpt2", "blocks.1.hook_mlp_out", "transformer.h.1.mlp", "topk", centred=True),
    Case("gpt2_published", "blocks.0.hook_resid_post", "transformer.h.0", "jumprelu", centred=True),
    Case("gpt2", "blocks.1.hook_resid_pre", "transformer.h.1.input", "topk"),
    Case("pythia", "blocks.1.hook_resid_post", "gpt_neox.layers.1", "standard"),
    Case("pythia", "blocks.1.hook_attn_out", "gpt_neox.layers.1.attention", "topk"),
    Case("llama31", "blocks.1.hook_resid_post", "model.layers.1", "topk"),
    Case("llama31", "blocks.0.hook_mlp_out", "model.layers.0.mlp", "jumprelu"),
    Case("llama31", "blocks.1.mlp.hook_post", "model.layers.1.mlp.down_proj.input", "standard"),
    Case("gemma2", "blocks.1.hook_mlp_out", "model.layers.1.post_feedforward_layernorm", "jumprelu"),
    Case("gemma2", "blocks.2.hook_mlp_out", "model.layers.2.post_feedforward_layernorm", "topk"),
    Case("gemma2", "blocks.0.hook_attn_out", "model.layers.0.post_attention_layernorm", "standard"),
    Case("gemma2", "blocks.1.attn.hook_z", "model.layers.1.self_attn.o_proj.input", "topk"),
    Case("gemma3", "blocks.1.hook_resid_post", "model.layers.1", "jumprelu"),
    Case("qwen3", "blocks.1.hook_resid_post", "model.layers.1", "topk"),
]


def activation(case, tokens):
    model = AutoModelForCausalLM.from_pretrained(
        FAMILIES / case.model / "hf", dtype=torch.float32, attn_implementation="eager"
    ).eval()
    kept = []
    first = lambda value: kept.append(value[0] if isinstance(value, tuple) else value)
    module = model.get_submodule(case.module.removesuffix(".input"))
    if case.module.endswith(".input"):
        module.register_forward_pre_hook(lambda _, args: first(args))
    else:
        module.register_forward_hook(lambda _, __, output: first(output))
    model(tokens, use_cache=False)
    (x,) = kept
    return x - x.mean(-1, keepdim=True) if case.centred else x


def random_sae(case, width, seed):
    """An SAE with weights of a size at which features are between 1 and 10."""
    kind, config, more = {
        "standard": (StandardSAE, StandardSAEConfig, {}),
        "topk": (TopKSAE, TopKSAEConfig, {"k": K}),
        "jumprelu": (JumpReLUSAE, JumpReLUSAEConfig, {"apply_b_dec_to_input": False}),
    }[case.architecture]
    processing = {"center_writing_weights": True} if case.centred else {}
    metadata = SAEMetadata(hook_name=case.hook, model_from_pretrained_kwargs=processing)
    sae = kind(config(d_in=width, d_sae=D_SAE, dtype="float32", metadata=metadata, **more))
    random = torch.Generator().manual_seed(seed)
    draw = lambda weight, size: weight.data.copy_(torch.randn(weight.shape, generator=random) * size)
    draw(sae.W_enc, width**-0.5)
    draw(sae.W_dec, width**-0.5)
    draw(sae.b_enc, 0.3)
    draw(sae.b_dec, 0.3)
    if case.architecture == "jumprelu":
        sae.threshold.data.copy_(0.2 + torch.rand(D_SAE, generator=random))
    return sae


def margin(case, sae, x):
    """The smallest distance of a pre-activation from where its feature would start or end."""
    pre = (x - sae.b_dec * sae.cfg.apply_b_dec_to_input) @ sae.W_enc + sae.b_enc
    if case.architecture == "topk":
        best = pre.topk(K + 1).values
        return (best[..., K - 1] - best[..., K]).min()
    if case.architecture == "jumprelu":
        return (pre - sae.threshold).abs().min()
    return torch.inf


def ours(binary, case, tokens, folder):
    """The tensors that `nanoscope run` writes."""
    (folder / "tokens.json").write_text(json.dumps(tokens.tolist()))
    command = [binary, "run", "--model", FAMILIES / case.model / "hf", "--sae", folder / "sae"]
    command += ["--tokens-file", folder / "tokens.json", "--track", case.hook]
    run = subprocess.run(command + ["--out", folder / "out"], capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"{case}: {run.stderr.strip()}")
    return load_file(folder / "out")


@torch.no_grad()
def check(binary, case):
    """Returns the largest differences, of features and of reconstructions."""
    tokens = load_file(FAMILIES / case.model / "expected.safetensors")["tokens"].long()
    x = activation(case, tokens)
    x = x.reshape(*tokens.shape, -1)
    seed, sae = 0, random_sae(case, x.shape[-1], 0)
    while margin(case, sae, x) < MARGIN:
        seed += 1
        sae = random_sae(case, x.shape[-1], seed)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        sae.save_model(folder / "sae")
        found = ours(binary, case, tokens, folder)
    # SAELens takes the heads of `hook_z` apart; the file has them side by side.
    features = sae.encode(x)
    expected = {"features": features, "reconstruction": sae.decode(features)}
    active = (features != 0).float().mean().item() * D_SAE
    assert active > 1, f"{case}: the SAE has no active features"
    largest = {}
    for name, value in expected.items():
        result = found[f"{case.hook}/{name}"]
        assert result.shape == value.shape, f"{case}: {name} {result.shape}, not {value.shape}"
        largest[name] = (result - value).abs().max().item()
    return active, features.max().item(), largest


def main():
    binary = os.environ.get("NANOSCOPE_BINARY")
    if not binary:
        sys.exit("NANOSCOPE_BINARY must name the program to compare with")
    transformers.utils.logging.disable_progress_bar()
    # SAELens asks for the centring that is computed here.
    warnings.filterwarnings("ignore", message="\\s*This SAE has non-empty model_from_pretrained_kwargs")
    worst = 0.0
    print("largest differences of features and reconstructions:")
    for case in CASES:
        active, largest_feature, differences = check(binary, case)
        worst = max(worst, *differences.values())
        print(
            f"  {differences['features']:.1e}  {differences['reconstruction']:.1e}"
            f"  {case.model}, {case.hook}, {case.architecture}{', centred' if case.centred else ''}"
            f" ({active:.1f} active features, up to {largest_feature:.1f})"
        )
    # NaN is not within the tolerance, either.
    if not worst <= ATOL:
        sys.exit(f"a number differs by {worst:.1e}, more than {ATOL}")
    print(f"{len(CASES)} cases agree within {worst:.1e}")


if __name__ == "__main__":
    main()
