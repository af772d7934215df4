"""How movements of the mouth move the points of a face, as `training/tools/fit_warping.py` measured them on renders."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import numpy as np
from safetensors.numpy import load


@cache
def mouth_movements() -> dict[str, np.ndarray]:
    """`smile`, `frown`, `grin`, `mouth_open`, `pucker`, `funnel`, `stretch`, each `(468, 3)` millimetres; read once."""
    stored = load((files("vivface.warping") / "controls.safetensors").read_bytes())
    return {name: move.astype(np.float64) for name, move in stored.items()}
