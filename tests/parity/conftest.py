"""Published-layout checkpoints with pseudo-random weights, and the arrays that the reference implementations gave."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor


@pytest.fixture(scope="session")
def parity_dir(shared_dir: Path) -> Path:
    path = shared_dir / "parity"
    if not path.is_dir():
        pytest.skip(f"no parity data at {path}")
    return path


@pytest.fixture(scope="session")
def weights_rule(parity_dir: Path) -> ModuleType:
    """The module that fills a manifest with weights."""
    spec = importlib.util.spec_from_file_location("parity_weights", parity_dir / "weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def checkpoint(weights_rule: ModuleType, parity_dir: Path) -> Callable[[str], dict]:
    """Manifest path below `parity/` -> checkpoint in the published layout."""
    return lambda manifest: weights_rule.build(parity_dir / manifest)


@pytest.fixture(scope="session")
def meta_checkpoint(parity_dir: Path) -> Callable[[str], dict]:
    """The same for the large layouts, with names, shapes and types but no values."""

    def build(manifest: str) -> dict:
        tree: dict = {}
        for key, shape, dtype, _ in json.loads((parity_dir / manifest).read_text()):
            *containers, name = key.split("/")
            level = tree
            for container in containers:
                level = level.setdefault(container, {})
            level[name] = torch.empty(shape, dtype=getattr(torch, dtype), device="meta")
        return tree

    return build


@pytest.fixture(scope="session")
def golden(parity_dir: Path) -> Callable[[str], dict[str, Tensor]]:
    """Archive path below `parity/` -> arrays."""

    def load(archive: str) -> dict[str, Tensor]:
        with np.load(parity_dir / archive) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}

    return load


@pytest.fixture(scope="session")
def images(golden: Callable[[str], dict[str, Tensor]]) -> Tensor:
    """The four pictures, (4, 3, 256, 256) in [-1, 1]."""
    return golden("inputs/images.npz")["images"].float() / 127.5 - 1
