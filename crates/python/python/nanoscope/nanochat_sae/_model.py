"""Models whose features are tracked, and which are steered by them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from nanoscope import _nanoscope
from nanoscope._errors import FeatureIndexError, NanoscopeError
from nanoscope.nanochat_sae._native import as_model
from nanoscope.nanochat_sae._saes import native_of
from nanoscope.nanochat_sae._tensors import ids, like, top_k_of


class InterpretableModel:
    """A model whose features can be tracked, and which can be steered by them.

    `model` is a `nanoscope.Model` or the path of a checkpoint. `saes` are SAEs by hook point: those of `load_saes`, of
    `create_sae`, or `nanoscope.Sae`s.
    """

    def __init__(self, model: Any, saes: Mapping[str, Any], device: str | None = None) -> None:
        native = as_model(model, device)
        self.model = native if isinstance(model, (str, PathLike)) else model
        self.saes = dict(saes)
        self.device = device if device is not None else "cpu"
        self._points = {name: _nanoscope.hook_point(name) for name in self.saes}
        by_point = {self._points[name]: native_of(sae) for name, sae in self.saes.items()}
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
        rows = np.atleast_2d(ids(input_ids))
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
        run = self._with_saes.run(rows, track=track, steer=steer, capture=capture)
        for collector in self._collectors:
            collector._keep(run)
        if self._interpretation_active:
            self._active_features = {
                name: like(input_ids, run.features[point].to_dense())
                for name, point in self._points.items()
            }
        return like(input_ids, run.logits)

    __call__ = forward

    def eval(self) -> InterpretableModel:
        """Changes nothing: a model here has no mode for training."""
        return self

    def to(self, device: Any) -> InterpretableModel:
        """Changes nothing; a model is loaded for its device.

        Raises `NanoscopeError` for another device than the model's.
        """
        if str(device) != self.device:
            text = f"the model is on {self.device}; load it with device={str(device)!r} instead"
            raise NanoscopeError(text)
        return self

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
        return {name: top_k_of(features, top_k) for name, features in found.items()}

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
            d_sae = native_of(self.saes[name]).d_sae
            if not 0 <= feature < d_sae:
                text = f"feature {feature} is out of range, the SAE has {d_sae} (0 to {d_sae - 1})"
                raise FeatureIndexError(text)
            checked[name] = (int(feature), float(strength))
        self._steering_config, self._steering_active = checked, True

    def _disable_steering(self) -> None:
        self._steering_config, self._steering_active = {}, False


class ActivationCollector:
    """Keeps the activations at hook points of every forward pass of `model` inside the context.

    `model` is an `InterpretableModel`, or what `load_model` returns. At most `max_activations` rows are kept per hook
    point, in the host's memory: `device` can only be "cpu". `save_path` is where `save_activations` writes by default.
    For data sets larger than memory there is `nanoscope collect`.
    """

    def __init__(
        self,
        model: InterpretableModel,
        hook_points: Sequence[str],
        max_activations: int = 10_000_000,
        device: Any = "cpu",
        save_path: str | PathLike[str] | None = None,
    ) -> None:
        if str(device) != "cpu":
            raise NanoscopeError(f"activations are kept in the host's memory, not on {device}")
        self.model = model
        self.save_path = save_path
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

    def save_activations(self, save_path: str | PathLike[str] | None = None) -> None:
        """Writes each hook point's activations as a tensor, `blocks_1_hook_mlp.pt` for `blocks.1.hook_mlp`.

        Needs torch, which writes the files.
        """
        import torch  # type: ignore[import-not-found]

        target = save_path if save_path is not None else self.save_path
        if target is None:
            raise NanoscopeError("save_activations needs a folder")
        folder = Path(target)
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in self.get_activations().items():
            torch.save(torch.from_numpy(rows), folder / f"{name.replace('.', '_')}.pt")

    def clear(self) -> None:
        """Forgets the activations."""
        for rows in self._rows.values():
            rows.clear()


def load_model(path: str | PathLike[str], device: str | None = None) -> InterpretableModel:
    """The model at `path`, as `nanoscope.load` finds it, without SAEs. It is called as a torch module is."""
    return InterpretableModel(path, {}, device)
