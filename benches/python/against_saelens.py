"""SAELens's top-k trainer and nanoscope's on the same activations with equal settings.

    python benches/python/against_saelens.py ACTIVATIONS.safetensors KEY NANOSCOPE [STEPS]

ACTIVATIONS is a file with a tensor KEY of activations, `[rows, d_in]`. The last tenth of the rows is held out.
Equal: d_sae, k, steps, batch, Adam at a constant rate, no clipping, the weight of the auxiliary loss and when a
feature counts as dead. Explained variance is `1 - E|x - x^|^2 / (E|x|^2 - |E x|^2)` on the held-out rows, both
SAEs being run by sae-lens; dead features fire on none of them.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from sae_lens import SAE
from sae_lens.config import SAETrainerConfig
from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
from sae_lens.training.sae_trainer import SAETrainer

D_SAE, K, BATCH, LR, DEAD_WINDOW = 2048, 32, 4096, 3e-4, 100


def batches(x: torch.Tensor):
    generator = torch.Generator().manual_seed(0)
    while True:
        order = torch.randperm(len(x), generator=generator)
        for at in range(0, len(x) - BATCH + 1, BATCH):
            yield x[order[at : at + BATCH]]


def theirs(x: torch.Tensor, steps: int):
    # SAELens folds its scale on save, as nanoscope does.
    config = TopKTrainingSAEConfig(
        d_in=x.shape[1], d_sae=D_SAE, k=K, aux_loss_coefficient=1.0,
        normalize_activations="none", apply_b_dec_to_input=True,
    )
    torch.manual_seed(0)
    sae = TopKTrainingSAE(config)
    scale = x.shape[1] ** 0.5 / x.norm(dim=1).mean()
    trainer = SAETrainer(
        SAETrainerConfig(
            total_training_samples=steps * BATCH, train_batch_size_samples=BATCH, lr=LR, lr_end=LR,
            dead_feature_window=DEAD_WINDOW, n_checkpoints=0,
        ),
        sae,
        batches(x * scale),
    )
    return trainer.fit(), float(scale)


def ours(train: Path, key: str, nanoscope: str, steps: int, out: Path):
    command = [nanoscope, "train", "--activations", f"{train}:{key}", "--hook", key, "--out", str(out)]
    config = out.parent / "run.toml"
    config.write_text(
        f"""
[recipe]
d-sae = {D_SAE}
steps = {steps}
batch = {BATCH}
[recipe.method]
architecture = "top-k"
k = {K}
aux-k = {{ coefficient = 1.0 }}
[recipe.optimizer]
lr = {LR}
warmup-steps = 0
decay-steps = 0
clip = 0.0
[recipe.dead]
window-steps = {DEAD_WINDOW}
"""
    )
    subprocess.run([*command, "--config", str(config)], check=True)
    return SAE.load_from_disk(str(out / key / "final"))


@torch.no_grad()
def measure(sae, x: torch.Tensor, scale: float) -> dict[str, float]:
    errors, fired = 0.0, torch.zeros(D_SAE)
    for batch in x.split(BATCH):
        features = sae.encode(batch * scale)
        errors += (sae.decode(features) / scale - batch).double().square().sum().item()
        fired += (features > 0).sum(0)
    variance = (x.double().square().sum(1).mean() - x.double().mean(0).square().sum()).item()
    return {
        "explained_variance": 1 - errors / len(x) / variance,
        "l0": (fired.sum() / len(x)).item(),
        "dead": int((fired == 0).sum()),
    }


def main() -> None:
    path, key, nanoscope = sys.argv[1:4]
    steps = int(sys.argv[4]) if len(sys.argv) > 4 else 500
    x = load_file(path)[key].float()
    x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(1))]
    held_out, x = x[: len(x) // 10].contiguous(), x[len(x) // 10 :].contiguous()
    with tempfile.TemporaryDirectory() as folder:
        train = Path(folder) / "train.safetensors"
        save_file({key: x}, train)
        mine = ours(train, key, nanoscope, steps, Path(folder) / "run")
    other, scale = theirs(x, steps)
    found = {
        "nanoscope": measure(mine, held_out, 1.0),
        "SAELens": measure(other, held_out, scale),
    }
    print(json.dumps(found, indent=2))


main()
