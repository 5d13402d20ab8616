"""SAEs with nanochat-SAE's methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nanoscope import _nanoscope
from nanoscope._errors import NanoscopeError
from nanoscope.nanochat_sae._config import SAEConfig
from nanoscope.nanochat_sae._tensors import floats, like


class BaseSAE:
    """An SAE with nanochat-SAE's methods. `sae` is the `nanoscope.Sae` that computes."""

    activation: str | None = None

    def __init__(self, config: SAEConfig, *, _sae: _nanoscope.Sae | None = None) -> None:
        if _sae is None and self.activation is not None:
            assert config.activation == self.activation, f"not a {self.activation} configuration"
        self.config = config
        self.sae = _sae if _sae is not None else _native(config, _random(config))
        self._weights: dict[str, np.ndarray] | None = None

    def state_dict(self) -> dict[str, np.ndarray]:
        """The weights: `W_enc` [d_in, d_sae], `b_enc` [d_sae], `W_dec` [d_sae, d_in], `b_dec` [d_in] and, of a gated
        SAE, `W_gate` [d_in, d_sae] and `b_gate` [d_sae]."""
        if self._weights is None:
            self._weights = self.sae.weights()
            for weight in self._weights.values():
                weight.flags.writeable = False
        return dict(self._weights)

    def load_state_dict(self, weights: Mapping[str, Any]) -> None:
        """Replaces the weights; a missing or unknown one is an error."""
        self.sae, self._weights = _native(self.config, weights), None

    def __getattr__(self, name: str) -> np.ndarray:
        if name in ("W_enc", "b_enc", "W_dec", "b_dec", "W_gate", "b_gate"):
            weights = self.state_dict()
            if name in weights:
                return weights[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def to(self, device: Any) -> BaseSAE:
        """The SAE; it stays on the device that it was loaded on."""
        return self

    def eval(self) -> BaseSAE:
        """The SAE."""
        return self

    def encode(self, x: Any) -> Any:
        """The pre-activations [..., d_sae] of `x` [..., d_in]: `x @ W_enc + b_enc`."""
        weights = self.state_dict()
        return like(x, floats(x) @ weights["W_enc"] + weights["b_enc"])

    def decode(self, features: Any) -> Any:
        """The activations [..., d_in] of `features` [..., d_sae]."""
        return like(features, self.sae.decode(features))

    def get_feature_activations(self, x: Any) -> Any:
        """The features [..., d_sae] of `x` [..., d_in], zeros included."""
        return like(x, _dense(self.sae.encode(x)))

    def forward(self, x: Any) -> tuple[Any, Any, dict[str, Any]]:
        """The reconstruction [..., d_in], the features [..., d_sae] and the metrics of `x` [..., d_in]."""
        values = floats(x)
        sparse = self.sae.encode(values)
        reconstruction = self.sae.decode(sparse)
        features = _dense(sparse)
        mse = float(np.mean((reconstruction - values) ** 2))
        active = features != 0
        if self.config.activation == "gated":
            weights = self.state_dict()
            active = values @ weights["W_gate"] + weights["b_gate"] > 0
        l0 = float(active.sum(-1).mean())
        metrics = {"mse_loss": mse, "l0": l0, "total_loss": mse}
        if self.config.activation != "topk":
            l1 = l0 if self.config.activation == "gated" else float(np.abs(features).sum(-1).mean())
            metrics["l1_loss"] = l1
            metrics["total_loss"] = mse + self.config.l1_coefficient * l1
        scalars = {key: like(x, np.array(value, np.float32)) for key, value in metrics.items()}
        return like(x, reconstruction), like(x, features), scalars

    __call__ = forward

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.config!r})"


class TopKSAE(BaseSAE):
    """The k largest pre-activations of each row, whatever their sign."""

    activation = "topk"


class ReLUSAE(BaseSAE):
    """The positive pre-activations."""

    activation = "relu"


class GatedSAE(BaseSAE):
    """The pre-activations whose gate is open."""

    activation = "gated"


_CLASSES: dict[str, type[BaseSAE]] = {"topk": TopKSAE, "relu": ReLUSAE, "gated": GatedSAE}


def create_sae(config: SAEConfig) -> BaseSAE:
    """A new SAE with random weights."""
    if config.activation not in _CLASSES:
        raise NanoscopeError(f"Unknown activation type: {config.activation}")
    return _CLASSES[config.activation](config)


def native_of(sae: Any) -> _nanoscope.Sae:
    """The SAE that computes."""
    return sae.sae if isinstance(sae, BaseSAE) else sae


def wrapped(sae: _nanoscope.Sae, hook_point: str) -> BaseSAE:
    """A loaded SAE in the class of its activation; one that nanochat-SAE does not have is a `BaseSAE`."""
    kind = sae.config["architecture"]["type"]
    activation = {"signed_topk": "topk", "relu": "relu", "signed_gated": "gated"}.get(kind, kind)
    config = SAEConfig(
        d_in=sae.d_in,
        d_sae=sae.d_sae,
        activation=activation,
        k=sae.config["architecture"].get("k") or 64,
        hook_point=hook_point,
        expansion_factor=sae.d_sae // sae.d_in,
    )
    return _CLASSES.get(activation, BaseSAE)(config, _sae=sae)


def _dense(features: _nanoscope.Features) -> np.ndarray:
    """The features with the zeros: [..., d_sae], as the activations were [..., d_in]."""
    return features.to_dense().reshape(*features.leading, features.shape[1])


def _native(config: SAEConfig, weights: Mapping[str, Any]) -> _nanoscope.Sae:
    kind = {"topk": "signed_topk", "relu": "relu", "gated": "signed_gated"}[config.activation]
    architecture: dict[str, Any] = {"type": kind}
    if kind == "signed_topk":
        architecture["k"] = config.k
    of_sae = {"d_in": config.d_in, "d_sae": config.d_sae, "architecture": architecture}
    return _nanoscope.Sae.from_weights(dict(weights), of_sae, hook_point=config.hook_point)


def _random(config: SAEConfig) -> dict[str, np.ndarray]:
    """Weights as nanochat-SAE draws them: uniform in ±sqrt(3 / columns), biases 0. The random numbers are NumPy's, so
    they follow `numpy.random.seed`."""

    def uniform(rows: int, columns: int) -> np.ndarray:
        bound = (3 / columns) ** 0.5
        return np.random.uniform(-bound, bound, (rows, columns)).astype(np.float32)

    d_in, d_sae = config.d_in, config.d_sae
    assert d_sae is not None
    weights = {
        "W_enc": uniform(d_in, d_sae),
        "b_enc": np.zeros(d_sae, np.float32),
        "W_dec": uniform(d_sae, d_in),
        "b_dec": np.zeros(d_in, np.float32),
    }
    if config.activation == "gated":
        weights["W_gate"] = uniform(d_in, d_sae)
        weights["b_gate"] = np.zeros(d_sae, np.float32)
    if config.normalize_decoder:
        norms = np.linalg.norm(weights["W_dec"], axis=1, keepdims=True)
        weights["W_dec"] /= np.maximum(norms, 1e-12)
    return weights
