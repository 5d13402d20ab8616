"""nanochat-SAE's names, arguments and shapes, computed by nanoscope.

A script for nanochat-SAE runs after its imports are changed:

    from nanoscope.nanochat_sae import InterpretableModel, load_saes    # was: from sae import ...

The model is a `nanoscope.Model`, or the path of a checkpoint, in place of a torch module. Token ids and activations are
NumPy arrays, lists, or tensors of any library with DLPack. Where torch tensors come in, torch tensors come out, in the
same memory as the arrays that were computed.

Contexts behave as nanochat-SAE's do, with three exceptions where its own behaviour loses results in silence: leaving
steering does not end tracking, a second `steering_enabled` inside another is an error, and nothing stays enabled after
an error in the middle of enabling.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from nanoscope import _nanoscope
from nanoscope._errors import FeatureIndexError, NanoscopeError

__all__ = [
    "ActivationCollector",
    "BaseSAE",
    "GatedSAE",
    "InterpretableModel",
    "ReLUSAE",
    "SAEConfig",
    "TopKSAE",
    "create_sae",
    "load_model",
    "load_saes",
    "save_sae",
]

_SAVED = (
    "d_in",
    "d_sae",
    "activation",
    "k",
    "l1_coefficient",
    "normalize_decoder",
    "dtype",
    "hook_point",
    "expansion_factor",
)


@dataclass
class SAEConfig:
    """The configuration of an SAE. Fields about training are kept and have no effect here."""

    d_in: int
    d_sae: int | None = None
    activation: str = "topk"
    k: int = 64
    l1_coefficient: float = 1e-3
    normalize_decoder: bool = True
    dtype: str = "bfloat16"
    hook_point: str = "blocks.0.hook_resid_post"
    expansion_factor: int = 8
    num_activations: int = 10_000_000
    batch_size: int = 4096
    num_epochs: int = 10
    learning_rate: float = 3e-4
    warmup_steps: int = 1000
    dead_latent_threshold: float = 0.001
    resample_interval: int = 25_000
    eval_every: int = 1000
    save_every: int = 10_000

    def __post_init__(self) -> None:
        if self.d_sae is None:
            self.d_sae = self.d_in * self.expansion_factor

    def to_dict(self) -> dict[str, Any]:
        """The nine entries that a checkpoint holds."""
        return {key: value for key, value in asdict(self).items() if key in _SAVED}

    @classmethod
    def from_dict(cls, entries: Mapping[str, Any]) -> SAEConfig:
        """The configuration with these entries; unknown ones are left out, missing ones have their defaults."""
        known = {field.name for field in fields(cls)}
        return cls(**{key: value for key, value in entries.items() if key in known})

    @classmethod
    def from_model(
        cls, model: Any, layer_idx: int, hook_type: str = "resid_post", **options: Any
    ) -> SAEConfig:
        """A configuration for the activations of `model` at a block."""
        model = _as_model(model)
        return cls(d_in=model.d_model, hook_point=f"blocks.{layer_idx}.hook_{hook_type}", **options)


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
        return _like(x, _floats(x) @ weights["W_enc"] + weights["b_enc"])

    def decode(self, features: Any) -> Any:
        """The activations [..., d_in] of `features` [..., d_sae]."""
        return _like(features, self.sae.decode(features))

    def get_feature_activations(self, x: Any) -> Any:
        """The features [..., d_sae] of `x` [..., d_in], zeros included."""
        features = self.sae.encode(x)
        return _like(x, features.to_dense().reshape(*features.leading, features.shape[1]))

    def forward(self, x: Any) -> tuple[Any, Any, dict[str, Any]]:
        """The reconstruction [..., d_in], the features [..., d_sae] and the metrics of `x` [..., d_in]."""
        values = _floats(x)
        sparse = self.sae.encode(values)
        reconstruction = self.sae.decode(sparse)
        features = sparse.to_dense().reshape(*sparse.leading, sparse.shape[1])
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
        scalars = {key: _like(x, np.array(value, np.float32)) for key, value in metrics.items()}
        return _like(x, reconstruction), _like(x, features), scalars

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


class InterpretableModel:
    """A model whose features can be tracked, and which can be steered by them.

    `model` is a `nanoscope.Model` or the path of a checkpoint. `saes` are SAEs by hook point: those of `load_saes`, of
    `create_sae`, or `nanoscope.Sae`s.
    """

    def __init__(self, model: Any, saes: Mapping[str, Any], device: str | None = None) -> None:
        native = _as_model(model, device)
        self.model = native if isinstance(model, (str, PathLike)) else model
        self.saes = dict(saes)
        self.device = device if device is not None else "cpu"
        self._points = {name: _nanoscope.hook_point(name) for name in self.saes}
        by_point = {self._points[name]: _native_of(sae) for name, sae in self.saes.items()}
        self._with_saes = native.with_saes(by_point)
        # A model around a model shares its collectors, as hooks on the inner one would see both.
        inner = isinstance(model, InterpretableModel)
        self._collectors: list[ActivationCollector] = model._collectors if inner else []
        self._interpretation_active = False
        self._active_features: dict[str, Any] = {}
        self._steering_active = False
        self._steering_config: dict[str, tuple[int, float]] = {}

    def forward(self, input_ids: Any) -> Any:
        """The logits [batch, seq, vocab_size] of the token ids `input_ids` [batch, seq]."""
        ids = np.atleast_2d(_ids(input_ids))
        track = list(self._points.values()) if self._interpretation_active else []
        steer = [
            {
                "hook": self._points[name],
                "feature": feature,
                "op": "multiply",
                "value": strength,
                "at": "all",
                "splice": "reconstruct",
            }
            for name, (feature, strength) in self._steering_config.items()
        ]
        capture = [point for collector in self._collectors for point in collector._points.values()]
        run = self._with_saes.run(ids, track=track, steer=steer, capture=capture)
        for collector in self._collectors:
            collector._keep(run)
        if self._interpretation_active:
            self._active_features = {
                name: _like(input_ids, run.features[point].to_dense())
                for name, point in self._points.items()
            }
        return _like(input_ids, run.logits)

    __call__ = forward

    @contextmanager
    def interpretation_enabled(self) -> Iterator[InterpretableModel]:
        """Tracks the features of every SAE in each forward pass. Leaving the context forgets them."""
        self._enable_interpretation()
        try:
            yield self
        finally:
            self._disable_interpretation()

    @contextmanager
    def steering_enabled(
        self, steering_config: Mapping[str, tuple[int, float]]
    ) -> Iterator[InterpretableModel]:
        """Multiplies one feature per hook point, `{hook_point: (feature, strength)}`, in each forward pass: at every
        position, with the activation replaced by the SAE's reconstruction."""
        self._enable_steering(steering_config)
        try:
            yield self
        finally:
            self._disable_steering()

    def get_active_features(
        self, hook_point: str | None = None, top_k: int | None = None
    ) -> dict[str, Any]:
        """The features of the last forward pass by hook point: [batch * seq, d_sae], zeros included.

        With `top_k` each is a pair instead: the indices and the values of the largest, [batch * seq, top_k].
        """
        if not self._interpretation_active and not self._active_features:
            raise RuntimeError(
                "No features available. Use interpretation_enabled() context manager."
            )
        found = dict(self._active_features)
        if hook_point is not None:
            if hook_point not in found:
                raise NanoscopeError(f"No features for hook point: {hook_point}")
            found = {hook_point: found[hook_point]}
        if top_k is None:
            return found
        return {name: _top_k(features, top_k) for name, features in found.items()}

    def steer(self, input_ids: Any, feature_id: tuple[str, int], strength: float) -> Any:
        """The logits [batch, seq, vocab_size] of `input_ids` with the feature `(hook_point, feature)` multiplied."""
        name, feature = feature_id
        with self.steering_enabled({name: (feature, strength)}):
            return self.forward(input_ids)

    @property
    def _hook_handles(self) -> list[str]:
        """The hook points that a forward pass reads or changes, one entry for each use."""
        tracked = list(self._points) if self._interpretation_active else []
        return tracked + list(self._steering_config)

    def _enable_interpretation(self) -> None:
        self._interpretation_active = True

    def _disable_interpretation(self) -> None:
        self._interpretation_active = False
        self._active_features = {}

    def _enable_steering(self, steering_config: Mapping[str, tuple[int, float]]) -> None:
        if self._steering_active:
            raise RuntimeError("steering is enabled already; leave that context first")
        checked = {}
        for name, (feature, strength) in steering_config.items():
            if name not in self.saes:
                raise NanoscopeError(f"No SAE for hook point: {name}")
            d_sae = _native_of(self.saes[name]).d_sae
            if not 0 <= feature < d_sae:
                text = f"feature {feature} is out of range, the SAE has {d_sae} (0 to {d_sae - 1})"
                raise FeatureIndexError(text)
            checked[name] = (int(feature), float(strength))
        self._steering_config, self._steering_active = checked, True

    def _disable_steering(self) -> None:
        self._steering_config, self._steering_active = {}, False


def load_model(path: str | PathLike[str], device: str | None = None) -> InterpretableModel:
    """The model at `path`, as `nanoscope.load` finds it, without SAEs. It is called as a torch module is."""
    return InterpretableModel(path, {}, device)


def load_saes(
    sae_dir: str | PathLike[str],
    device: str = "cpu",
    hook_points: Sequence[str] | None = None,
) -> dict[str, BaseSAE]:
    """The SAEs in a folder and all folders in it, by hook point.

    The keys are the names in `hook_points`, or nanochat-SAE's own. The files can also be those of the other tools that
    nanoscope reads. One file per folder is taken by a fixed rule, and two SAEs for one hook point are an error.
    """
    if not Path(sae_dir).exists():
        raise NanoscopeError(f"SAE directory does not exist: {sae_dir}")
    points = list(hook_points) if hook_points is not None else None
    found = _nanoscope.load_saes(sae_dir, hook_points=points, device=_device(device))
    asked = {_nanoscope.hook_point(name): name for name in points or []}
    saes = {}
    for point, sae in found.items():
        name = asked.get(point, _reference_name(point))
        saes[name] = _wrapped(sae, name)
        print(f"Loaded SAE for {name} from {sae.path}")
    return saes


def save_sae(
    sae: Any, config: SAEConfig, save_path: str | PathLike[str], **metadata: Any
) -> None:
    """Writes an SAE as nanochat-SAE's `.pt` file, with `config.json` beside it. `metadata` are further entries."""
    path = Path(save_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    native = _native_of(sae)
    if (config.d_in, config.d_sae) != (native.d_in, native.d_sae):
        text = f"the configuration is for [{config.d_in}, {config.d_sae}], the SAE has [{native.d_in}, {native.d_sae}]"
        raise NanoscopeError(text)
    native.save(path, "nanochat-sae", hook_point=config.hook_point, metadata=metadata)
    print(f"Saved SAE to {path}")


class ActivationCollector:
    """Keeps the activations at hook points of every forward pass of `model` inside the context.

    `model` is an `InterpretableModel`, or what `load_model` returns. At most `max_activations` rows are kept per hook
    point. For data sets larger than memory there is `nanoscope collect`.
    """

    def __init__(
        self,
        model: InterpretableModel,
        hook_points: Sequence[str],
        max_activations: int = 10_000_000,
    ) -> None:
        self.model = model
        self.max_activations = max_activations
        self._points = {name: _nanoscope.hook_point(name) for name in hook_points}
        self._rows: dict[str, list[np.ndarray]] = {name: [] for name in hook_points}

    def __enter__(self) -> ActivationCollector:
        self.model._collectors.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.model._collectors.remove(self)

    def _keep(self, run: _nanoscope.Run) -> None:
        for name, point in self._points.items():
            captured = run.captured[point]
            rows = captured.reshape(captured.shape[0] * captured.shape[1], -1)
            room = self.max_activations - sum(len(part) for part in self._rows[name])
            if room > 0:
                self._rows[name].append(rows[:room])

    def get_activations(self, hook_point: str | None = None) -> dict[str, np.ndarray]:
        """The activations by hook point: [rows, width], rows in the order in which they were computed."""
        names = self._rows if hook_point is None else [hook_point]
        empty = np.empty((0,), np.float32)
        return {
            name: np.concatenate(self._rows[name]) if self._rows[name] else empty for name in names
        }

    def clear(self) -> None:
        """Forgets the activations."""
        for rows in self._rows.values():
            rows.clear()


def _reference_name(point: str) -> str:
    """nanochat-SAE's name of a hook point."""
    ours = point.endswith((".hook_attn_out", ".hook_mlp_out"))
    return point.removesuffix("_out") if ours else point


def _wrapped(sae: _nanoscope.Sae, hook_point: str) -> BaseSAE:
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


def _native(config: SAEConfig, weights: Mapping[str, Any]) -> _nanoscope.Sae:
    kind = {"topk": "signed_topk", "relu": "relu", "gated": "signed_gated"}[config.activation]
    architecture: dict[str, Any] = {"type": kind}
    if kind == "signed_topk":
        architecture["k"] = config.k
    of_sae = {"d_in": config.d_in, "d_sae": config.d_sae, "architecture": architecture}
    return _nanoscope.Sae.from_weights(dict(weights), of_sae, hook_point=config.hook_point)


def _native_of(sae: Any) -> _nanoscope.Sae:
    return sae.sae if isinstance(sae, BaseSAE) else sae


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


def _as_model(model: Any, device: str | None = None) -> _nanoscope.Model:
    if isinstance(model, _nanoscope.Model):
        return model
    if isinstance(model, InterpretableModel):
        return model._with_saes
    if isinstance(model, (str, PathLike)):
        return _nanoscope.load(Path(model), device=_device(device or "cpu"))
    raise TypeError(f"a nanoscope.Model or a path is needed, found {type(model).__name__}")


def _device(name: Any) -> str:
    """nanoscope's name of a torch device."""
    name = str(name).split(":")[0]
    return "auto" if name == "cpu" else name


def _ids(input_ids: Any) -> np.ndarray:
    return np.asarray(np.from_dlpack(input_ids) if _is_foreign(input_ids) else input_ids)


def _floats(x: Any) -> np.ndarray:
    x = x.detach() if hasattr(x, "detach") else x
    return np.asarray(np.from_dlpack(x) if _is_foreign(x) else x, dtype=np.float32)


def _is_foreign(x: Any) -> bool:
    return hasattr(x, "__dlpack__") and not isinstance(x, np.ndarray)


def _is_torch(x: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def _like(given: Any, result: np.ndarray) -> Any:
    """`result` as a torch tensor, in the same memory, where `given` is one."""
    return sys.modules["torch"].from_numpy(result) if _is_torch(given) else result


def _top_k(features: Any, k: int) -> tuple[Any, Any]:
    values = _floats(features)
    k = min(k, values.shape[1])
    indices = np.argsort(-values, axis=1, kind="stable")[:, :k]
    largest = np.take_along_axis(values, indices, axis=1)
    return _like(features, indices), _like(features, largest)
