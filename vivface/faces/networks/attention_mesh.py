"""Attention mesh: the face mesh, with lips, eyes and irises read again where it found them (Grishchenko et al.,
Attention Mesh: High-fidelity Face Mesh Prediction in Real-time, CVPR workshops 2020), as MediaPipe ships it.

    image --early--> features --late--> mesh, presence
                        |                 |
                        +---- crops <-----+
                                |--> lips; of both eyes: contour, iris
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vivface.faces.networks.layers import BlazeBlock, SameConv2d, check_input, pointwise

POINTS = 468
CONTOUR_POINTS = 71
IRIS_POINTS = 5

# Points of the mesh that a region's own points stand for, in their order.
LIPS = np.array(
    [
        *(61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409),
        *(78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415),
        *(76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306, 184, 74, 73, 72, 11, 302, 303, 304, 408),
        *(62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292, 183, 42, 41, 38, 12, 268, 271, 272, 407),
    ]
)
RIGHT_EYE = (  # the person's
    *(33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173, 130, 25, 110, 24, 23, 22, 26, 112),
    *(243, 247, 30, 29, 27, 28, 56, 190, 226, 31, 228, 229, 230, 231, 232, 233, 244, 113, 225, 224, 223, 222, 221, 189),
    *(35, 124, 46, 53, 52, 65, 143, 111, 117, 118, 119, 120, 121, 128, 245, 156, 70, 63, 105, 66, 107, 55, 193),
)
LEFT_EYE = (
    *(263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398, 359, 255, 339, 254, 253, 252),
    *(256, 341, 463, 467, 260, 259, 257, 258, 286, 414, 446, 261, 448, 449, 450, 451, 452, 453, 464, 342, 445, 444),
    *(443, 442, 441, 413, 265, 353, 276, 283, 282, 295, 372, 340, 346, 347, 348, 349, 350, 357, 465, 383, 300, 293),
    *(334, 296, 336, 285, 417),
)
EYES = np.array([RIGHT_EYE, LEFT_EYE])  # (2, 71)
REGIONS = (LIPS, *EYES)
LEVEL = ((61, 291), (33, 133), (362, 263))  # of each region, level in its crop, left to right
LONGEST = max(map(len, REGIONS))
# Of each region, (3, 82): the level points, then all, the last one repeated.
MEMBERS = torch.tensor(
    [
        np.pad(np.r_[level, region], (0, LONGEST - len(region)), "edge").tolist()
        for level, region in zip(LEVEL, REGIONS, strict=True)
    ]
)
CROP = 16  # samples of a crop
MARGIN = 1.5  # sides of a crop per side of the region's points
FEATURE_PIXELS = 4  # pixels of the image per sample of the features
SAMPLES = torch.tensor([(x + 0.5, y + 0.5) for y in range(CROP) for x in range(CROP)])  # from the crop's corner
TURNED = torch.tensor([(1.0, 0.0, 0.0, 1.0), (0.0, -1.0, 1.0, 0.0)])  # (x, y) @ TURNED: the turn to it, row by row


class AttentionMesh(nn.Module):
    """Points of the face in an upright crop that is about 1.5 times as large as the face, and whether it shows one."""

    image_size = 192

    def __init__(self):
        super().__init__()
        self.early = nn.Sequential(
            SameConv2d(3, 16, 3, stride=2), nn.PReLU(16), _block(16, 16), _block(16, 16), _block(16, 32, stride=2)
        )
        self.late = nn.Sequential(
            *_start(),
            _block(128, 128),
            _block(128, 128),
            _block(128, 128, stride=2),
            _block(128, 128),
            _block(128, 128),
            *_end(),
        )
        self.points = nn.Conv2d(32, POINTS * 3, 3)
        self.presence = nn.Conv2d(32, 1, 3)
        self.regions = Regions()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Find the points.

        Args:
            image (`torch.Tensor` of shape `(batch, 3, 192, 192)`): RGB in [0, 1].

        Returns:
            `tuple` of 5 `torch.Tensor`: All points in pixels of the image, x right, y down. The mesh of shape
            `(batch, 468, 3)`, with z away from the camera at the same scale; the logit of a face, of shape
            `(batch, 1)`; the lips of shape `(batch, 80, 2)`, in the order of `LIPS`; and of the person's right and
            left eye the contours of shape `(batch, 2, 71, 2)`, and the irises of shape `(batch, 2, 5, 2)`: centre
            and rim.

        Raises:
            ValueError: If the image has another shape.
        """
        check_input(image, self.image_size)
        features = self.early(image)  # (batch, 32, 48, 48)
        end = self.late(features)  # (batch, 32, 3, 3)
        mesh = self.points(end).reshape(-1, POINTS, 3)
        presence = self.presence(end).reshape(-1, 1)
        to_image = self._crops(mesh[..., :2])  # (batch, 3, 2, 3)
        lips, contours, irises = self.regions(self._sample(features, to_image))
        lips, contours = _place(lips, to_image[:, 0]), _place(contours, to_image[:, 1:])
        return mesh, presence, lips, contours, _place(irises, to_image[:, 1:])

    def _crops(self, points: Tensor) -> Tensor:
        """From samples of the three crops, counted from the crop's corner, to pixels of the image: (batch, 3, 2, 3)."""
        members = points[:, MEMBERS]  # (batch, region, point, xy)
        across = F.normalize(members[:, :, 1] - members[:, :, 0], dim=-1)
        turn = (across @ TURNED.to(across)).reshape(-1, len(REGIONS), 2, 2)  # columns: right, down
        upright = members @ turn
        low, high = upright.amin(2), upright.amax(2)
        scale = (high - low) * (MARGIN / CROP)
        corner = (low + high) / 2 - scale * (CROP / 2)
        return torch.cat([turn * scale[:, :, None], turn @ corner[..., None]], -1)

    def _sample(self, features: Tensor, to_image: Tensor) -> Tensor:
        """The features in the three crops, bilinear, 0 outside: (batch, 32, 3, 16, 16)."""
        side = features.shape[-1]
        at = SAMPLES.to(features) @ to_image[..., :2].mT + to_image[..., None, :, 2]  # (batch, 3, 256, 2), pixels
        at = at * (2 / FEATURE_PIXELS / side) - 1
        inside = (at.abs() <= 1 - 1 / side).all(-1)
        found = F.grid_sample(features, at, align_corners=False)  # (batch, 32, 3, 256)
        found = found * inside[:, None]
        return found.unflatten(-1, (CROP, CROP))


class Regions(nn.Module):
    """Points of the lips and of both eyes, each read from a crop of its own."""

    def __init__(self):
        super().__init__()
        self.lips = nn.Sequential(*_start(), *_region_end(len(LIPS)))
        self.eyes = nn.ModuleList(nn.Sequential(*_start()) for _ in range(2))  # right, left
        self.contours = nn.ModuleList(nn.Sequential(*_region_end(CONTOUR_POINTS)) for _ in range(2))
        self.irises = nn.ModuleList(nn.Sequential(*_region_end(IRIS_POINTS)) for _ in range(2))

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Find the points.

        Args:
            crops (`torch.Tensor` of shape `(batch, 32, 3, 16, 16)`): Features of the lips, the right, the left eye.

        Returns:
            `tuple` of 3 `torch.Tensor`: Lips `(batch, 80, 2)`, contours `(batch, 2, 71, 2)` and irises
            `(batch, 2, 5, 2)`, four units a sample, counted from the crop's corner.
        """
        crop, *crops = crops.unbind(2)
        lips, contours, irises = self.lips(crop), [], []
        for side, crop in enumerate(crops):
            eye = self.eyes[side](crop)
            contours.append(self.contours[side](eye))
            irises.append(self.irises[side](eye))
        return as_points(lips), as_points(torch.stack(contours, 1)), as_points(torch.stack(irises, 1))


def as_points(found: Tensor) -> Tensor:
    """What a last layer says, `(..., 2 * points, 1, 1)`, as points: (..., points, 2)."""
    return found.flatten(-3).unflatten(-1, (-1, 2))


def _place(points: Tensor, to_image: Tensor) -> Tensor:
    """Points `(..., points, 2)` of crops, in pixels of the image; `to_image` is `(..., 2, 3)`."""
    return points @ (to_image[..., :2].mT / FEATURE_PIXELS) + to_image[..., None, :, 2]


def _start() -> list[nn.Module]:
    """From the features of the image, or of the crop of a region, to 128 channels at a quarter of their size."""
    return [
        _block(32, 32),
        _block(32, 32),
        _block(32, 64, stride=2),
        _block(64, 64),
        _block(64, 64),
        _block(64, 128, stride=2),
    ]


def _region_end(points: int) -> list[nn.Module]:
    return [_block(128, 128), _block(128, 128), *_end(), nn.Conv2d(32, points * 2, 2)]


def _end() -> list[nn.Module]:
    return [
        _block(128, 128, stride=2),
        _block(128, 128),
        _block(128, 128),
        pointwise(128, 32),
        nn.PReLU(32),
        _block(32, 32),
    ]


def _block(in_channels: int, out_channels: int, stride: int = 1) -> BlazeBlock:
    return BlazeBlock(in_channels, out_channels, stride, prelu=True)
