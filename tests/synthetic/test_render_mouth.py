"""The bundled inside of the mouth is what its program draws."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from safetensors.numpy import load_file

from training.tools import render_mouth


def test_the_bundled_parts_are_drawn_again(
    kit, opengl, assets_dir: Path, cache_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("VIVFACE_CACHE", str(cache_dir))
    out = tmp_path / "mouth.safetensors"
    monkeypatch.setattr(sys, "argv", ["render_mouth", "--assets", str(assets_dir), "--out", str(out)])
    render_mouth.main()
    drawn, bundled = load_file(out), load_file(render_mouth.OUT)
    assert set(drawn) == set(bundled) == set(render_mouth.PARTS)
    for part in render_mouth.PARTS:
        a, b = (cv2.imdecode(x[part], cv2.IMREAD_UNCHANGED).astype(np.float32) for x in (drawn, bundled))
        assert np.abs(a - b).mean() < 2.0  # drivers round differently
