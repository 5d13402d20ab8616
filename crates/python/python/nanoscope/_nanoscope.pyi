"""The extension module: models, SAEs and results. Import its names from `nanoscope`."""

from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypedDict, final, type_check_only

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Path: TypeAlias = str | PathLike[str]
_Array: TypeAlias = ArrayLike | Any
"""An array, nested lists, or a tensor on the CPU with `__dlpack__`."""
_Sae: TypeAlias = Sae | _Path
_Saes: TypeAlias = _Sae | Sequence[_Sae] | Mapping[str, _Sae]
_Steer: TypeAlias = str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]]

__all__ = [
    "Features",
    "Generation",
    "Model",
    "Run",
    "Sae",
    "Step",
    "__version__",
    "available_devices",
    "hook_point",
    "load",
    "load_sae",
    "load_saes",
    "run_program",
]

__version__: str

@type_check_only
class Report(TypedDict):
    """The effect of an intervention."""

    intervention: str
    positions: int
    changed: int
    moved: float

@type_check_only
class Table(TypedDict):
    """The columns of docs/tables.md, all of one length."""

    row: NDArray[np.int32]
    position: NDArray[np.int32]
    token_id: NDArray[np.uint32]
    token: NDArray[np.object_]
    is_prompt: NDArray[np.bool_]
    logprob: NDArray[np.float32]
    hook: NDArray[np.object_]
    feature: NDArray[np.uint32]
    activation: NDArray[np.float32]
    label: NDArray[np.object_]

@final
class Features:
    """The active features of a number of activations, a row each, in compressed sparse row form."""

    @property
    def data(self) -> NDArray[np.float32]:
        """The activations of the active features, [nnz]."""
    @property
    def indices(self) -> NDArray[np.int32]:
        """The indices of the active features, ascending in each row, [nnz]."""
    @property
    def indptr(self) -> NDArray[np.int32] | NDArray[np.int64]:
        """The bounds of the rows in `data` and `indices`, [rows + 1]."""
    @property
    def shape(self) -> tuple[int, int]:
        """`(rows, d_sae)`."""
    @property
    def leading(self) -> tuple[int, ...]:
        """The shape of the activations without their last axis, such as `(batch, seq)`."""
    @property
    def nnz(self) -> int:
        """The number of active features in all rows."""
    def to_dense(self) -> NDArray[np.float32]:
        """All values, zeros included, [rows, d_sae]."""
    def top_k(self, k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The indices and values of the `k` largest values of each row, zeros included, [rows, min(k, d_sae)]."""
    def strongest(self, row: int, n: int = 10) -> list[tuple[int, float]]:
        """At most `n` active features of `row` as `(index, activation)`, the largest activation first."""
    def tocsr(self) -> Any:
        """The same as a `scipy.sparse.csr_matrix`, which shares the arrays."""
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.float32]: ...
    def __len__(self) -> int: ...

@final
class Sae:
    """A sparse autoencoder: features of an activation, and the activation of features."""

    @staticmethod
    def from_weights(
        weights: dict[str, _Array],
        config: Mapping[str, Any],
        hook_point: str | None = None,
        device: str = "auto",
    ) -> Sae:
        """Makes an SAE of arrays: `W_enc` [d_in, d_sae], `b_enc` [d_sae], `W_dec` [d_sae, d_out], `b_dec` [d_out], and
        what the architecture of `config` needs."""
    @property
    def d_in(self) -> int:
        """The width of the activations that are encoded."""
    @property
    def d_sae(self) -> int:
        """The number of features."""
    @property
    def d_out(self) -> int:
        """The width of the activations that are decoded."""
    @property
    def architecture(self) -> str:
        """A short name of the architecture."""
    @property
    def config(self) -> dict[str, Any]:
        """The configuration, as `from_weights` takes it."""
    @property
    def hook_point(self) -> str | None:
        """The hook point of the activations that it reads."""
    @property
    def hook_out(self) -> str | None:
        """The hook point that a transcoder writes."""
    @property
    def path(self) -> Path | None:
        """The file that it was read from."""
    @property
    def format(self) -> str:
        """The tool that wrote the file, for people."""
    @property
    def metadata(self) -> dict[str, Any]:
        """Further entries of its file."""
    def weights(self) -> dict[str, NDArray[np.float32]]:
        """The weights by name, copied."""
    def encode(self, x: _Array) -> Features:
        """The features of the activations `x` [..., d_in]."""
    def decode(self, features: Features | _Array, x: _Array | None = None) -> NDArray[np.float32]:
        """The activations [..., d_out] of `features`."""
    def save(
        self,
        path: _Path,
        format: Literal["nanochat-sae", "saelens", "nanoscope-sae"] = "nanochat-sae",
        *,
        hook_point: str | None = None,
        dtype: str = "f32",
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Writes the SAE in the format of a tool."""

@final
class Run:
    """The results of `Model.run`."""

    tokens: NDArray[np.int64]
    """The token ids, [batch, seq]."""
    logits: NDArray[np.float32]
    """The logits, [batch, seq, vocab_size]."""
    features: dict[str, Features]
    """The features of each tracked hook point; row `b * seq + t` is position `t` of row `b`."""
    captured: dict[str, NDArray[np.float32]]
    """The captured activations by hook point, [batch, seq, ...]."""
    applied: list[Report]
    """A report for each intervention."""
    def table(self, top: int | None = None) -> Table:
        """The active features as a dict of arrays, one row per token, hook point and feature."""
    def heatmap(self, rows: int = 12) -> str:
        """A heat map of the `rows` strongest features per hook point over the tokens, as HTML."""
    def _repr_html_(self) -> str: ...

@final
class Step:
    """One generated token."""

    features: dict[str, Features]
    """The features of each tracked hook point at the token's own position, in one row."""
    @property
    def position(self) -> int:
        """The position in the sequence, counted from the start of the prompt."""
    @property
    def token_id(self) -> int:
        """The token's id."""
    @property
    def text(self) -> str:
        """The text that the token completes."""
    @property
    def logprob(self) -> float:
        """The natural logarithm of the model's probability for the token."""
    @property
    def top_logprobs(self) -> list[tuple[int, float]]:
        """The most likely tokens at this position, as `(token_id, logprob)`."""

@final
class Generation(Iterator[Step]):
    """A text being generated; an iterator of its tokens."""

    prompt_features: dict[str, Features]
    """The features of the prompt's tokens by hook point, a row per token."""
    def __iter__(self) -> Generation: ...
    def __next__(self) -> Step: ...
    def finish(self) -> Generation:
        """Generates the rest of the text, and returns the generation."""
    @property
    def text(self) -> str:
        """The text generated so far, without the prompt."""
    @property
    def steps(self) -> list[Step]:
        """The tokens taken so far."""
    @property
    def tokens(self) -> NDArray[np.int64]:
        """The ids of the prompt and of the tokens taken so far, [seq]."""
    @property
    def prompt_len(self) -> int:
        """The number of tokens of the prompt."""
    @property
    def end(self) -> str | None:
        """The reason for which the text ended; None before."""
    @property
    def applied(self) -> list[Report] | None:
        """A report for each intervention; None before the text has ended."""
    def table(self, top: int | None = None) -> Table:
        """The active features of the prompt and of the tokens taken so far, as a dict of arrays."""
    def heatmap(self, rows: int = 12) -> str:
        """A heat map of the tokens taken so far, as HTML."""
    def _repr_html_(self) -> str: ...

@final
class Model:
    """A language model with its tokenizer and with SAEs at some of its hook points."""

    @property
    def hook_points(self) -> list[str]:
        """The hook points that have an SAE, in the order in which the model computes them."""
    @property
    def n_layer(self) -> int:
        """The number of blocks."""
    @property
    def d_model(self) -> int:
        """The width of the residual stream."""
    @property
    def vocab_size(self) -> int:
        """The number of tokens that the model distinguishes."""
    @property
    def context_len(self) -> int:
        """The number of positions in a sequence."""
    @property
    def path(self) -> Path | None:
        """The file of the weights."""
    @property
    def warnings(self) -> list[str]:
        """Signs that SAEs were trained on another model, for people."""
    def with_saes(self, saes: _Saes) -> Model:
        """A second model with other SAEs, which shares the weights."""
    def sae(self, hook_point: str) -> Sae:
        """The SAE at `hook_point`."""
    def encode(self, text: str, special_tokens: bool = False) -> NDArray[np.int64]:
        """The token ids of `text`, [seq]."""
    def decode(self, tokens: _Array) -> str:
        """The text of token ids [seq]."""
    def token_text(self, token: int) -> str:
        """The text of one token."""
    def feature_name(self, hook_point: str, feature: int) -> str | None:
        """The label of a feature, or an automatic name."""
    def run(
        self,
        tokens: str | Sequence[str] | _Array,
        *,
        track: Literal["all"] | Sequence[str] | None = None,
        steer: _Steer | None = None,
        vectors: Mapping[str, _Array] | None = None,
        capture: Sequence[str] | None = None,
        prompt_len: int | None = None,
    ) -> Run:
        """Runs a text, or token ids [seq] or [batch, seq], in one pass."""
    def steer(
        self, tokens: str | Sequence[str] | _Array, feature: tuple[str, int], strength: float
    ) -> Run:
        """Runs `tokens` with one feature multiplied, as nanochat-SAE does."""
    def generate(
        self,
        prompt: str | _Array,
        *,
        max_tokens: int = 64,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 42,
        frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0,
        top_logprobs: int = 0,
        chat: bool = False,
        track: Literal["all"] | Sequence[str] | None = None,
        steer: _Steer | None = None,
        vectors: Mapping[str, _Array] | None = None,
        stop_when: _Steer | None = None,
    ) -> Generation:
        """Generates text after `prompt`, a token at a time."""

def load(
    model: _Path | None = None,
    saes: _Saes | None = None,
    *,
    hook_points: Sequence[str] | None = None,
    device: str = "auto",
    dtype: str | None = None,
    sae_dtype: str | None = None,
    tokenizer: _Path | None = None,
    era: str | None = None,
) -> Model:
    """Opens a model, with its tokenizer and its SAEs; without a path the built-in demo."""

def load_sae(path: _Path, *, device: str = "auto", dtype: str | None = None) -> Sae:
    """Loads the SAE at `path`."""

def load_saes(
    paths: _Path | Sequence[_Path],
    *,
    hook_points: Sequence[str] | None = None,
    device: str = "auto",
    dtype: str | None = None,
) -> dict[str, Sae]:
    """Loads every SAE at `paths`, by hook point."""

def hook_point(name: str) -> str:
    """The canonical name of a hook point."""

def available_devices() -> list[str]:
    """The devices that this build can compute on."""

def run_program(args: Sequence[str]) -> int:
    """Runs the command line `args`, the program's name first, and returns its exit code."""
