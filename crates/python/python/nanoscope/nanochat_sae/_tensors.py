"""Arrays and tensors of other libraries."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


def ids(input_ids: Any) -> np.ndarray:
    return np.asarray(np.from_dlpack(input_ids) if is_foreign(input_ids) else input_ids)


def floats(x: Any) -> np.ndarray:
    x = x.detach() if hasattr(x, "detach") else x
    return np.asarray(np.from_dlpack(x) if is_foreign(x) else x, dtype=np.float32)


def is_foreign(x: Any) -> bool:
    return hasattr(x, "__dlpack__") and not isinstance(x, np.ndarray)


def is_torch(x: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def like(given: Any, result: np.ndarray) -> Any:
    """`result` as a torch tensor, in the same memory, where `given` is one."""
    return sys.modules["torch"].from_numpy(result) if is_torch(given) else result


def top_k_of(features: Any, k: int) -> tuple[Any, Any]:
    values = floats(features)
    k = min(k, values.shape[1])
    indices = np.argsort(-values, axis=1, kind="stable")[:, :k]
    largest = np.take_along_axis(values, indices, axis=1)
    return like(features, indices), like(features, largest)
