"""Encoder stage: find in frames of known people the codes that an autodecoder run has for them.

Three things are learned together, from frames changed as driving frames are:

    shown       what a frame shows, read out of codes and memory by a linear map that is thrown away afterwards:
                controls, yaw and pitch, and how far mouth, eyes and brows are open, each kind counting alike
    truth       the motion codes that `TruthCodes` makes of what is known; controls, angles: what they say of those
    people      the identity codes of `PersonCodes`

The first is what makes features of expressions. A motion code is mostly pose by variance: an encoder that was taught
codes alone found yaw within minutes and not one expression within an hour.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from training.arguments import option
from training.data import DrivingFrameBatches
from training.ground_truth import ANGLES, PersonCodes, TruthCodes, code_terms, person_error, truth_vector
from training.stages.base import Stage, tile
from vivface.models import HybridEncoder

# Pairs of landmarks (iBUG 68) whose distance tells how far something is open: lips, lids, brows; the mouth's width.
OPENINGS = (
    *((61, 67), (62, 66), (63, 65), (51, 57)),
    *((37, 41), (38, 40), (43, 47), (44, 46)),
    *((19, 37), (24, 44)),
    (48, 54),
)


@dataclass
class EncoderOptions:
    """Settings of the encoder stage."""

    controls_shown: float = option(1.0, "weight of the controls' squared error in what is read out, in their variance")
    angles_shown: float = option(1.0, "the same for yaw and pitch")
    openings_shown: float = option(2.0, "the same for the openings of mouth, eyes and brows")
    truth: float = option(0.5, "weight of the motion codes' squared error, as a part of the true codes' variance")
    controls: float = option(1.0, "weight of the squared error of the controls that the codes say")
    angles: float = option(0.5, "the same for yaw and pitch")
    people: float = option(0.5, "weight of the identity codes' squared error, as a part of the known codes' variance")
    head_gain: float = option(1.0, "factor on a fresh encoder's last linear maps")


class EncoderStage(Stage):
    """Train the encoder alone, on codes; no picture is made (see the file's head)."""

    options_class = EncoderOptions

    def build(self) -> None:
        encoder = self.make(HybridEncoder, "encoder")
        self.check_data_size(encoder.config.image_size, "encoder")
        if "pretrained" not in self.preset.networks.get("encoder", {}):
            enlarge_codes(encoder, self.options.head_gain)
        self.add_network("encoder", encoder, average=True)
        truth = self.add_network("truth", self.make(TruthCodes, "truth"), trained=False)
        self.add_network("people", self.make(PersonCodes, "people"), trained=False)
        controls = truth.config.truths - len(ANGLES) - 2 * 68
        self.add_network("readout", Readout(encoder, controls + len(ANGLES) + len(OPENINGS)))
        self.add_optimizer("main", "encoder", "readout")
        self.mean, self.spread = self.measure()
        self.seen: Tensor | None = None

    def dataset(self) -> DrivingFrameBatches:
        if not hasattr(self, "_dataset"):
            self._dataset = DrivingFrameBatches(self.preset.data, self.preset.loop.seed)
        return self._dataset

    def measure(self) -> tuple[Tensor, Tensor]:
        """Mean and spread of what frames show, over everybody's first frames."""
        data = self.dataset()
        batches = [data[10**6 + k] for k in range(max(1, 512 // (self.preset.data.people * self.preset.data.motions)))]
        shown = torch.cat([shown_in(batch) for batch in batches])
        return shown.mean(0).to(self.device), shown.std(0).clamp_min(1e-2).to(self.device)

    def step(self, batch: dict[str, Tensor]) -> dict[str, Tensor | float]:
        options = self.options
        self.seen = batch["image"].flatten(0, 1)
        with self.autocast():
            codes = self.networks["encoder"](batch["image"].flatten(0, 1))
            read = self.networks["readout"](codes.motion, codes.memory)
        error = (read.float() - (shown_in(batch) - self.mean) / self.spread).square()
        controls, angles, openings = error.split(
            [error.shape[1] - len(ANGLES) - len(OPENINGS), len(ANGLES), len(OPENINGS)], 1
        )
        truth = self.networks["truth"]
        true = truth(truth_vector(batch["controls"], batch["pose"], batch["landmarks"]).flatten(0, 1))
        seeds = batch["person"].repeat_interleave(batch["image"].shape[1])
        terms = {
            "controls_shown": options.controls_shown * controls.mean(),
            "angles_shown": options.angles_shown * angles.mean(),
            "openings_shown": options.openings_shown * openings.mean(),
            **code_terms(truth, codes.motion, true, options),
            "people": options.people * person_error(codes.identity, seeds, self.networks["people"]),
        }
        loss = sum(terms.values())
        self.update("main", loss)
        return {"loss": loss, **terms}

    def sample_grid(self) -> np.ndarray | None:
        """Frames of the last batch, eight a row, in the order in which their mouths are said to be open."""
        if self.seen is None:
            return None
        with torch.no_grad():
            codes = self.averaged("encoder")(self.seen, identity=False)
            opening = self.networks["readout"](codes.motion, codes.memory)[:, -len(OPENINGS)]
        frames = list(self.seen[opening.argsort()])
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
        """Motion codes `(frames, codes, width)` and memory `(frames, tokens, width)` -> `(frames, count)`"""
        return self.motion(motion.flatten(1)) + self.memory(memory.flatten(1))


def shown_in(batch: dict[str, Tensor]) -> Tensor:
    """What every frame shows: controls, yaw, pitch and openings, `(frames, count)`."""
    upper, lower = batch["points"][..., [a for a, _ in OPENINGS], :], batch["points"][..., [b for _, b in OPENINGS], :]
    openings = (lower - upper).norm(dim=-1) * 10.0  # tenths of the crop's side
    return torch.cat([batch["controls"], batch["pose"][..., ANGLES], openings], -1).flatten(0, 1)


@torch.no_grad()
def enlarge_codes(encoder: HybridEncoder, gain: float) -> None:
    """Scale a fresh encoder's codes: small ones suit a trained generator but teach a new one little."""
    for heads in (encoder.identity_heads, encoder.motion_heads):
        for head in heads.heads:
            for linear in head.linears:
                linear.weight.mul_(gain)
