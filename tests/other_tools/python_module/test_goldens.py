"""The numbers of nanochat and nanochat-SAE, from the golden files."""

import json

import numpy as np
import pytest
from conftest import CANONICAL, GOLDEN, HOOKS
from safetensors.numpy import load_file

import nanoscope
from nanoscope.nanochat_sae import InterpretableModel, load_saes

ATOL = 5e-5


def close(found, expected, what):
    worst = np.abs(np.asarray(found, np.float64) - expected).max()
    assert worst < ATOL, f"{what}: {worst}"


@pytest.fixture(params=["old", "head"])
def era(request):
    folder = GOLDEN / request.param
    return (
        folder,
        load_file(folder / "expected.safetensors"),
        load_file(folder / "sae_expected.safetensors"),
        json.loads((folder / "manifest.json").read_text()),
    )


def test_logits_and_activations_are_those_of_nanochat(era):
    folder, expected, _, _ = era
    names = [f"blocks.{i}.{hook}" for i in range(4) for hook in ("hook_attn_out", "hook_resid_post")]

    run = nanoscope.load(folder).run(expected["tokens"], capture=names)

    close(run.logits, expected["logits"], "logits")
    for i in range(4):
        close(run.captured[f"blocks.{i}.hook_attn_out"], expected[f"blocks.{i}.attn"], i)
        close(run.captured[f"blocks.{i}.hook_resid_post"], expected[f"blocks.{i}.out"], i)


@pytest.mark.parametrize("kind", ["topk", "relu", "gated"])
def test_features_reconstructions_and_steering_are_those_of_nanochat_sae(era, kind):
    folder, expected, of_saes, manifest = era
    tokens = expected["tokens"]
    saes = load_saes(folder / "saes" / kind)
    model = InterpretableModel(folder, saes)
    assert sorted(saes) == HOOKS

    with model.interpretation_enabled():
        model(tokens)
        found = model.get_active_features()
        ranked = model.get_active_features(top_k=5)

    for hook, sae in saes.items():
        key = f"{kind}/{hook}"
        wanted = of_saes[f"{key}/features"]
        close(found[hook], wanted, f"{key} features")
        assert np.array_equal(found[hook] != 0, wanted != 0), key
        close(ranked[hook][1], of_saes[f"{key}/top5_val"], f"{key} top 5")
        close(sae.decode(found[hook]), of_saes[f"{key}/reconstruction"], f"{key} reconstruction")
        feature = next(sae["feature_idx"] for sae in manifest["saes"] if sae["key"] == key)
        for strength in (0, 2, 5, -1):
            logits = model.steer(tokens, (hook, feature), strength)
            close(logits, of_saes[f"{key}/steer{strength}"], f"{key} steered by {strength}")


def test_the_library_gives_the_same_features_sparse(era):
    folder, expected, of_saes, _ = era
    model = nanoscope.load(folder, folder / "saes" / "topk")
    assert model.hook_points == CANONICAL

    run = model.run(expected["tokens"])

    for hook, canonical in zip(HOOKS, CANONICAL):
        features = run.features[canonical]
        close(features.to_dense(), of_saes[f"topk/{hook}/features"], hook)
        assert features.leading == (2, 16) and features.nnz == 32 * 8
        indices, values = features.top_k(5)
        assert np.array_equal(indices, of_saes[f"topk/{hook}/top5_idx"])
        close(values, of_saes[f"topk/{hook}/top5_val"], hook)
