"""Encoder stage: the encoder learns to find the codes of an autodecoder run in frames of the same people.

Three targets are learned together, from frames augmented as driving frames are:

    visible_*       what a frame shows, read from codes and memory by a linear map that is thrown away afterwards:
                    controls, yaw and pitch, and how far mouth, eyes and brows are open, each kind counting the same
    motion_codes    the codes that `MotionLabelEncoder` makes of the labels; controls, angles: decoded from the codes
    identity_codes  the codes of `IdentityEmbeddings`

The first makes features of expressions. A motion code is mostly pose by variance: an encoder that was taught codes
alone found yaw within minutes and not one expression within an hour.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from training.arguments import Options, option
from training.data import DrivingFrameBatches
from training.ground_truth import (
    ANGLES,
    POINTS,
    IdentityEmbeddings,
    MotionLabelEncoder,
    identity_code_error,
    motion_code_errors,
    motion_labels,
)
from training.networks import scale_heads
from training.stages.base import Stage, tile
from vivface.models import HybridEncoder

# Pairs of landmarks (iBUG 68) whose distance measures an opening: lips, lids, brows; and the mouth's width.
OPENINGS = (
    *((61, 67), (62, 66), (63, 65), (51, 57)),
    *((37, 41), (38, 40), (43, 47), (44, 46)),
    *((19, 37), (24, 44)),
    (48, 54),
)
FIRST_MEASURED = 10**6  # index of batches that no run trains on


class EncoderOptions(Options):
    """Settings of the encoder stage."""

    visible_controls: float = option(1.0, "weight of the squared error of the controls that are read, in variances")
    visible_angles: float = option(1.0, "the same for yaw and pitch")
    visible_openings: float = option(2.0, "the same for the openings of mouth, eyes and brows")
    motion_codes: float = option(0.5, "weight of the motion codes' squared error, as a fraction of their variance")
    controls: float = option(1.0, "weight of the squared error of the controls decoded from the codes, in variances")
    angles: float = option(0.5, "the same for yaw and pitch")
    identity_codes: float = option(0.5, "weight of the identity codes' squared error, as a fraction of their variance")
    head_gain: float = option(1.0, "factor on a fresh encoder's last linear maps")


class EncoderStage(Stage):
    """Train the encoder alone, on codes; no image is generated (see the file's head)."""

    options_class = EncoderOptions

    def build(self) -> None:
        """Add the encoder, the frozen codes of an autodecoder run, and the linear readout.

        Raises:
            OptionError: If the data have another size than the encoder.
        """
        encoder = self.make(HybridEncoder, "encoder")
        self.check_data_size(encoder.config.image_size, "encoder")
        if not self.is_pretrained("encoder"):
            scale_heads(encoder, self.options.head_gain)
        self.add_network("encoder", encoder, average=True)
        labels = self.add_network("motion_labels", self.make(MotionLabelEncoder, "motion_labels"), trained=False)
        self.add_network("identity_embeddings", self.make(IdentityEmbeddings, "identity_embeddings"), trained=False)
        controls = labels.config.labels - len(ANGLES) - POINTS
        self.add_network("readout", Readout(encoder, controls + len(ANGLES) + len(OPENINGS)))
        self.add_optimizer("main", "encoder", "readout")
        self.mean, self.std = self.measure()
        self.last_batch: Tensor | None = None

    def dataset(self) -> DrivingFrameBatches:
        """Frames of synthetic people, augmented as driving frames; opened once."""
        if not hasattr(self, "_dataset"):
            self._dataset = DrivingFrameBatches(self.preset.data, self.preset.loop.seed)
        return self._dataset

    def measure(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the visible labels `(count,)`, over about 512 frames."""
        data = self.dataset()
        count = max(1, 512 // (self.preset.data.identities * self.preset.data.motions))
        labels = torch.cat([visible_labels(data[FIRST_MEASURED + k]) for k in range(count)])
        return labels.mean(0).to(self.device), labels.std(0).clamp_min(1e-2).to(self.device)

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor | float]:
        """Update encoder and readout on frames.

        Args:
            batch (`dict[str, torch.Tensor]`): An item of `DrivingFrameBatches`.

        Returns:
            `dict`: Weighted terms and their sum.
        """
        options = self.options
        self.last_batch = batch["image"].flatten(0, 1)
        with self.autocast():
            codes = self.networks["encoder"](self.last_batch)
            read = self.networks["readout"](codes.motion, codes.memory)
        error = (read.float() - (visible_labels(batch) - self.mean) / self.std).square()
        sizes = [error.shape[1] - len(ANGLES) - len(OPENINGS), len(ANGLES), len(OPENINGS)]
        visible = zip(("controls", "angles", "openings"), error.split(sizes, 1), strict=True)
        errors = {f"visible_{name}": each.mean() for name, each in visible}

        label_encoder = self.networks["motion_labels"]
        target = label_encoder(motion_labels(batch["controls"], batch["pose"], batch["landmarks"]).flatten(0, 1))
        errors |= motion_code_errors(label_encoder, codes.motion, target)
        seeds = batch["identity_seed"].repeat_interleave(batch["image"].shape[1])
        errors["identity_codes"] = identity_code_error(codes.identity, seeds, self.networks["identity_embeddings"])

        terms = {name: getattr(options, name) * each for name, each in errors.items()}
        loss = sum(terms.values())
        self.update("main", loss)
        return {"loss": loss, **terms}

    def sample_grid(self) -> np.ndarray | None:
        """Frames of the last batch, eight per row, sorted by the mouth opening that is read from them."""
        if self.last_batch is None:
            return None
        with torch.no_grad():
            codes = self.averaged("encoder")(self.last_batch, identity=False)
            opening = self.networks["readout"](codes.motion, codes.memory)[:, -len(OPENINGS)]
        frames = list(self.last_batch[opening.argsort()])
        return tile([frames[k : k + 8] for k in range(0, max(8, len(frames) // 8 * 8), 8)])


class Readout(nn.Module):
    """What a frame shows, as a linear map of its motion codes and memory.

    Args:
        encoder (`HybridEncoder`): Whose codes are read.
        count (`int`): Numbers to read.
    """

    def __init__(self, encoder: HybridEncoder, count: int):
        super().__init__()
        config = encoder.config
        tokens = (config.image_size // 16) ** 2
        self.motion = nn.Linear(config.motion_codes * config.style_dim, count)
        self.memory = nn.Linear(tokens * config.style_dim, count, bias=False)
        nn.init.normal_(self.memory.weight, std=2e-3)

    def forward(self, motion: Tensor, memory: Tensor) -> Tensor:
        """Read the labels.

        Args:
            motion (`torch.Tensor` of shape `(frames, codes, width)`): Motion codes.
            memory (`torch.Tensor` of shape `(frames, tokens, width)`): Memory.

        Returns:
            `torch.Tensor` of shape `(frames, count)`: Standardised labels.
        """
        return self.motion(motion.flatten(1)) + self.memory(memory.flatten(1))


def visible_labels(batch: dict[str, Tensor]) -> Tensor:
    """What every frame of a batch shows: controls, yaw, pitch and openings, `(frames, count)`."""
    upper, lower = batch["points"][..., [a for a, _ in OPENINGS], :], batch["points"][..., [b for _, b in OPENINGS], :]
    openings = (lower - upper).norm(dim=-1) * 10.0  # tenths of the crop size
    return torch.cat([batch["controls"], batch["pose"][..., ANGLES], openings], -1).flatten(0, 1)
