"""Batches of faces whose place in the image is known: people and lights by motions, crops turned and moved at random.

The crop that FFHQ would cut is the canonical one. Every crop of a batch lies turned and moved against it, and comes
with the transformation that StyleGAN3's Fourier features need to show the same: the generator learns the canonical face
and what surrounds it, and never where the face is.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from training.arguments import DataOptions
from training.augment import degrade, sample_appearance
from training.data.crops import item_rng, stack_images
from training.data.face_frames import FaceFrames
from training.data.quads import adjust_quad
from training.data.regions import region_maps
from vivface.faces.alignment import crop_quad, quad_axes, quad_center


class MovedFaceBatches:
    """Batches of P looks (a person in a light) with J motions each; item `i` depends on the seed, `i` and files alone.

    Args:
        frames (`FaceFrames`): Where they are taken from.
        data (`DataOptions`): `size`, `identities`, `motions` and `augment`: `driving_center` and `driving_rotation`
            move the crops, `driving_appearance` and `degrade_driving` change the images that an encoder sees.
        seed (`int`): Of everything that is drawn.
        photographs (`bool`, *optional*, defaults to False): Whether batches hold `photograph`, too: the canonical
            crop, slightly displaced, as a camera would have taken it.
        plain (`bool`, *optional*, defaults to False): For evaluation: canonical crops without augmentation, every look
            in turn.
    """

    def __init__(
        self, frames: FaceFrames, data: DataOptions, seed: int, photographs: bool = False, plain: bool = False
    ):
        self.frames, self.data, self.seed = frames, data, seed
        self.photographs, self.plain = photographs, plain

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Batch `index`.

        Returns:
            `dict`: `image` `(P, J, 3, size, size)` in [-1, 1]; `regions` `(P, J, 4, size, size)` uint8; `transform`
                `(P, J, 3, 3)`, see `image_transform`; `pose` `(P, J, 3)` in degrees against the canonical crop and
                `controls` `(P, J, K)`; `look` `(P,)`, number of person and light; and, if asked for, `photograph` as
                `image`.
        """
        rng, data = item_rng(self.seed, index), self.data
        looks = self.frames.looks
        if self.plain:
            chosen = [(index * data.identities + k) % len(looks) for k in range(data.identities)]
        else:
            chosen = rng.integers(len(looks), size=data.identities).tolist()
        people = [self._look(rng, look) for look in chosen]
        batch = {name: torch.stack([person[name] for person in people]) for name in people[0]}
        return batch | {"look": torch.tensor(chosen)}

    def _look(self, rng: np.random.Generator, look: int) -> dict[str, Tensor]:
        """The motions of one person in one light."""
        frames = self.frames.looks[look]
        if self.plain:
            places = np.linspace(0, len(frames) - 1, self.data.motions).round().astype(int)
        else:
            places = rng.choice(len(frames), self.data.motions, replace=self.data.motions > len(frames))
        appearance = None
        if self.photographs and not self.plain:
            augment = self.data.augment
            strength = augment.appearance if augment.driving_appearance is None else augment.driving_appearance
            appearance = sample_appearance(rng, self.data.size, strength)
        items = [self._frame(rng, frames[int(place)], appearance) for place in places]
        return {name: torch.stack([item[name] for item in items]) for name in items[0]}

    def _frame(self, rng: np.random.Generator, frame: int, appearance) -> dict[str, Tensor]:
        augment, size = self.data.augment, self.data.size
        picture, quad = self.frames.image(frame), self.frames.quad(frame)
        seen = quad
        if not self.plain:
            shift = rng.uniform(-1, 1, 2) * augment.driving_center
            seen = adjust_quad(quad, shift, degrees=rng.uniform(-1, 1) * augment.driving_rotation)
        labels = self.frames.labels(frame, quad)
        regions = region_maps(self.frames.labels(frame, seen).landmarks, size)
        item = {
            "image": _tensor(crop_quad(picture, seen, size)),
            "regions": torch.from_numpy(regions),
            "transform": torch.from_numpy(transform_between(seen, quad)),
            "pose": torch.from_numpy(np.float32(labels.pose)),
            "controls": torch.from_numpy(np.float32(labels.controls)),
        }
        if self.photographs:
            item["photograph"] = self._photograph(rng, picture, quad, appearance)
        return item

    def _photograph(self, rng: np.random.Generator, picture: np.ndarray, quad: np.ndarray, appearance) -> Tensor:
        """The canonical crop of a tracker that errs a little, and of a camera."""
        augment, size = self.data.augment, self.data.size
        if appearance is None:
            return _tensor(crop_quad(picture, quad, size))
        jitter = augment.source_jitter
        shift, scale = rng.uniform(-1, 1, 2) * jitter, 1 + rng.uniform(-1, 1) * jitter
        near = adjust_quad(quad, shift, scale, degrees=rng.uniform(-1, 1) * 50 * jitter)
        image = appearance(crop_quad(picture, near, size))
        if rng.random() < augment.degrade_driving:
            image = degrade(rng, image, augment)
        return stack_images([image])[0].float()


def transform_between(seen: np.ndarray, canonical: np.ndarray) -> np.ndarray:
    """The transformation from places in one crop to places in another, in sides of each from its centre.

    Args:
        seen, canonical (`np.ndarray` of shape `(4, 2)`): Squares of one picture.

    Returns:
        `np.ndarray` of shape `(3, 3)`, float32: homogeneous, as `StyleGAN3Generator` takes it.
    """
    inverse = np.linalg.inv(np.stack(quad_axes(canonical), axis=1))
    matrix = np.eye(3)
    matrix[:2, :2] = inverse @ np.stack(quad_axes(seen), axis=1)
    matrix[:2, 2] = inverse @ (quad_center(seen) - quad_center(canonical))
    return matrix.astype(np.float32)


def _tensor(image: np.ndarray) -> Tensor:
    """uint8 `(size, size, 3)` to `(3, size, size)` in [-1, 1]."""
    return torch.from_numpy(image).permute(2, 0, 1).float() / 127.5 - 1
