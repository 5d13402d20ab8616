"""nanoscope's models and devices for nanochat-SAE's arguments."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

from nanoscope import _nanoscope


def as_model(model: Any, device: str | None = None) -> _nanoscope.Model:
    """The model of a `Model`, an `InterpretableModel` or a path."""
    if isinstance(model, _nanoscope.Model):
        return model
    if hasattr(model, "_with_saes"):
        native: _nanoscope.Model = model._with_saes
        return native
    if isinstance(model, (str, PathLike)):
        return _nanoscope.load(Path(model), device=device_name(device or "cpu"))
    raise TypeError(f"a nanoscope.Model or a path is needed, found {type(model).__name__}")


def device_name(name: Any) -> str:
    """nanoscope's name of a torch device."""
    name = str(name).split(":")[0]
    return "auto" if name == "cpu" else name
