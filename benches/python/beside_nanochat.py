"""nanochat's own engine and nanoscope, side by side: decoding, prompts, full forwards, loading.

    python benches/python/beside_nanochat.py NANOCHAT [--threads 2] [--model DIR] [--dtype f32]

NANOCHAT is a checkout of nanochat's repository with its requirements installed (torch, filelock, tiktoken,
rustbpe). Without --model the models are the demo and a random one of 12 layers, 768 wide, which is written to a
temporary folder. PyTorch computes in float32, as nanochat does on a CPU; --dtype is the type of
nanoscope's matrices, of the model and of SAEs made here; `--work "decode 1 64"` asks for one figure.

Both have the same threads and take turns, with a pause before each; the median of each counts. The ratio is
nanoscope's speed as a multiple of nanochat's. The SAE of `track` is nanoscope's alone: nanochat runs bare beside
it. That of `encode` is a product, a bias and `topk` in PyTorch. `share` is the speed at which a token of `decode`
reads its matrices, as a part of that at which the same threads read memory.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK = [
    "decode 1 64", "track 1 64", "decode 8 32", "decode 32 16",
    "prefill 64", "prefill 128", "prefill 255", "forward 8 255", "encode 1 24576", "load",
]
LONG = ["prefill 512", "prefill 1024"]
# Threads wait awake for a while after their work, and would slow those of the other side.
PAUSE = 0.3
# Of shorter work a turn has two, of which the second counts: the first wakes the side's own threads.
SHORT = 0.1
# The bytes that are read to measure the memory: many times a cache.
STREAM = 1 << 30


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("nanochat", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--dtype", default="f32")
    parser.add_argument("--work", action="append")
    parser.add_argument("--program", type=Path, help="the bench as built, instead of cargo")
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = os.environ["RAYON_NUM_THREADS"] = str(args.threads)
    # On some machines these are set for older libraries and slow a current one.
    os.environ.pop("OPENBLAS_CORETYPE", None)
    os.environ["NANOCHAT_DTYPE"] = "float32"
    sys.path.insert(0, str(args.nanochat))

    if args.model:
        beside(args, args.model)
        return
    beside(args, ROOT / "models/demo")
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))
        beside(args, Path(folder))


def make(folder: Path) -> None:
    """Writes a random model of 12 layers whose embeddings are bfloat16, as GPUs write them."""
    import torch
    from nanochat.gpt import GPT, GPTConfig

    config = dict(sequence_len=2048, vocab_size=32768, n_layer=12, n_head=6, n_kv_head=6, n_embd=768,
                  window_pattern="SSSL")
    model = GPT(GPTConfig(**config))
    model.init_weights()
    state = {name: weight.clone() for name, weight in model.state_dict().items()}
    for name, weight in state.items():
        if "c_proj" in name:  # zeros would decode the same token whatever is read
            state[name] = torch.randn_like(weight) * 0.02
        if "wte" in name or "value_embeds" in name:
            state[name] = weight.to(torch.bfloat16)
    checkpoint = folder / "base_checkpoints/d12"
    checkpoint.mkdir(parents=True)
    torch.save(state, checkpoint / "model_000000.pt")
    (checkpoint / "meta_000000.json").write_text(json.dumps({"model_config": config}))


class Nanochat:
    def __init__(self, model: Path):
        import torch
        from nanochat.gpt import GPT, GPTConfig

        checkpoint = next((model / "base_checkpoints").iterdir())
        self.file = next(checkpoint.glob("model_*.pt"))
        self.config = json.loads(next(checkpoint.glob("meta_*.json")).read_text())["model_config"]
        with torch.device("meta"):
            self.gpt = GPT(GPTConfig(**self.config))
        self.gpt.to_empty(device="cpu")
        self.gpt.init_weights()
        self.load()
        self.gpt.eval()

    def load(self) -> float:
        import torch

        since = time.perf_counter()
        state = torch.load(self.file, map_location="cpu")
        state = {k: v.float() if v.dtype == torch.bfloat16 else v for k, v in state.items()}
        self.gpt.load_state_dict(state, strict=True, assign=True)
        return time.perf_counter() - since

    def decode(self, rows: int, tokens: int) -> float:
        import torch
        from nanochat.engine import Engine

        class NoSpecialTokens:
            def encode_special(self, _):
                return -1

            def get_bos_token_id(self):
                return -1

        steps = Engine(self.gpt, NoSpecialTokens()).generate(
            prompt(8), num_samples=rows, max_tokens=tokens + 1, temperature=0.0
        )
        next(steps)
        since = time.perf_counter()
        for _ in range(tokens):
            next(steps)
        return time.perf_counter() - since

    def prefill(self, tokens: int) -> float:
        import torch
        from nanochat.engine import KVCache

        config = self.gpt.config
        with torch.inference_mode():
            since = time.perf_counter()
            cache = KVCache(1, config.n_kv_head, tokens, config.n_embd // config.n_head, config.n_layer,
                            "cpu", torch.float32)
            self.gpt.forward(torch.tensor([prompt(tokens)]), kv_cache=cache)[:, -1, :].tolist()
            return time.perf_counter() - since

    def forward(self, rows: int, tokens: int) -> float:
        import torch

        ids = torch.tensor([prompt(tokens)] * rows)
        with torch.inference_mode():
            since = time.perf_counter()
            self.gpt.forward(ids)
            return time.perf_counter() - since

    def encode(self, rows: int, d_sae: int) -> float:
        import torch

        width = self.config["n_embd"]
        if getattr(self, "w_enc", torch.empty(0, 0)).shape != (width, d_sae):
            self.w_enc, self.b_enc = torch.randn(width, d_sae) * 0.3, torch.zeros(d_sae)
        x = torch.randn(rows, width)
        with torch.inference_mode():
            since = time.perf_counter()
            values, features = (x @ self.w_enc + self.b_enc).topk(32)
            values.tolist(), features.tolist()
            return time.perf_counter() - since

    def __call__(self, work: str) -> float:
        name, *numbers = work.split()
        return getattr(self, "decode" if name == "track" else name)(*map(int, numbers))


class Nanoscope:
    def __init__(self, model: Path, dtype: str, program: Path | None):
        bench = [program] if program else ["cargo", "bench", "--quiet", "--bench", "beside_nanochat", "--"]
        command = [*map(str, bench), str(model), dtype]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, work: str) -> float:
        self.process.stdin.write(work + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())


def prompt(tokens: int) -> list[int]:
    return [1 + at * 7 % 1000 for at in range(tokens)]


def turn(side: Nanochat | Nanoscope, work: str) -> float:
    time.sleep(PAUSE)
    seconds = side(work)
    return seconds if seconds > SHORT else side(work)


def beside(args: argparse.Namespace, model: Path) -> None:
    import torch

    torch.set_num_threads(args.threads)
    theirs, ours = Nanochat(model), Nanoscope(model, args.dtype, args.program)
    config = theirs.config
    print(f"{config['n_layer']} layers, {config['n_embd']} wide, {args.dtype}, {args.threads} thread(s)")
    work = args.work or WORK + (LONG if config["sequence_len"] >= 1024 else [])
    for what in work:
        ours(what), theirs(what)
        turns = [(turn(ours, what), turn(theirs, what)) for _ in range(args.turns)]
        mine, other = (statistics.median(side) for side in zip(*turns))
        print(f"  {what:<16} {mine * 1e3:9.2f} ms {other * 1e3:9.2f} ms   ratio {other / mine:5.2f}", flush=True)
    if "decode 1 64" in work:
        share(ours, args.turns)
    ours.process.stdin.close()
    ours.process.wait()


def share(ours: Nanoscope, turns: int) -> None:
    weights = ours("weights")
    ours(f"stream {STREAM}")
    times = [(turn(ours, "decode 1 64") / 64, turn(ours, f"stream {STREAM}")) for _ in range(turns)]
    token, stream = (statistics.median(side) for side in zip(*times))
    decoded, streamed = weights / token / 1e9, STREAM / stream / 1e9
    print(f"  share            {decoded:9.1f} GB/s {streamed:7.1f} GB/s   ratio {decoded / streamed:5.2f}", flush=True)


main()
