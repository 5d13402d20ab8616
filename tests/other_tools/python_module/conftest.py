"""Paths and models for all tests."""

from pathlib import Path

import pytest
from safetensors.numpy import load_file

import nanoscope

ROOT = Path(__file__).resolve().parents[3]
GOLDEN = ROOT / "tests" / "fixtures" / "golden"
DEMO = ROOT / "models" / "demo"
HOOKS = ["blocks.1.hook_resid_post", "blocks.2.hook_attn", "blocks.2.hook_mlp"]
# The names under which nanoscope returns them.
CANONICAL = ["blocks.1.hook_resid_post", "blocks.2.hook_attn_out", "blocks.2.hook_mlp_out"]


@pytest.fixture(scope="session")
def golden_model() -> nanoscope.Model:
    """A nanochat of 4 blocks and width 64, with random weights and without SAEs."""
    return nanoscope.load(GOLDEN / "head")


@pytest.fixture(scope="session")
def tokens():
    """The token ids of the golden files, [2, 16]."""
    return load_file(GOLDEN / "head" / "expected.safetensors")["tokens"]


@pytest.fixture(scope="session")
def demo() -> nanoscope.Model:
    """The demo with its four SAEs."""
    return nanoscope.load(DEMO, DEMO / "saes")
