"""PyTorch side by side, where it is installed."""

import numpy as np
import pytest
from conftest import GOLDEN, HOOKS

import nanoscope
from nanoscope.nanochat_sae import InterpretableModel, load_saes

torch = pytest.importorskip("torch")

SAE = GOLDEN / "head/saes/topk/blocks_1_hook_resid_post/best_model.pt"


def test_arrays_become_tensors_in_the_same_memory(golden_model):
    logits = golden_model.run([1, 2, 3]).logits

    for tensor in (torch.from_dlpack(logits), torch.from_numpy(logits)):
        tensor[0, 0, 0] = 42.0
        assert logits[0, 0, 0] == 42.0
        logits[0, 0, 0] = 0.0
        assert tensor[0, 0, 0] == 0.0


def test_tensors_are_read_from_any_layout_and_with_gradients():
    sae = nanoscope.load_sae(SAE)
    x = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    expected = sae.encode(x.numpy()).to_dense()

    for same in (x, x.double(), x.t().contiguous().t(), x.clone().requires_grad_()):
        assert np.array_equal(sae.encode(same).to_dense(), expected)
    with pytest.raises(nanoscope.NanoscopeError, match="NumPy cannot read this tensor"):
        sae.encode(x.bfloat16())


def test_features_are_those_of_torch_with_the_same_weights():
    sae = nanoscope.load_sae(SAE)
    weights = {name: torch.from_numpy(weight) for name, weight in sae.weights().items()}
    x = torch.randn(64, 64, generator=torch.Generator().manual_seed(1))

    dense = x @ weights["W_enc"] + weights["b_enc"]
    values, indices = dense.topk(8, dim=1)
    expected = torch.zeros_like(dense).scatter_(1, indices, values)

    found = torch.from_dlpack(sae.encode(x).to_dense())
    torch.testing.assert_close(found, expected, atol=5e-5, rtol=0)
    torch.testing.assert_close(
        torch.from_dlpack(sae.decode(found)),
        expected @ weights["W_dec"] + weights["b_dec"],
        atol=5e-5,
        rtol=0,
    )


def test_a_script_for_nanochat_sae_gets_torch_tensors(tokens):
    ids = torch.from_numpy(tokens)
    model = InterpretableModel(GOLDEN / "head", load_saes(GOLDEN / "head/saes/relu"), device="cpu")

    with torch.no_grad(), model.interpretation_enabled():
        logits = model(ids)
        features = model.get_active_features()
        indices, values = model.get_active_features(HOOKS[0], top_k=3)[HOOKS[0]]

    assert all(isinstance(x, torch.Tensor) for x in (logits, indices, values, *features.values()))
    active = (features[HOOKS[0]] != 0).float().sum(dim=-1)
    assert active.shape == (32,)
    counts = (features[HOOKS[0]] != 0).sum(dim=0)
    assert torch.topk(counts, k=3).indices.shape == (3,)
    steered = model.steer(ids, (HOOKS[0], int(indices[0, 0])), 5.0)
    assert not torch.allclose(steered, logits, atol=1e-5)
    # torch's files of our writing are read by the reference loader's own call.
    state = torch.load(SAE, weights_only=True)["sae_state_dict"]
    assert set(state) == {"W_enc", "b_enc", "W_dec", "b_dec"}
