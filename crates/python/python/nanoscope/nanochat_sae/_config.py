"""Configurations of SAEs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from nanoscope.nanochat_sae._native import as_model

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
        model = as_model(model)
        return cls(d_in=model.d_model, hook_point=f"blocks.{layer_idx}.hook_{hook_type}", **options)
