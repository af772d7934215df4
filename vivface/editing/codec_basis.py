"""What the 35 numbers of a coded frame move: head pose, and 32 values of one of two bases.

Expressive Talking Head Video Encoding in StyleGAN2 Latent Space, eq. 2-4. Head pose (yaw, pitch) turns the identity
latent into styles (`HeadTurner`, see `vivface.editing.head_pose`); the 32 values are added to those styles:

- `Channels`: to 32 single channels of StyleSpace, the paper's basis (`vivface.editing.stylespace` selects them).
- `Components`: along 32 principal components of deformation codes, which reach all layers at W+ indices 0 to 9.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from vivface.models.stylegan2 import StyleGAN2Generator
from vivface.tensor_files import TensorFile

CHANNELS_FILE = "codec/channels.safetensors"
COMPONENTS_FILE = "codec/components.safetensors"
CHANNELS = TensorFile("vivface-channels-1", "channels of the codec", "make them with training.tools.select_channels")
COMPONENTS = TensorFile(
    "vivface-components-1", "components of the codec", "make them with training.tools.fit_components"
)
VALUES = 32
ATTRIBUTES = ("mouth", "jaw", "eyes", "gaze", "brows")


class Basis(Protocol):
    """What 32 values move."""

    kind: str

    def move(self, generator: StyleGAN2Generator, styles: Sequence[Tensor], values: Tensor) -> list[Tensor]:
        """Styles, one `(batch, channels)` a layer in call order, moved by values `(batch, 32)`."""

    def tensors(self) -> list[Tensor]:
        """All that it consists of, to recognise it by."""


@dataclass(frozen=True)
class Channels:
    """Single channels of StyleSpace.

    Attributes:
        indices (`torch.Tensor` of shape `(32, 2)`): int32, layer in call order and channel.
        attributes (`tuple[str, ...]`): What each of them moves, a name of `ATTRIBUTES`.
        gamma (`torch.Tensor` of shape `(32,)`): Sensitivity of the attribute to the channel (eq. 5).
        deviation (`torch.Tensor` of shape `(32,)`): Standard deviation of the channel over people, the unit of its
            value.
    """

    indices: Tensor
    attributes: tuple[str, ...]
    gamma: Tensor
    deviation: Tensor
    kind = "channels"

    def move(self, generator: StyleGAN2Generator, styles: Sequence[Tensor], values: Tensor) -> list[Tensor]:
        """Add values to channels (eq. 4).

        Args:
            generator (`StyleGAN2Generator`): Whose styles these are.
            styles (sequence of `torch.Tensor` of shape `(batch, channels)`): One a layer in call order.
            values (`torch.Tensor` of shape `(batch, 32)`): In standard deviations.

        Returns:
            list of `torch.Tensor`: New styles.
        """
        moved = list(styles)
        amounts = values * self.deviation.to(values)
        for layer in self.indices[:, 0].unique().tolist():
            chosen = (self.indices[:, 0] == layer).nonzero()[:, 0]
            places = self.indices[chosen, 1].long().to(values.device)
            step = torch.zeros(len(values), moved[layer].shape[1]).to(values)
            moved[layer] = moved[layer] + step.index_add(1, places, amounts[:, chosen.to(values.device)])
        return moved

    def read(self, styles: Sequence[Tensor]) -> Tensor:
        """What the channels hold, `(batch, 32)`, in standard deviations."""
        held = torch.stack([styles[layer][:, channel] for layer, channel in self.indices.tolist()], dim=1)
        return held / self.deviation.to(held)

    def tensors(self) -> list[Tensor]:
        """Indices and deviations."""
        return [self.indices, self.deviation]

    def save(self, path: str | os.PathLike) -> Path:
        """Write a safetensors file, kept with the checkpoint as `codec/channels.safetensors`."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        tensors = {"indices": self.indices, "gamma": self.gamma, "deviation": self.deviation}
        return CHANNELS.save(path, tensors, {"attributes": json.dumps(self.attributes)})

    @classmethod
    def load(cls, path: str | os.PathLike) -> Channels:
        """Read what `save` wrote.

        Raises:
            CheckpointError: If it is damaged or something else.
        """

        def decode(tensors: dict[str, Tensor], metadata: dict[str, str]) -> Channels:
            attributes = tuple(json.loads(metadata["attributes"]))
            fits = tensors["indices"].shape == (VALUES, 2) and len(attributes) == VALUES
            if not fits or set(attributes) - set(ATTRIBUTES):
                raise ValueError(f"it has not {VALUES} channels with their attributes")
            return cls(tensors["indices"], attributes, tensors["gamma"], tensors["deviation"])

        return CHANNELS.load(path, decode)


@dataclass(frozen=True)
class Components:
    """Principal components of deformation codes, and where a turned head lies among them.

    Attributes:
        origin (`torch.Tensor` of shape `(motion_codes, style_dim)`): Deformation of a neutral face that looks ahead.
        pose (`torch.Tensor` of shape `(5, motion_codes, style_dim)`): Deformation per yaw, pitch, yaw^2, pitch^2 and
            yaw pitch, in units of 20 degrees.
        vectors (`torch.Tensor` of shape `(32, motion_codes, style_dim)`): One standard deviation of every component.
        read_pose (`torch.Tensor` of shape `(2, motion_codes, style_dim)`): Reads yaw and pitch off a deformation less
            the origin, in units of 20 degrees.
        read_values (`torch.Tensor` of shape `(32, motion_codes, style_dim)`): Reads the values off what is left.
    """

    origin: Tensor
    pose: Tensor
    vectors: Tensor
    read_pose: Tensor
    read_values: Tensor
    kind = "components"

    NAMES = ("origin", "pose", "vectors", "read_pose", "read_values")

    def move(self, generator: StyleGAN2Generator, styles: Sequence[Tensor], values: Tensor) -> list[Tensor]:
        """Add values times components, as motion codes are added.

        Args:
            generator (`StyleGAN2Generator`): Whose styles these are.
            styles (sequence of `torch.Tensor` of shape `(batch, channels)`): One a layer in call order.
            values (`torch.Tensor` of shape `(batch, 32)`): In standard deviations.

        Returns:
            list of `torch.Tensor`: New styles.
        """
        return generator.add_motion(styles, torch.tensordot(values, self.vectors.to(values), 1))

    def turn(self, yaw: Tensor, pitch: Tensor) -> Tensor:
        """Deformation `(batch, motion_codes, style_dim)` of a neutral face at yaw and pitch `(batch,)`, degrees."""
        return self.origin.to(yaw) + torch.tensordot(pose_features(yaw, pitch), self.pose.to(yaw), 1)

    def read(self, deformation: Tensor) -> Tensor:
        """The numbers of deformations: the inverse of `turn` and `move`, in least squares.

        Args:
            deformation (`torch.Tensor` of shape `(batch, motion_codes, style_dim)`): Of any person.

        Returns:
            `torch.Tensor` of shape `(batch, 34)`: Yaw and pitch in degrees, 32 values.
        """
        change = deformation - self.origin.to(deformation)
        pose = torch.tensordot(change, self.read_pose.to(change).permute(1, 2, 0), 2) * UNIT
        rest = deformation - self.turn(pose[:, 0], pose[:, 1])
        values = torch.tensordot(rest, self.read_values.to(rest).permute(1, 2, 0), 2)
        return torch.cat([pose, values], dim=1)

    def tensors(self) -> list[Tensor]:
        """All but what only reads."""
        return [self.origin, self.pose, self.vectors]

    def save(self, path: str | os.PathLike) -> Path:
        """Write a safetensors file in half precision, kept with the checkpoint as `codec/components.safetensors`."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return COMPONENTS.save(path, {name: getattr(self, name).half() for name in self.NAMES})

    @classmethod
    def load(cls, path: str | os.PathLike) -> Components:
        """Read what `save` wrote.

        Raises:
            CheckpointError: If it is damaged or something else.
        """

        def decode(tensors: dict[str, Tensor], metadata: dict[str, str]) -> Components:
            code = tuple(tensors["origin"].shape)
            expected = {"pose": (POSE_FEATURES, *code), "read_pose": (2, *code)}
            expected |= {name: (VALUES, *code) for name in ("vectors", "read_values")}
            if len(code) != 2 or any(tuple(tensors[name].shape) != shape for name, shape in expected.items()):
                raise ValueError("the shapes of its parts do not fit each other")
            return cls(**{name: tensors[name].float() for name in cls.NAMES})

        return COMPONENTS.load(path, decode)


UNIT = 20.0  # degrees
POSE_FEATURES = 5


def pose_features(yaw: Tensor, pitch: Tensor) -> Tensor:
    """Yaw, pitch, their squares and their product, `(batch, 5)`, in units of 20 degrees."""
    y, p = yaw / UNIT, pitch / UNIT
    return torch.stack([y, p, y * y, p * p, y * p], dim=1)


def digest(tensors: Sequence[Tensor]) -> str:
    """Sixteen hexadecimal digits that tensors are recognised by, whether they are held in single or half precision."""
    hashed = hashlib.sha256()
    for tensor in tensors:
        hashed.update(str(tuple(tensor.shape)).encode())
        hashed.update(tensor.detach().cpu().half().numpy().tobytes())
    return hashed.hexdigest()[:16]
