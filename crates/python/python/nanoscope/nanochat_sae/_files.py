"""SAEs in files."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from nanoscope import _nanoscope
from nanoscope._errors import NanoscopeError
from nanoscope.nanochat_sae._config import SAEConfig
from nanoscope.nanochat_sae._native import device_name
from nanoscope.nanochat_sae._saes import BaseSAE, native_of, wrapped


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
    found = _nanoscope.load_saes(sae_dir, hook_points=points, device=device_name(device))
    asked = {_nanoscope.hook_point(name): name for name in points or []}
    saes = {}
    for point, sae in found.items():
        name = asked.get(point, _reference_name(point))
        saes[name] = wrapped(sae, name)
        print(f"Loaded SAE for {name} from {sae.path}")
    return saes


def save_sae(
    sae: Any, config: SAEConfig, save_path: str | PathLike[str], **metadata: Any
) -> None:
    """Writes an SAE as nanochat-SAE's `.pt` file, with `config.json` beside it. `metadata` are further entries."""
    path = Path(save_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    native = native_of(sae)
    if (config.d_in, config.d_sae) != (native.d_in, native.d_sae):
        text = f"the configuration is for [{config.d_in}, {config.d_sae}], the SAE has [{native.d_in}, {native.d_sae}]"
        raise NanoscopeError(text)
    native.save(path, "nanochat-sae", hook_point=config.hook_point, metadata=metadata)
    print(f"Saved SAE to {path}")


def _reference_name(point: str) -> str:
    """nanochat-SAE's name of a hook point."""
    ours = point.endswith((".hook_attn_out", ".hook_mlp_out"))
    return point.removesuffix("_out") if ours else point
