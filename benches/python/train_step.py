"""The top-k training step in PyTorch eager and in nanoscope, side by side on one thread.

    python benches/python/train_step.py ACTIVATIONS.safetensors KEY

ACTIVATIONS is a shard of an activation store:

    nanoscope collect --text TEXT --hook blocks.2.hook_resid_post --out STORE
    python benches/python/train_step.py STORE/shard-000000.safetensors blocks.2.hook_resid_post

Both take the same activations, sizes, loss, Adam, clipping and unit decoder rows. The two take
turns, and the fastest step of each counts: machines are noisy. PyTorch's step is written twice, with
a dense decoder as its users write it and with `embedding_bag`, which reads active rows only.
"""

import json
import os
import subprocess
import sys
import time

os.environ["OMP_NUM_THREADS"] = "1"
import torch
from safetensors.torch import load_file

D_SAE, K, BATCH, STEPS, TURNS = 2048, 32, 4096, 6, 3


class Step:
    """One SAE and its Adam; a call is one step and gives the loss."""

    def __init__(self, d_in: int, sparse: bool):
        torch.manual_seed(0)
        decoder = torch.nn.functional.normalize(torch.randn(D_SAE, d_in), dim=1)
        self.w_enc = torch.nn.Parameter(decoder.T.contiguous())
        self.w_dec = torch.nn.Parameter(decoder)
        self.b_enc = torch.nn.Parameter(torch.zeros(D_SAE))
        self.b_dec = torch.nn.Parameter(torch.zeros(d_in))
        self.parameters = [self.w_enc, self.b_enc, self.w_dec, self.b_dec]
        self.adam = torch.optim.Adam(self.parameters, lr=3e-4)
        self.sparse = sparse

    def __call__(self, x: torch.Tensor) -> float:
        pre = (x - self.b_dec) @ self.w_enc + self.b_enc
        values, indices = pre.topk(K, dim=1, sorted=False)
        values = values.relu()
        if self.sparse:
            decoded = torch.nn.functional.embedding_bag(
                indices, self.w_dec, per_sample_weights=values, mode="sum"
            )
        else:
            features = torch.zeros_like(pre).scatter(1, indices, values)
            decoded = features @ self.w_dec
        loss = (decoded + self.b_dec - x).square().sum(1).mean()
        self.adam.zero_grad()
        loss.backward()
        with torch.no_grad():
            along = (self.w_dec.grad * self.w_dec).sum(1, keepdim=True)
            self.w_dec.grad -= along * self.w_dec
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.adam.step()
        with torch.no_grad():
            self.w_dec /= self.w_dec.norm(dim=1, keepdim=True)
        return loss.item()


def fastest(step: Step, x: torch.Tensor) -> float:
    times = []
    for at in range(STEPS):
        batch = x[(at * BATCH) % (len(x) - BATCH) :][:BATCH]
        since = time.perf_counter()
        step(batch)
        times.append(time.perf_counter() - since)
    return min(times)


def ours(path: str, key: str) -> float:
    command = ["cargo", "bench", "--quiet", "--workspace", "--bench", "train_step", "--"]
    command += [path, key, str(STEPS), "top-k"]
    env = {**os.environ, "RAYON_NUM_THREADS": "1"}
    out = subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout
    return json.loads(out)["fastest_step_s"]


def main() -> None:
    path, key = sys.argv[1:3]
    torch.set_num_threads(1)
    x = load_file(path)[key].float()
    x *= x.shape[1] ** 0.5 / x.norm(dim=1).mean()
    dense, sparse = Step(x.shape[1], sparse=False), Step(x.shape[1], sparse=True)
    times: dict[str, list[float]] = {}
    for _ in range(TURNS):
        times.setdefault("PyTorch eager, dense", []).append(fastest(dense, x))
        times.setdefault("PyTorch eager, embedding_bag", []).append(fastest(sparse, x))
        times.setdefault("nanoscope", []).append(ours(path, key))
    best = {name: min(of) for name, of in times.items()}
    for name, of in best.items():
        ratio = best["PyTorch eager, dense"] / of
        print(f"{name:<30} {of * 1e3:8.1f} ms  {BATCH / of:9.0f} tokens/s  {ratio:5.2f} x")


main()
