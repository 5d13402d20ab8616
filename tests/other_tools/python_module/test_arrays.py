"""NumPy, DLPack and SciPy in and out."""

import numpy as np
import pytest
import scipy.sparse
from conftest import GOLDEN

import nanoscope

HOOK = "blocks.1.hook_resid_post"


@pytest.fixture(scope="module")
def sae():
    return nanoscope.load_sae(GOLDEN / "head/saes/topk/blocks_1_hook_resid_post/best_model.pt")


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).standard_normal((2, 3, 64), np.float32)


class Tensor:
    """A tensor of another library: it has DLPack and nothing else."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def test_features_are_a_csr_matrix_of_scipy_without_a_copy(sae, x):
    features = sae.encode(x)
    matrix = scipy.sparse.csr_matrix(
        (features.data, features.indices, features.indptr), shape=features.shape
    )

    assert matrix.shape == (6, 128) and matrix.nnz == features.nnz == 6 * 8
    assert np.array_equal(matrix.toarray(), features.to_dense())
    assert np.shares_memory(matrix.data, features.data)
    assert np.shares_memory(features.tocsr().indices, features.indices)
    assert matrix.has_canonical_format
    assert features.data is features.data
    dtypes = (features.data.dtype, features.indices.dtype, features.indptr.dtype)
    assert dtypes == (np.float32, np.int32, np.int32)


def test_a_ranking_has_the_zeros_between_positive_and_negative_values(sae, x):
    features = sae.encode(x)
    dense = features.to_dense()

    indices, values = features.top_k(1000)

    assert indices.shape == (6, 128)
    assert np.array_equal(values, -np.sort(-dense, axis=1))
    assert np.array_equal(np.sort(indices, axis=1), np.tile(np.arange(128), (6, 1)))
    assert np.array_equal(np.take_along_axis(dense, indices, 1), values)
    strongest = features.strongest(-1, 3)
    assert [index for index, _ in strongest] == list(indices[5, :3])
    with pytest.raises(IndexError):
        features.strongest(6)


def test_lists_other_dtypes_orders_and_foreign_tensors_are_read_alike(sae, x):
    expected = sae.encode(x).to_dense()

    for same in (
        x.tolist(),
        x.astype(np.float64),
        np.asfortranarray(x),
        x[::-1][::-1],
        Tensor(x),
        x.astype(">f4"),
    ):
        assert np.array_equal(sae.encode(same).to_dense(), expected)
    assert sae.encode(x).leading == (2, 3)
    assert sae.encode(x[0, 0]).leading == ()
    assert np.array_equal(np.asarray(sae.encode(x)), expected)
    assert np.asarray(sae.encode(x), dtype=np.float64).dtype == np.float64


def test_no_activations_have_no_features(sae):
    features = sae.encode(np.empty((2, 0, 64)))

    assert features.shape == (0, 128) and features.leading == (2, 0) and len(features) == 0
    assert features.to_dense().shape == (0, 128) and features.top_k(3)[0].shape == (0, 3)
    assert sae.decode(features).shape == (2, 0, 64)
    assert sae.decode(np.empty((0, 128))).shape == (0, 64)


def test_decoding_takes_sparse_and_dense_features(sae, x):
    features = sae.encode(x)

    sparse = sae.decode(features)
    dense = sae.decode(features.to_dense().reshape(2, 3, 128))

    assert sparse.shape == dense.shape == x.shape and sparse.dtype == np.float32
    weights = sae.weights()
    by_hand = features.to_dense() @ weights["W_dec"] + weights["b_dec"]
    assert np.allclose(sparse.reshape(6, 64), by_hand, atol=1e-4)
    assert np.allclose(sparse, dense, atol=1e-4)


def test_wrong_shapes_and_kinds_are_refused(sae, x):
    refused = [
        (lambda: sae.encode(x[..., :63]), "x has shape [2, 3, 63], its last axis must have 64"),
        (lambda: sae.encode(1.0), "x has shape []"),
        (lambda: sae.encode(["a"]), "an array of real numbers is needed"),
        (lambda: sae.encode(x + 1j), "an array of real numbers is needed, found complex64"),
        (lambda: sae.encode(x * np.inf), "the pre-activation of feature 0 in row 0 is"),
        (lambda: sae.decode(x), "features has shape [2, 3, 64], its last axis must have 128"),
        (lambda: sae.decode(sae.encode(x), x[0]), "x has 3 rows, the features 6"),
    ]
    for call, text in refused:
        with pytest.raises(nanoscope.NanoscopeError) as caught:
            call()
        assert text in str(caught.value)


def test_token_ids_are_whole_numbers_in_one_or_two_axes(golden_model):
    ids = [5, 6, 7]
    logits = golden_model.run(ids).logits
    for same in (np.array(ids, np.int32), np.array([ids], np.uint8), Tensor(np.array(ids))):
        assert np.array_equal(golden_model.run(same).logits, logits)
    refused = [
        ([1.5], "token ids are whole numbers, found float64"),
        ([-1], "-1 is not the id of a token"),
        ([2**40], "is not the id of a token"),
        ([[[1]]], "token ids have shape [1, 1, 1]"),
        ([], "no tokens"),
        ([300], "300"),
    ]
    for wrong, text in refused:
        with pytest.raises(nanoscope.NanoscopeError) as caught:
            golden_model.run(wrong)
        assert text in str(caught.value), str(caught.value)


def test_an_sae_of_arrays_computes_what_its_formula_says(golden_model):
    rng = np.random.default_rng(3)
    weights = {
        "W_enc": rng.standard_normal((64, 32), np.float32),
        "b_enc": rng.standard_normal(32, np.float32),
        "W_dec": rng.standard_normal((32, 64), np.float32),
        "b_dec": np.zeros(64, np.float32),
    }
    config = {"d_in": 64, "d_sae": 32, "architecture": {"type": "relu"}}
    sae = nanoscope.Sae.from_weights(weights, config, hook_point=HOOK)

    run = golden_model.with_saes(sae).run([1, 2, 3], capture=[HOOK])

    x = run.captured[HOOK].reshape(3, 64)
    expected = np.maximum(x @ weights["W_enc"] + weights["b_enc"], 0)
    assert np.allclose(run.features[HOOK].to_dense(), expected, atol=1e-3)
    assert sae.config["d_out"] == 64 and sae.path is None
    for name, weight in sae.weights().items():
        assert np.array_equal(weight, weights[name]), name

    for wrong, text in [
        ({k: v for k, v in weights.items() if k != "b_dec"}, "`weights` has no `b_dec`"),
        (weights | {"W_encoder": weights["W_enc"]}, "unknown weight `W_encoder`"),
        (weights | {"W_enc": weights["W_dec"]}, "has shape [32, 64], expected [64, 32]"),
        (weights | {"b_enc": weights["W_enc"]}, "b_enc has shape [64, 32], it must have 1 axes"),
        (weights | {"threshold": weights["b_enc"]}, "a relu SAE has no"),
    ]:
        with pytest.raises(nanoscope.NanoscopeError) as caught:
            nanoscope.Sae.from_weights(wrong, config)
        assert text in str(caught.value), str(caught.value)
    with pytest.raises(nanoscope.NanoscopeError, match="unknown field `d_hidden`"):
        nanoscope.Sae.from_weights(weights, config | {"d_hidden": 3})


@pytest.mark.parametrize("form", ["nanochat-sae", "saelens", "nanoscope-sae"])
def test_what_is_saved_reads_back(sae, x, tmp_path, form):
    if form == "saelens":
        config = {"d_in": 64, "d_sae": 128, "architecture": {"type": "relu"}}
        sae = nanoscope.Sae.from_weights(sae.weights(), config, hook_point=HOOK)
    path = tmp_path / ("sae.pt" if form == "nanochat-sae" else "sae")

    sae.save(path, form, metadata={"training_steps": 3})

    loaded = nanoscope.load_sae(path)
    assert (loaded.hook_point, loaded.d_sae) == (HOOK, 128)
    assert loaded.metadata["training_steps"] == 3
    assert np.array_equal(loaded.encode(x).to_dense(), sae.encode(x).to_dense())
    with pytest.raises(nanoscope.NanoscopeError, match="unknown format `pickle`"):
        sae.save(path, "pickle")
