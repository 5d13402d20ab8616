"""Reads SAE files written by nanoscope as nanochat-SAE does: torch.load, strict keys and
shapes, a forward pass. Run by .ci/run where PyTorch is installed.

usage: read_ours.py ORIGINAL.pt OURS.pt
"""

import sys

import torch


def features(checkpoint, x):
    weights, config = checkpoint["sae_state_dict"], checkpoint["config"]
    pre = x @ weights["W_enc"].float() + weights["b_enc"].float()
    if config["activation"] == "relu":
        return torch.relu(pre)
    if config["activation"] == "gated":
        gate = x @ weights["W_gate"].float() + weights["b_gate"].float()
        return pre * (gate > 0).float()
    values, indices = torch.topk(pre, config["k"], dim=-1)
    return torch.zeros_like(pre).scatter_(-1, indices, values)


original, ours = (torch.load(path, weights_only=True) for path in sys.argv[1:])
keys = ["d_in", "d_sae", "activation", "hook_point", "expansion_factor"]
if original["config"]["activation"] == "topk":
    keys.append("k")  # elsewhere it changes no number, and is not kept
for key in keys:
    assert original["config"][key] == ours["config"][key], key
assert list(original["config"]) == list(ours["config"]), "keys of the config, in order"
for name, weight in original["sae_state_dict"].items():
    assert torch.equal(weight, ours["sae_state_dict"][name]), name
assert len(original["sae_state_dict"]) == len(ours["sae_state_dict"])

x = torch.randn(64, original["config"]["d_in"], generator=torch.Generator().manual_seed(0))
assert torch.equal(features(original, x), features(ours, x))
print(f"{sys.argv[2]}: PyTorch reads the same weights, config and features")
