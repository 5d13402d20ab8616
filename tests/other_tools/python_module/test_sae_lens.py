"""SAELens and PyTorch side by side on the demo, where they are installed."""

import pytest
from conftest import DEMO

import nanoscope

TEXT = "Once upon a time, there was a little girl named Lily. She loved to play with her dog in the park."
ATOL = 5e-5

torch = pytest.importorskip("torch")
sae_lens = pytest.importorskip("sae_lens")


@pytest.mark.parametrize("layer", range(4))
def test_the_demos_features_are_those_of_sae_lens(demo, layer):
    hook = f"blocks.{layer}.hook_resid_post"
    run = demo.run(TEXT, capture=[hook])
    x = torch.from_dlpack(run.captured[hook])[0]
    folder = DEMO / "saes" / f"layer_{layer}"
    sae = sae_lens.SAE.load_from_disk(folder, device="cpu")

    with torch.no_grad():
        expected = sae.encode(x)
        reconstruction = sae.decode(expected)
    features = torch.from_dlpack(run.features[hook].to_dense()).reshape(expected.shape)

    assert (expected != 0).sum() == 32 * len(x)
    assert torch.equal(features != 0, expected != 0)
    # Activations are up to 60: the tolerance is relative to them.
    torch.testing.assert_close(features, expected, atol=ATOL, rtol=ATOL)
    ours = torch.from_dlpack(nanoscope.load_sae(folder).decode(features))
    torch.testing.assert_close(ours, reconstruction, atol=ATOL, rtol=ATOL)
