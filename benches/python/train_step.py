"""One training step in PyTorch eager and in nanoscope, side by side.

    python benches/python/train_step.py STORE KEY [--threads N] [--method METHOD]

STORE is a folder of activations:

    nanoscope collect --text TEXT --hook blocks.2.hook_resid_post --out STORE
    python benches/python/train_step.py STORE blocks.2.hook_resid_post

METHOD is top-k, relu, jump-relu or gated; without it, all four. Both sides take the same activations, sizes, loss,
Adam, clipping and unit decoder rows, and start from the same initialization. They take turns, and the fastest step
of each counts: machines are noisy. For top-k, PyTorch's step is written twice, with a dense decoder as its users
write it and with `embedding_bag`, which reads active rows only. The ratio is to the faster one.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

D_SAE, K, BATCH, STEPS, TURNS = 2048, 32, 4096, 6, 3
L1, BANDWIDTH = 1.0, 0.05
parser = argparse.ArgumentParser()
parser.add_argument("store", type=Path)
parser.add_argument("key")
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--method", choices=["top-k", "relu", "jump-relu", "gated"])
args = parser.parse_args()

os.environ["OMP_NUM_THREADS"] = str(args.threads)
import torch
from safetensors.torch import load_file, save_file


class Jump(torch.autograd.Function):
    """JumpReLU and its count, with the straight-through estimate of Rajamanoharan et al. 2024, section 3."""

    @staticmethod
    def forward(ctx, pre, threshold):
        open = pre > threshold
        ctx.save_for_backward(pre, threshold, open)
        return pre.relu() * open, open.to(pre.dtype)

    @staticmethod
    def backward(ctx, by_value, by_count):
        pre, threshold, open = ctx.saved_tensors
        near = ((pre - threshold).abs() <= BANDWIDTH / 2).to(pre.dtype)
        by_threshold = -(near * (by_value * threshold + by_count) / BANDWIDTH).sum(0)
        return by_value * (open & (pre > 0)), by_threshold


class Step:
    """One SAE and its Adam; a call is one step and gives the loss."""

    def __init__(self, d_in: int, method: str):
        torch.manual_seed(0)
        self.method = method
        decoder = torch.nn.functional.normalize(torch.randn(D_SAE, d_in), dim=1)
        parameter = torch.nn.Parameter
        self.w_enc = parameter(decoder.T.contiguous())
        self.w_dec = parameter(decoder)
        self.b_enc = parameter(torch.zeros(D_SAE))
        self.b_dec = parameter(torch.zeros(d_in))
        self.parameters = [self.w_enc, self.b_enc, self.w_dec, self.b_dec]
        if method == "jump-relu":
            self.log_threshold = parameter(torch.full((D_SAE,), 0.001).log())
            self.parameters.append(self.log_threshold)
        if method == "gated":
            self.magnitude, self.b_mag = parameter(torch.zeros(D_SAE)), parameter(torch.zeros(D_SAE))
            self.parameters += [self.magnitude, self.b_mag]
        self.adam = torch.optim.Adam(self.parameters, lr=3e-4)

    def loss(self, x: torch.Tensor) -> torch.Tensor:
        def squared(decoded, b_dec=self.b_dec):
            return (decoded + b_dec - x).square().sum(1).mean()

        if self.method == "jump-relu":
            pre = x @ self.w_enc + self.b_enc
            features, count = Jump.apply(pre, self.log_threshold.exp())
            sparsity = (count.sum(1).mean() / K - 1).square()
            return squared(features @ self.w_dec) + sparsity
        product = (x - self.b_dec) @ self.w_enc
        pre = product + self.b_enc
        if self.method == "relu":
            features = pre.relu()
            sparsity = (features * self.w_dec.norm(dim=1)).sum(1).mean()
            return squared(features @ self.w_dec) + L1 * sparsity
        if self.method == "gated":
            features = (product * self.magnitude.exp() + self.b_mag).relu() * (pre > 0)
            gate, frozen = pre.relu(), self.w_dec.detach()
            sparsity = (gate * frozen.norm(dim=1)).sum(1).mean()
            aux = squared(gate @ frozen, self.b_dec.detach())
            return squared(features @ self.w_dec) + L1 * sparsity + aux
        values, indices = pre.topk(K, dim=1, sorted=False)
        values = values.relu()
        if self.method == "top-k, embedding_bag":
            return squared(
                torch.nn.functional.embedding_bag(indices, self.w_dec, per_sample_weights=values, mode="sum")
            )
        return squared(torch.zeros_like(pre).scatter(1, indices, values) @ self.w_dec)

    def __call__(self, x: torch.Tensor) -> float:
        loss = self.loss(x)
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


def ours(method: str, activations: Path) -> float:
    command = ["cargo", "bench", "--quiet", "--workspace", "--bench", "train_step", "--"]
    command += [str(activations), args.key, str(STEPS), method]
    env = {**os.environ, "RAYON_NUM_THREADS": str(args.threads)}
    out = subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout
    return json.loads(out)["fastest_step_s"]


def compare(method: str, x: torch.Tensor, activations: Path) -> None:
    forms = ["top-k, dense", "top-k, embedding_bag"] if method == "top-k" else [method]
    steps = {form: Step(x.shape[1], form) for form in forms}
    times: dict[str, list[float]] = {}
    for _ in range(TURNS):
        for form, step in steps.items():
            times.setdefault(f"PyTorch eager, {form}", []).append(fastest(step, x))
        times.setdefault(f"nanoscope, {method}", []).append(ours(method, activations))
    best = {name: min(of) for name, of in times.items()}
    torch_best = min(of for name, of in best.items() if name.startswith("PyTorch"))
    for name, of in best.items():
        print(f"{name:<38} {of * 1e3:8.1f} ms  {BATCH / of:9.0f} tokens/s  {torch_best / of:5.2f} x", flush=True)


def main() -> None:
    torch.set_num_threads(args.threads)
    shards = sorted(args.store.glob("shard-*.safetensors"))
    if not shards:
        parser.error(f"{args.store} has no shards of activations")
    x = torch.cat([load_file(shard)[args.key] for shard in shards]).float()
    if len(x) < 2 * BATCH:
        parser.error(f"{args.store} has {len(x)} rows, but two batches of {BATCH} are needed: collect more text")
    with tempfile.TemporaryDirectory() as folder:
        activations = Path(folder, "activations.safetensors")
        save_file({args.key: x}, activations)
        x *= x.shape[1] ** 0.5 / x.norm(dim=1).mean()
        for method in [args.method] if args.method else ["top-k", "relu", "jump-relu", "gated"]:
            compare(method, x, activations)


main()
