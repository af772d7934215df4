"""Batches of single aligned faces with everything that renders know of them: pose, controls, landmarks.

Crops and images are varied far more than for the other stages: a reader of faces is asked about photographs, about the
crops of every tracker, and about the soft or broken images of a generator that is just being trained. Half of the
frames are mirrored, which doubles the people.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from training.arguments import DataOptions
from training.augment import degrade, sample_appearance
from training.data.crops import driving_ranges, item_rng, stack_images, stack_labels
from training.data.quads import jitter
from training.evaluation.face_measures import turned_image
from vivface.errors import OptionError
from vivface.faces.alignment import crop_quad, ffhq_quad, quad_angle, to_crop

# The landmark that a landmark becomes in the mirror.
MIRRORED = np.array(
    [*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31, 45, 44, 43, 42, 47, 46, 39, 38, 37, 36,
     41, 40, 54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65]
)  # fmt: skip


@dataclass
class FaceLabels:
    """What a crop shows.

    Attributes:
        pose (`np.ndarray` of shape `(3,)`): Yaw, pitch, roll in degrees against the axes of the crop.
        controls (`np.ndarray` of shape `(K,)`): Expression, see `training.synthetic.motion`.
        landmarks (`np.ndarray` of shape `(68, 2)`): Fractions of the crop.
    """

    pose: np.ndarray
    controls: np.ndarray
    landmarks: np.ndarray

    def mirrored(self, names: tuple[str, ...]) -> FaceLabels:
        """What the mirrored crop shows; `names` are those of the controls."""
        places = [names.index(_other_side(name)) for name in names]
        controls = self.controls[places]
        controls[names.index("gaze_x")] *= -1
        return FaceLabels(self.pose * (-1, 1, -1), controls, self.landmarks[MIRRORED] * (-1, 1) + (1, 0))


class FaceFrames:
    """All frames of the shards of some folders, compressed in memory (0.35 MB a person of 28 images).

    Args:
        folders (`list[str]`): Written by `training.synthetic.render` or `render_motion`.
        names (`tuple[str, ...]`): Controls that the shards must have, in this order.

    Raises:
        OptionError: If there are no shards, or they have other controls.
    """

    def __init__(self, folders: list[str], names: tuple[str, ...]):
        self.names = tuple(names)
        self.frames: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []  # JPEG, landmarks, controls, pose
        self.people = 0
        self.looks: list[range] = []  # frames of one person in one light
        for path in (path for folder in folders for path in sorted(Path(folder).glob("*.npz"))):
            with np.load(path) as file:
                if tuple(file["control_names"]) != self.names:
                    raise OptionError(f"{path} has other controls than the network: render it anew.")
                data, offsets = file["jpeg_bytes"], file["jpeg_offsets"]
                labels = file["landmarks"], file["controls"], file["pose"]
            self.people += 1
            count, first = len(labels[2]), len(self.frames)
            self.looks += [range(k, k + count) for k in range(first, first + len(offsets) - 1, count)]
            for k, (start, stop) in enumerate(zip(offsets[:-1], offsets[1:], strict=True)):
                self.frames.append((data[start:stop], *(each[k % count] for each in labels)))
        if not self.frames:
            raise OptionError(f"data.folders {folders} hold no shards *.npz: render them with render_motion.")

    def __len__(self) -> int:
        return len(self.frames)

    def image(self, index: int) -> np.ndarray:
        """A frame as rendered, uint8 RGB."""
        return cv2.cvtColor(cv2.imdecode(self.frames[index][0], cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)

    def quad(self, index: int) -> np.ndarray:
        """The FFHQ square `(4, 2)` of a frame, pixels."""
        return ffhq_quad(self.frames[index][1] - 0.5)

    def labels(self, index: int, quad: np.ndarray) -> FaceLabels:
        """What a crop of a frame shows."""
        _, landmarks, controls, pose = self.frames[index]
        return FaceLabels(turned_image(pose, quad_angle(quad)), controls.copy(), to_crop(landmarks - 0.5, quad))


class FaceBatches:
    """Batches of crops and labels; item `i` depends on the seed, `i` and the files alone.

    Args:
        frames (`FaceFrames`): Where they are taken from.
        data (`DataOptions`): `size`, `batch` and `augment`, of which those of driving frames count.
        seed (`int`): Of everything that is drawn.
        plain (`bool`, *optional*, defaults to False): For evaluation: frames as they are in their FFHQ squares, evenly
            spaced over all people.
    """

    def __init__(self, frames: FaceFrames, data: DataOptions, seed: int, plain: bool = False):
        self.frames, self.data, self.seed, self.plain = frames, data, seed, plain

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Batch `index`: `image` `(batch, 3, size, size)` in [-1, 1], and the fields of `FaceLabels`."""
        rng, count = item_rng(self.seed, index), self.data.batch
        if self.plain:
            chosen = [(index * count + k) * 31 % len(self.frames) for k in range(count)]
        else:
            chosen = rng.integers(len(self.frames), size=count).tolist()
        quads, mirror = zip(*(self.draw(rng, k) for k in chosen), strict=True)
        images = [self._image(rng, *each) for each in zip(chosen, quads, mirror, strict=True)]
        labels = [self.labels(*each) for each in zip(chosen, quads, mirror, strict=True)]
        stacked = {name: stack_labels([getattr(x, name) for x in labels]) for name in FaceLabels.__dataclass_fields__}
        return {"image": stack_images(images), **stacked}

    def draw(self, rng: np.random.Generator, frame: int) -> tuple[np.ndarray, bool]:
        """A crop `(4, 2)` of a frame in pixels, and whether it is mirrored."""
        quad = self.frames.quad(frame)
        if self.plain:
            return quad, False
        return jitter(rng, quad, *driving_ranges(self.data.augment)), bool(rng.random() < 0.5)

    def labels(self, frame: int, quad: np.ndarray, mirror: bool) -> FaceLabels:
        """What `draw` drew."""
        labels = self.frames.labels(frame, quad)
        return labels.mirrored(self.frames.names) if mirror else labels

    def spread(self, count: int = 2000) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation `(3 + K,)` of pose and controls, over `count` draws."""
        rng = np.random.default_rng([self.seed, 17])
        drawn = []
        for frame in rng.integers(len(self.frames), size=count).tolist():
            labels = self.labels(frame, *self.draw(rng, frame))
            drawn.append(np.concatenate([labels.pose, labels.controls]))
        values = torch.from_numpy(np.stack(drawn).astype(np.float32))
        return values.mean(0), values.std(0).clamp_min(1e-2)

    def _image(self, rng: np.random.Generator, frame: int, quad: np.ndarray, mirror: bool) -> np.ndarray:
        """float32 `(size, size, 3)` in [0, 1]."""
        image, augment = crop_quad(self.frames.image(frame), quad, self.data.size), self.data.augment
        image = image[:, ::-1] if mirror else image
        if self.plain:
            return image.astype(np.float32) / 255
        strength = augment.appearance if augment.driving_appearance is None else augment.driving_appearance
        image = sample_appearance(rng, self.data.size, strength)(np.ascontiguousarray(image))
        return degrade(rng, image, augment) if rng.random() < augment.degrade_driving else image


def _other_side(name: str) -> str:
    if name.endswith("_left"):
        return name.removesuffix("left") + "right"
    return name.removesuffix("right") + "left" if name.endswith("_right") else name
