"""The properties that nanochat-SAE's tests ask of its runtime, asked of `nanoscope.nanochat_sae`.

Its tests use a small torch module; these use a small nanochat. The names with an underscore are those that its tests
look at.
"""

import numpy as np
import pytest
from conftest import GOLDEN, HOOKS

from nanoscope import NanoscopeError
from nanoscope.nanochat_sae import (
    ActivationCollector,
    InterpretableModel,
    SAEConfig,
    TopKSAE,
    create_sae,
    load_model,
    load_saes,
    save_sae,
)

HOOK = HOOKS[0]
IDS = np.array([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])


def random_sae(hook: str = HOOK, **options) -> TopKSAE:
    np.random.seed(0)
    return TopKSAE(SAEConfig(d_in=64, d_sae=256, activation="topk", k=16, hook_point=hook, **options))


@pytest.fixture
def model(golden_model) -> InterpretableModel:
    return InterpretableModel(golden_model, {HOOK: random_sae()}, device="cpu")


def test_a_new_model_tracks_and_steers_nothing(golden_model):
    model = InterpretableModel(golden_model, {HOOK: random_sae()}, device="cpu")

    assert model.model is golden_model
    assert list(model.saes) == [HOOK]
    assert model.device == "cpu"
    assert not model._interpretation_active and not model._steering_active
    assert len(model._hook_handles) == 0


def test_a_forward_pass_without_contexts_gives_the_models_logits(model, golden_model):
    assert np.array_equal(model(IDS), golden_model.run(IDS).logits)
    assert model(IDS).shape == (2, 5, 300)


def test_the_context_attaches_one_hook_per_sae_and_removes_it(model):
    with model.interpretation_enabled():
        assert model._interpretation_active
        assert len(model._hook_handles) == 1
        model(IDS)
        assert len(model._active_features) == 1

    assert not model._interpretation_active
    assert len(model._hook_handles) == len(model._active_features) == 0


def test_features_are_sparse_rows_of_the_last_pass(model):
    with model.interpretation_enabled():
        model(IDS)
        features = model.get_active_features()

        assert isinstance(features, dict) and list(features) == [HOOK]
        assert features[HOOK].shape == (10, 256)
        assert ((features[HOOK] != 0).sum(1) == 16).all()
        model(IDS[:, :2])
        assert model.get_active_features()[HOOK].shape == (4, 256)


def test_features_outside_of_the_context_are_an_error(model):
    with pytest.raises(RuntimeError, match="No features available"):
        model.get_active_features()
    with model.interpretation_enabled():
        model(IDS)
    with pytest.raises(RuntimeError, match="No features available"):
        model.get_active_features()


def test_before_the_first_pass_there_are_no_features(model):
    with model.interpretation_enabled():
        assert model.get_active_features() == {}
        with pytest.raises(ValueError, match="No features for hook point: blocks.9.mlp"):
            model.get_active_features("blocks.9.mlp")


def test_top_k_gives_indices_and_values_the_largest_first(model):
    with model.interpretation_enabled():
        model(IDS)
        dense = model.get_active_features(HOOK)[HOOK]
        indices, values = model.get_active_features(HOOK, top_k=5)[HOOK]
        all_indices, _ = model.get_active_features(HOOK, top_k=1000)[HOOK]

    assert indices.shape == values.shape == (10, 5)
    assert indices.dtype == np.int64
    assert np.array_equal(values, -np.sort(-dense, axis=1)[:, :5])
    assert np.array_equal(values, np.take_along_axis(dense, indices, axis=1))
    assert all_indices.shape == (10, 256)


def test_steering_is_active_inside_its_context_only(model):
    plain = model(IDS)
    with model.steering_enabled({HOOK: (10, 2.0)}):
        assert model._steering_active
        assert len(model._hook_handles) == 1
        assert model(IDS).shape == plain.shape

    assert not model._steering_active
    assert len(model._hook_handles) == 0
    assert np.array_equal(model(IDS), plain)


@pytest.mark.parametrize("strength", [5.0, 0.0])
def test_amplifying_and_suppressing_change_the_output(model, strength):
    plain = model(IDS)
    with model.interpretation_enabled():
        model(IDS)
        feature = int(model.get_active_features(top_k=1)[HOOK][0][0, 0])

    with model.steering_enabled({HOOK: (feature, strength)}):
        steered = model(IDS)

    assert not np.allclose(plain, steered, atol=1e-5)
    assert np.array_equal(model.steer(IDS, (HOOK, feature), strength), steered)
    # The strength matters beyond the loss of the reconstruction error.
    assert not np.allclose(model.steer(IDS, (HOOK, feature), 1.0), steered, atol=1e-5)


def test_an_error_inside_of_the_contexts_leaves_nothing_behind(model):
    with pytest.raises(ValueError, match="from inside"):
        with model.interpretation_enabled(), model.steering_enabled({HOOK: (1, 2.0)}):
            raise ValueError("from inside")

    assert len(model._hook_handles) == 0
    assert not model._interpretation_active and not model._steering_active


def test_several_hook_points_are_tracked_together(golden_model):
    saes = {hook: random_sae(hook) for hook in HOOKS}
    model = InterpretableModel(golden_model, saes)

    with model.interpretation_enabled():
        assert len(model._hook_handles) == 3
        model(IDS)
        assert list(model.get_active_features()) == HOOKS
    assert len(model._hook_handles) == 0


def test_steering_where_no_sae_is_is_an_error_that_enables_nothing(model):
    with pytest.raises(ValueError, match="No SAE for hook point: nowhere"):
        with model.steering_enabled({HOOK: (10, 2.0), "nowhere": (10, 2.0)}):
            pass

    assert not model._steering_active and len(model._hook_handles) == 0


def test_a_feature_out_of_range_is_an_index_error(model):
    for feature in (256, -1):
        with pytest.raises(IndexError, match=f"feature {feature} is out of range, the SAE has 256"):
            model.steer(IDS, (HOOK, feature), 2.0)
    assert not model._steering_active


def test_enabling_twice_is_the_same_as_once(model):
    with model.interpretation_enabled():
        model._enable_interpretation()

        assert model._interpretation_active
        assert len(model._hook_handles) == 1


def test_leaving_an_inner_tracking_context_ends_the_outer_one_too(model):
    with model.interpretation_enabled():
        with model.interpretation_enabled():
            model(IDS)
        assert len(model._hook_handles) == 0


def test_steering_inside_of_tracking_keeps_both(model):
    with model.interpretation_enabled():
        unsteered = model(IDS)
        before = model.get_active_features()[HOOK]
        steered = model.steer(IDS, (HOOK, 3), 4.0)

        assert model._interpretation_active
        # Features are those that arrive at the hook point.
        assert np.array_equal(model.get_active_features()[HOOK], before)
        assert not np.array_equal(steered, unsteered)


def test_steering_inside_of_steering_is_refused(model):
    with model.steering_enabled({HOOK: (1, 2.0)}):
        with pytest.raises(RuntimeError, match="steering is enabled already"):
            model.steer(IDS, (HOOK, 2), 2.0)
        assert model._steering_config == {HOOK: (1, 2.0)}


def test_saes_are_saved_and_loaded_with_their_metadata(tmp_path, capsys):
    sae = random_sae("blocks.2.hook_attn")
    save_sae(sae, sae.config, tmp_path / "a" / "best_model.pt", training_steps=7)

    saes = load_saes(tmp_path)
    some = load_saes(tmp_path, hook_points=["blocks.2.hook_attn"])

    assert list(saes) == list(some) == ["blocks.2.hook_attn"]
    loaded = saes["blocks.2.hook_attn"]
    assert isinstance(loaded, TopKSAE)
    assert loaded.config.to_dict() == {**sae.config.to_dict(), "expansion_factor": 4}
    assert loaded.sae.metadata == {"training_steps": 7}
    for name, weight in sae.state_dict().items():
        assert np.array_equal(loaded.state_dict()[name], weight), name
    assert "Loaded SAE for blocks.2.hook_attn" in capsys.readouterr().out
    with pytest.raises(ValueError, match="SAE directory does not exist"):
        load_saes(tmp_path / "nowhere")


@pytest.mark.parametrize("activation", ["topk", "relu", "gated"])
def test_an_sae_gives_reconstruction_features_and_metrics(activation):
    np.random.seed(1)
    sae = create_sae(SAEConfig(d_in=8, d_sae=32, activation=activation, k=4))
    x = np.random.randn(2, 3, 8).astype(np.float32)

    reconstruction, features, metrics = sae(x)

    assert reconstruction.shape == x.shape and features.shape == (2, 3, 32)
    weights = sae.state_dict()
    assert np.allclose(sae.encode(x), x @ weights["W_enc"] + weights["b_enc"], atol=1e-6)
    assert np.allclose(reconstruction, features @ sae.W_dec + sae.b_dec, atol=1e-5)
    assert np.allclose(sae.decode(features), reconstruction, atol=1e-6)
    assert np.array_equal(sae.get_feature_activations(x), features)
    assert np.isclose(metrics["mse_loss"], np.mean((reconstruction - x) ** 2))
    assert ("l1_loss" in metrics) == (activation != "topk")
    norms = np.linalg.norm(weights["W_dec"], axis=1)
    assert np.allclose(norms, 1, atol=1e-5)


def test_a_configuration_keeps_nine_entries_and_ignores_unknown_ones(golden_model):
    config = SAEConfig.from_dict({"d_in": 4, "unknown": 1, "batch_size": 2})

    assert config.d_sae == 32 and config.batch_size == 2
    assert list(config.to_dict()) == [
        "d_in", "d_sae", "activation", "k", "l1_coefficient", "normalize_decoder", "dtype",
        "hook_point", "expansion_factor",
    ]  # fmt: skip
    of_model = SAEConfig.from_model(golden_model, 2, "mlp", k=8)
    assert (of_model.d_in, of_model.hook_point) == (64, "blocks.2.hook_mlp")
    with pytest.raises(ValueError, match="Unknown activation type"):
        create_sae(SAEConfig(d_in=4, activation="swish"))
    with pytest.raises(AssertionError):
        TopKSAE(SAEConfig(d_in=4, activation="relu"))


def test_activations_are_collected_from_passes_in_the_context():
    model = load_model(GOLDEN / "head")
    with ActivationCollector(model, HOOKS, max_activations=12) as collector:
        model(IDS)
        model(IDS)
    model(IDS)

    found = collector.get_activations()
    assert list(found) == HOOKS
    assert all(rows.shape == (12, 64) for rows in found.values())
    assert np.array_equal(found[HOOK][:2], found[HOOK][10:])
    collector.clear()
    assert collector.get_activations(HOOK)[HOOK].size == 0


def test_activations_are_saved_as_tensors(model, tmp_path):
    torch = pytest.importorskip("torch")
    with ActivationCollector(model, [HOOK], device="cpu", save_path=tmp_path / "new") as collector:
        model(IDS)

    collector.save_activations()

    saved = torch.load(tmp_path / "new" / f"{HOOK.replace('.', '_')}.pt")
    assert np.array_equal(saved.numpy(), collector.get_activations()[HOOK])
    with pytest.raises(NanoscopeError, match="host's memory"):
        ActivationCollector(model, [HOOK], device="cuda")


def test_a_model_has_no_mode_and_stays_on_its_device(model):
    assert model.eval() is model and model.to("cpu") is model
    with pytest.raises(NanoscopeError, match="the model is on cpu"):
        model.to("cuda")
