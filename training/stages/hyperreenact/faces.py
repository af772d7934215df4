"""Faces of a batch, and what frozen networks read off them: the inversion's code, appearance and pose maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vivface.faces.alignment import ffhq_quad
from vivface.faces.voxceleb import arcface_transform, deca_quad
from vivface.models import IdentityNetwork
from vivface.models.pose_map import lay_out, motion_pose_map

QUADS = {"ffhq": ffhq_quad, "deca": deca_quad}


@dataclass(eq=False)
class Faces:
    """Images of faces; where they have landmarks, every network sees the crop that it is used to.

    Attributes:
        image (`torch.Tensor` of shape `(batch, 3, size, size)`): RGB in [-1, 1].
        landmarks (`torch.Tensor` of shape `(batch, 68, 2)`, *optional*): In fractions of the image; without them the
            images are FFHQ's squares.
    """

    image: Tensor
    landmarks: Tensor | None = None

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, rows: Tensor) -> Faces:
        return Faces(self.image[rows], None if self.landmarks is None else self.landmarks[rows])

    def shown(self, image: Tensor) -> Faces:
        """Other images of faces at the same places."""
        return Faces(image, self.landmarks)

    def where(self, rows: Tensor, other: Faces) -> Faces:
        """These faces where `rows` `(batch,)` is true, else the other ones."""
        landmarks = self.landmarks
        if landmarks is not None and other.landmarks is not None:
            landmarks = torch.where(rows[:, None, None], landmarks, other.landmarks)
        return Faces(torch.where(rows[:, None, None, None], self.image, other.image), landmarks)

    def square(self, kind: str, size: int) -> Tensor:
        """Crops `(batch, 3, size, size)` of a kind: `"ffhq"` or `"deca"`; gradients flow to the image."""
        if self.landmarks is None:
            if self.image.shape[-1] == size:
                return self.image
            shrinks = self.image.shape[-1] > size
            return F.interpolate(self.image, size=(size, size), mode="bilinear", antialias=shrinks)
        pixels = self.image.shape[-1]
        theta = [_theta((QUADS[kind](points * pixels - 0.5) + 0.5) / pixels) for points in self._points()]
        return self._sampled(theta, size)

    def of_identity(self, network: IdentityNetwork) -> Tensor:
        """What an identity network sees: FFHQ's middle, or ArcFace's five points."""
        if self.landmarks is None:
            return network.crop(self.image)
        pixels = self.image.shape[-1]
        theta = [arcface_transform(points * pixels - 0.5, pixels) for points in self._points()]
        return self._sampled(theta, network.config.image_size)

    def _points(self) -> np.ndarray:
        return self.landmarks.detach().cpu().double().numpy()

    def _sampled(self, theta: list[np.ndarray], size: int) -> Tensor:
        moved = torch.from_numpy(np.stack(theta).astype(np.float32)).to(self.image.device)
        grid = F.affine_grid(moved, [len(moved), 3, size, size], align_corners=False)
        return F.grid_sample(self.image.float(), grid, align_corners=False)


def _theta(quad: np.ndarray) -> np.ndarray:
    """From a crop to the image, as `affine_grid` takes it; the quad `(4, 2)` in fractions of the image."""
    right, down = quad[3] - quad[0], quad[1] - quad[0]
    return np.column_stack([right, down, 2 * quad[0] + right + down - 1])


@torch.no_grad()
def source_code(networks: Mapping[str, nn.Module], source: Faces, truncation: float) -> Tensor:
    """The code w_s of sources, `(batch, num_latents, style_dim)`."""
    code = networks["inversion"](source.image, motion=False, memory=False).identity
    return networks["generator"].truncate(code, truncation)


@torch.no_grad()
def code_and_pose(
    networks: Mapping[str, nn.Module], source: Faces, driver: Faces, truncation: float
) -> tuple[Tensor, Tensor]:
    """`source_code` and `pose_map`; of faces that drive themselves, read at once where one network reads both."""
    if source is not driver or "pose" in networks:
        return source_code(networks, source, truncation), pose_map(networks, driver)
    code = networks["inversion"](source.image, memory=False)
    pose = lay_out(code.motion, networks["hypernetwork"].config.side)
    return networks["generator"].truncate(code.identity, truncation), pose


@torch.no_grad()
def appearance_map(networks: Mapping[str, nn.Module], source: Faces) -> Tensor:
    """E_app: `(batch, channels, side, side)`."""
    return networks["appearance"].features(source.of_identity(networks["appearance"]))[-1]


@torch.no_grad()
def pose_map(networks: Mapping[str, nn.Module], driver: Faces) -> Tensor:
    """E_p, or the inversion's motion codes in its place: `(batch, channels, side, side)`."""
    if "pose" in networks:
        return networks["pose"](driver.square("deca", networks["pose"].config.image_size))
    return motion_pose_map(networks["inversion"], driver.image, networks["hypernetwork"].config.side)
