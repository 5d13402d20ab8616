"""SAELens's own evaluation of the demo's SAEs, in float64.

    python evals.py write
        makes tests/fixtures/evaluate/expected.json
    python evals.py compare RESULT.json TEXT.jsonl --context 256 --batch 8 [--keep-special]
        prints the largest relative difference to RESULT.json, which `nanoscope eval` wrote for TEXT.jsonl

SAELens evaluates models of TransformerLens, which has no nanochat. So `Demo` below computes the demo's
forward pass from its checkpoint and has the three methods of a model that SAELens calls;
the metrics themselves are computed by `sae_lens.evals.run_evals`. SAEBench's `misc_metrics` and
nanochat-SAE's are computed here from their formulas.

Needs torch, sae-lens 6.54 and regex.
"""

import argparse
import json
import math
import pickle
import sys
from pathlib import Path

import regex
import torch
from safetensors.torch import load_file
from sae_lens import TopKSAE, TopKSAEConfig
from sae_lens.evals import get_eval_everything_config, run_evals
from sae_lens.saes.sae import SAEMetadata
from sae_lens.training.activation_scaler import ActivationScaler

ROOT = Path(__file__).parents[3]
DEMO = ROOT / "models" / "demo"
FIXTURE = ROOT / "tests" / "fixtures" / "evaluate"
RTOL = 1e-4
# Sizes of the fixture. The last batch is smaller than the others.
CONTEXT, CONTEXTS, BATCH = 96, 11, 4
NANOCHAT_ROWS = 4096


class Tokenizer:
    """nanochat's tokenizer: merges the pair of lowest rank until none is left."""

    class Unpickler(pickle.Unpickler):
        def find_class(self, module, name):
            return type(name, (), {})

    def __init__(self, path):
        state = Tokenizer.Unpickler(open(path, "rb")).load().__dict__
        self.pattern = regex.compile(state["pat_str"])
        self.ranks = state["mergeable_ranks"]
        self.special = state["special_tokens"]

    def encode(self, text):
        ids = []
        for word in self.pattern.findall(text):
            parts = [bytes([byte]) for byte in word.encode()]
            while len(parts) > 1:
                pairs = [self.ranks.get(a + b, math.inf) for a, b in zip(parts, parts[1:])]
                at = min(range(len(pairs)), key=pairs.__getitem__)
                if pairs[at] == math.inf:
                    break
                parts[at : at + 2] = [parts[at] + parts[at + 1]]
            ids += [self.ranks[part] for part in parts]
        return ids


class Demo:
    """nanochat's model of era E6, with the blocks' outputs as hook points."""

    def __init__(self, folder, dtype):
        (meta,) = folder.glob("meta_*.json")
        self.config = json.loads(meta.read_text())["model_config"]
        (weights,) = folder.glob("model_*.pt")
        self.w = {k: v.to(dtype) for k, v in torch.load(weights, weights_only=True).items()}
        self.dtype = dtype
        self.hooks, self.cache = {}, {}

    def norm(self, x):
        return x / (x.pow(2).mean(-1, keepdim=True) + torch.finfo(torch.float32).eps).sqrt()

    def rope(self, x):
        _, seq, _, width = x.shape
        exponent = torch.arange(0, width, 2, dtype=torch.float32) / width
        angle = torch.outer(torch.arange(seq, dtype=torch.float32), 1.0 / (100000.0**exponent))
        cos, sin = (f(angle)[None, :, None].to(self.dtype) for f in (torch.cos, torch.sin))
        a, b = x[..., : width // 2], x[..., width // 2 :]
        return torch.cat([a * cos + b * sin, b * cos - a * sin], -1)

    def attention(self, layer, x, tokens):
        batch, seq, _ = x.shape
        heads, name = self.config["n_head"], f"transformer.h.{layer}.attn."
        assert heads == self.config["n_kv_head"], "the demo has as many"
        q, k, v = (
            (x @ self.w[f"{name}c_{part}.weight"].T).view(batch, seq, heads, -1) for part in "qkv"
        )
        if f"value_embeds.{layer}.weight" in self.w:
            embedded = self.w[f"value_embeds.{layer}.weight"][tokens].view(v.shape)
            gate = 3 * torch.sigmoid(x[..., :12] @ self.w[f"{name}ve_gate.weight"].T)
            v = v + gate[..., None] * embedded
        q, k = (self.norm(self.rope(part)) * 1.2 for part in (q, k))
        scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(q.shape[-1])
        length = self.config["sequence_len"]
        pattern = self.config["window_pattern"]
        long = layer == self.config["n_layer"] - 1 or pattern[layer % len(pattern)] == "L"
        window = length if long else 128 * math.ceil(math.ceil(length / 4) / 128)
        distance = torch.arange(seq)[:, None] - torch.arange(seq)[None]
        scores = scores.masked_fill((distance < 0) | (distance > window), -math.inf)
        z = torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), v).reshape(batch, seq, -1)
        return z @ self.w[f"{name}c_proj.weight"].T

    def logits(self, tokens):
        w = self.w
        x = self.norm(w["transformer.wte.weight"][tokens])
        gate = torch.sigmoid(x[:, 1:, :24] @ w["smear_gate.weight"].T)
        x = torch.cat([x[:, :1], x[:, 1:] + w["smear_lambda"] * gate * x[:, :-1]], 1)
        first = x
        for layer in range(self.config["n_layer"]):
            x = w["resid_lambdas"][layer] * x + w["x0_lambdas"][layer] * first
            x = x + self.attention(layer, self.norm(x), tokens)
            name = f"transformer.h.{layer}.mlp."
            hidden = torch.relu(self.norm(x) @ w[f"{name}c_fc.weight"].T).square()
            x = x + hidden @ w[f"{name}c_proj.weight"].T
            hook = f"blocks.{layer}.hook_resid_post"
            self.cache[hook] = x
            if hook in self.hooks:
                x = self.hooks[hook](x, hook=None)
            if layer == self.config["n_layer"] // 2:
                back = x
        x = self.norm(x - w["backout_lambda"] * back)
        logits = x @ w["lm_head.weight"].T
        return 15 * torch.tanh(logits[..., : self.config["vocab_size"]] / 15)

    # The methods that SAELens calls.

    def __call__(self, tokens, **_):
        logits = self.logits(tokens)
        log_probabilities = logits[:, :-1].log_softmax(-1)
        return logits, -log_probabilities.gather(-1, tokens[:, 1:, None])[..., 0]

    def run_with_hooks(self, tokens, fwd_hooks, **_):
        self.hooks = dict(fwd_hooks)
        try:
            return self(tokens)
        finally:
            self.hooks = {}

    def run_with_cache(self, tokens, **_):
        return self.logits(tokens), dict(self.cache)


class Store:
    """The contexts in batches, with the interface of SAELens's activation store."""

    def __init__(self, contexts, batch):
        self.contexts, self.context_size = contexts, contexts.shape[1]
        self.store_batch_size_prompts, self.at = batch, 0

    def get_batch_tokens(self, batch):
        self.at += batch
        return self.contexts[self.at - batch : self.at]

    def reset_input_dataset(self):
        self.at = 0


def contexts_of(texts, tokenizer, length):
    ids = []
    for text in texts:
        ids += [tokenizer.special["<|bos|>"], *tokenizer.encode(text)]
    count = len(ids) // length
    return torch.tensor(ids[: count * length]).view(count, length), ids


def load_sae(layer):
    folder = DEMO / "saes" / f"layer_{layer}"
    config = json.loads((folder / "cfg.json").read_text())
    sae = TopKSAE(
        TopKSAEConfig(
            d_in=config["d_in"],
            d_sae=config["d_sae"],
            k=config["k"],
            dtype="float64",
            apply_b_dec_to_input=config["apply_b_dec_to_input"],
            metadata=SAEMetadata(hook_name=config["metadata"]["hook_name"]),
        )
    )
    weights = load_file(folder / "sae_weights.safetensors")
    sae.load_state_dict({name: weight.double() for name, weight in weights.items()})
    return sae.double()


def misc_metrics(sae, features):
    def max_cosines(rows):
        units = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-12)
        cosines = units @ units.T
        return cosines.fill_diagonal_(-math.inf).max(1).values

    features["max_encoder_cosine_sim"] = max_cosines(sae.W_enc.T).tolist()
    features["max_decoder_cosine_sim"] = max_cosines(sae.W_dec).tolist()
    density = torch.tensor(features["feature_density"], dtype=torch.float64)
    share = lambda bound: (density[density > bound].sum() / density.sum()).item()
    return {
        "freq_over_1_percent": (density > 0.01).double().mean().item(),
        "freq_over_10_percent": (density > 0.1).double().mean().item(),
        "normalized_freq_over_1_percent": share(0.01),
        "normalized_freq_over_10_percent": share(0.1),
        "average_max_encoder_cosine_sim": sum(features["max_encoder_cosine_sim"]) / len(density),
        "average_max_decoder_cosine_sim": sum(features["max_decoder_cosine_sim"]) / len(density),
        "frac_alive": (density > 0).double().mean().item(),
    }


def other_metrics(sae, x):
    """The metrics of nanochat-SAE's evaluator, dictionary_learning and sparsify."""
    f = sae.encode(x)
    error = x - sae.decode(f)
    batches = list(zip(x.split(NANOCHAT_ROWS), f.split(NANOCHAT_ROWS)))
    variance = sum(b.var(0).sum() * len(b) for b, _ in batches) / len(x)
    mse = error.square().sum(1).mean()
    score = (1 - mse / variance).item() if variance > 0 else 0.0
    l0 = (f != 0).double().sum(1)
    nanochat = {
        "mse_loss": mse.item(),
        "explained_variance": max(0.0, score),
        "reconstruction_score": score,
        "l0_mean": l0.mean().item(),
        "l0_std": l0.std().item(),
        "l1_mean": f.abs().sum(1).mean().item(),
        "dead_latent_fraction": (f == 0).all(0).double().mean().item(),
        "max_activation": f.max().item(),
        "mean_activation": sum(b[b != 0].mean().item() for _, b in batches) / len(batches),
    }
    x_hat = x - error
    others = {
        "dead": (f == 0).all(0).sum().item(),
        "tokens_counted": len(x),
        "relative_reconstruction_bias": (x_hat.square().sum() / (x * x_hat).sum()).item(),
        "frac_variance_explained": (1 - error.var(0).sum() / x.var(0).sum()).item(),
        "fvu": (error.square().sum() / (x - x.mean(0)).square().sum()).item(),
    }
    return nanochat, others


@torch.no_grad()
def evaluate(model, contexts, layer, batch, special):
    sae = load_sae(layer)
    config = get_eval_everything_config(batch, *[math.ceil(len(contexts) / batch)] * 2)
    metrics, features = run_evals(
        sae, Store(contexts, batch), model, ActivationScaler(), config,
        exclude_special_tokens=special or False,
    )
    # SAELens counts whole batches.
    metrics["token_stats"] = {name: contexts.numel() for name in metrics["token_stats"]}
    metrics["misc_metrics"] = misc_metrics(sae, features)
    kept = ~torch.isin(contexts, torch.tensor(sorted(special), dtype=torch.long))
    hook = sae.cfg.metadata.hook_name
    x = torch.cat([model.run_with_cache(b)[1][hook] for b in contexts.split(batch)])[kept]
    metrics["nanochat_sae"], metrics["others"] = other_metrics(sae, x)
    ce = metrics["model_performance_preservation"]
    metrics["others"]["ce_loss_increase"] = ce["ce_loss_with_sae"] - ce["ce_loss_without_sae"]
    metrics["others"]["frac_recovered"] = ce["ce_loss_score"]
    return metrics, features


def texts_of(path):
    return [json.loads(line)["text"] for line in Path(path).read_text().splitlines()]


def write(model, tokenizer):
    contexts, _ = contexts_of(texts_of(FIXTURE / "stories.jsonl"), tokenizer, CONTEXT)
    contexts = contexts[:CONTEXTS]
    assert len(contexts) == CONTEXTS, "the stories are too short"
    runs = []
    for special in (set(tokenizer.special.values()), set()):
        for layer in range(4):
            metrics, features = evaluate(model, contexts, layer, BATCH, special)
            some = {name: values[:: len(values) // 16] for name, values in features.items()}
            some = {k: [None if math.isnan(v) else v for v in vs] for k, vs in some.items()}
            run = {"layer": layer, "keep_special": not special, "metrics": metrics}
            runs.append({**run, "every_128th_feature": some})
    expected = {"batch_contexts": BATCH, "contexts": contexts.tolist(), "runs": runs}
    text = json.dumps(expected).replace(', {"layer"', ',\n{"layer"').replace("], [", "],\n[")
    (FIXTURE / "expected.json").write_text(text + "\n")


def compare(model, tokenizer, options):
    results = json.loads(Path(options.result).read_text())
    contexts, _ = contexts_of(texts_of(options.text), tokenizer, options.context)
    special = set() if options.keep_special else set(tokenizer.special.values())
    worst = 0.0
    for result in results if isinstance(results, list) else [results]:
        hook = result["nanoscope"]["hook_point"]
        metrics, features = evaluate(
            model, contexts, int(hook.split(".")[1]), options.batch, special
        )
        ours = {**result["eval_result_metrics"], **result["nanoscope"]}
        pairs = [
            (f"{group}.{name}", value, ours[group][name])
            for group, values in metrics.items()
            for name, value in values.items()
        ]
        for name, values in features.items():
            found = [detail[name] for detail in result["eval_result_details"]]
            values = [-1 if math.isnan(value) else value for value in values]
            pairs += [(f"{name}[{at}]", *pair) for at, pair in enumerate(zip(values, found))]
        differences = [(abs(b - a) / max(abs(a), 1e-3), name, a, b) for name, a, b in pairs]
        differences.sort(reverse=True)
        print(hook, len(pairs), "numbers; the largest relative differences:")
        for difference, name, a, b in differences[:4]:
            print(f"  {difference:.1e}  {name}: {a} here, {b} there")
        worst = max(worst, differences[0][0])
    return worst


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("write")
    against = commands.add_parser("compare")
    against.add_argument("result")
    against.add_argument("text")
    against.add_argument("--context", type=int, required=True)
    against.add_argument("--batch", type=int, required=True)
    against.add_argument("--keep-special", action="store_true")
    options = parser.parse_args()

    tokenizer = Tokenizer(DEMO / "tokenizer" / "tokenizer.pkl")
    model = Demo(DEMO / "base_checkpoints" / "d4", torch.float64)
    if options.command == "write":
        write(model, tokenizer)
    elif compare(model, tokenizer, options) > RTOL:
        sys.exit(f"a number differs by more than {RTOL}")


if __name__ == "__main__":
    main()
