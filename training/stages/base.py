"""What a stage of training is.

A stage is a class with four methods:

    class MyStage(Stage):
        options_class = MyOptions                       # `Options` model of the preset's `options`

        def build(self):                                # networks, then optimisers
            self.add_network("encoder", self.make(HybridEncoder, "encoder"), average=True)
            self.add_network("generator", self.make(StyleGAN2Generator, "generator"), trained=False)
            self.add_optimizer("main", "encoder")

        def dataset(self):                              # dataset[i] is batch i, a dict of tensors
            return GridBatches(...)

        def step(self, batch):                          # one generator update; scalars for the log
            with self.autocast():
                loss = ...
            self.update("main", loss)
            return {"loss": loss}

        def sample_grid(self):                          # uint8 (H, W, 3), or None
            return ...

The loop in `training.loop` does the rest: batches, averages, log, samples, checkpoints. Networks are not wrapped for
several processes; `update` averages gradients over them instead, which lets a stage call any method of a network.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from accelerate import Accelerator
from torch import Tensor

from training.arguments import Options, Preset
from training.data.loader import Batches
from training.preset import parse_options
from training.stages.learner import Learner
from vivface.errors import OptionError
from vivface.media.tensors import to_images


class Stage(Learner, ABC):
    """One stage of training; see the head of this file.

    Args:
        preset (`Preset`): The run's options.
        accelerator (`Accelerator`): Device, precision and processes.

    Attributes:
        options (`Options` or `None`): The stage's own settings, an instance of `options_class`.

    Raises:
        OptionError: If an option, a network or the data do not fit.
    """

    options_class: ClassVar[type[Options] | None] = None

    def __init__(self, preset: Preset, accelerator: Accelerator):
        super().__init__(preset, accelerator)
        self.options: Any = parse_options(self.options_class, preset.options, "options") if self.options_class else None
        self.build()

    @abstractmethod
    def build(self) -> None:
        """Create networks (`add_network`) and optimisers (`add_optimizer`).

        Raises:
            OptionError: If an option, a network or the data do not fit.
        """

    @abstractmethod
    def dataset(self) -> Batches:
        """The training data: item `i` is batch `i`, made from the seed, `i` and the files alone.

        Raises:
            OptionError: If there are no data.
        """

    @abstractmethod
    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor | float]:
        """Train on one batch.

        Args:
            batch (`dict[str, torch.Tensor]`): An item of `dataset()`, on the device.

        Returns:
            `dict`: Scalars for the log.
        """

    def validation_dataset(self) -> Batches | None:
        """Batches of people that are not trained on, or None if the stage has no validation.

        Raises:
            OptionError: If nobody is held out.
        """
        return None

    def validate(self, batch: dict[str, Tensor]) -> dict[str, Tensor | float]:
        """Metrics of the averaged networks on a batch of `validation_dataset()`, without gradients."""
        raise NotImplementedError

    def sample_grid(self) -> np.ndarray | None:
        """An image that shows the state of training: uint8 `(H, W, 3)`, or None before the first step."""
        return None

    def batch_images(self, batch: dict[str, Tensor]) -> int:
        """Training images in a batch, for counting: those of its largest set."""
        return max(t.shape[:-3].numel() for t in batch.values() if t.dim() >= 4)

    def check_data_size(self, size: int, name: str) -> None:
        """Make sure that the preset's images have the input size of network `name`.

        Raises:
            OptionError: If they do not.
        """
        if self.preset.data.size != size:
            raise OptionError(f"data.size is {self.preset.data.size}, expected {size}, the size of networks.{name}")


def tile(rows: list[list[Tensor | np.ndarray]]) -> np.ndarray:
    """Images in rows as one image; short rows are filled with black.

    Args:
        rows (`list`): Of `torch.Tensor` `(3, S, S)` in [-1, 1] or uint8 `np.ndarray` `(S, S, 3)`.

    Returns:
        `np.ndarray` of shape `(rows * S, columns * S, 3)`: uint8 RGB.
    """
    images = [[x if isinstance(x, np.ndarray) else to_images(x) for x in row] for row in rows]
    size, width = images[0][0].shape[0], max(len(row) for row in images)
    canvas = np.zeros((len(images) * size, width * size, 3), np.uint8)
    for y, row in enumerate(images):
        for x, image in enumerate(row):
            canvas[y * size : (y + 1) * size, x * size : (x + 1) * size] = image
    return canvas
