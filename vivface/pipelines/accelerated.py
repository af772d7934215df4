"""The share of every pipeline that says what computes its networks, and how many frames at once."""

from __future__ import annotations

from typing import Self

import torch
from diffusers import ModelMixin

from vivface.engines import Engine, TorchEngine, get_engine

BATCH_PIXELS = {"cpu": 8 * 256**2, "cuda": 8 * 1024**2}  # of the images that are made at once, by kind of device
MAX_BATCH = {"cpu": 8, "cuda": 32}
BYTES_PER_PIXEL = 650  # of the images that are made: all that lives at once in float32, counted at 1024 x 1024
FREE_SHARE = 0.6  # of a GPU's free memory that a batch may take; the rest is for the convolutions' workspace


class Accelerated:
    """Choice of an engine; mixed into `ReenactmentPipeline`."""

    _engine: Engine | TorchEngine | None = None

    def use_engine(self, engine: str | Engine | TorchEngine) -> Self:
        """Choose what computes the networks of every frame, those that find faces among them.

        Args:
            engine (`str` or `Engine`): `"torch"`; `"torch:SETTINGS"` as for `TorchEngine`, on a GPU too; on a CPU
                `"onnxruntime"` or `"openvino"` (extras of those names); or `"auto"`, the fastest of those that are
                installed, measured for every network at its first call.

        Raises:
            OptionError: If there is no such engine.
            BackendError: If it is not installed.
        """
        self._engine = get_engine(engine)
        if self._backend is not None and self._backend.name == "mesh":
            self.use_detector("mesh")
        return self

    def network(self, component: ModelMixin) -> ModelMixin:
        """A component as the chosen engine computes it: to be called in its place."""
        return component if self._engine is None else self._engine(component)

    @property
    def face_engine(self) -> Engine | None:
        """What computes the networks that find faces: small ones, in float32 on the CPU."""
        return self._engine if isinstance(self._engine, Engine) else None

    @property
    def default_batch_size(self) -> int:
        """Frames computed at once: as many as fill the device and fit into it, fewer where images are large."""
        device = self._execution_device
        kind = device.type if device.type in BATCH_PIXELS else "cpu"
        pixels = BATCH_PIXELS[kind]
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            pixels = min(pixels, free * FREE_SHARE / BYTES_PER_PIXEL)
        return max(1, min(MAX_BATCH[kind], int(pixels / self.output_size**2)))
