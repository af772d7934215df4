"""The person in a photograph as a layer of its own over a steady background."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import torch

from vivface.faces.networks import load_network
from vivface.warping.filling import continued, spread
from vivface.warping.mesh import step

INNER = 0.88  # of the face, which is the person whatever the network says: the mesh draws far cheeks too wide
SURE = (0.3, 0.7)  # probabilities of the network that count as background and as person
EDGE = 0.012  # widths of the photograph around the outline in which hair and background are told apart by colour
EDGE_COLORS = 1e-3  # squared contrast, of the range, below which an edge is not followed
CLEAR = 0.02  # widths of the photograph that a pixel of the background stays away from the person
UNSEEN = 0.02  # opacity that is not seen
LEAST_FACE = 0.6  # of the face at least has to be seen as a person, or there is no matte
SMOOTH, DETAILS = 0.02, 0.15  # widths: standard deviation of smooth colours; how far behind the person details reach
GRAIN_SEED = 0


@dataclass(frozen=True)
class Layers:
    """A photograph in two layers, which blended give it again.

    Attributes:
        person (`np.ndarray` of shape `(height, width, 4)`): RGB without the background's colours, then opacity; uint8.
        plate (`np.ndarray` of shape `(height, width, 3)`): The background, filled in behind the person; uint8 RGB.
    """

    person: np.ndarray
    plate: np.ndarray


def separate(photo: np.ndarray, face: np.ndarray) -> Layers | None:
    """Part a photograph into person and background.

    Args:
        photo (`np.ndarray` of shape `(height, height, 3)`): uint8 RGB, a square around the head.
        face (`np.ndarray` of shape `(N, 2)`): Points on the face, from 0 to 1.

    Returns:
        `Layers`, or None where the network takes the face for background.
    """
    seen = step(_probability(photo), *SURE).astype(np.float32)
    hull = np.zeros(seen.shape, np.uint8)
    inner = face.mean(0) + INNER * (face - face.mean(0))
    cv2.fillConvexPoly(hull, cv2.convexHull(np.round(inner * len(seen) - 0.5).astype(np.int32)), 1)
    if not hull.any() or seen[hull > 0].mean() < LEAST_FACE:
        return None
    matte = _follow_edges(np.maximum(seen, hull), photo)
    plate = _fill_in(photo, matte)
    colors = _without_background(photo, plate, matte)
    opacity = np.round(matte * 255).astype(np.uint8)
    return Layers(np.dstack([colors, opacity]), plate)


@cache
def _network() -> torch.nn.Module:
    return load_network("person_segmentation")


def _probability(photo: np.ndarray) -> np.ndarray:
    """How likely each pixel belongs to a person, float32 `(256, 256)`."""
    network = _network()
    small = cv2.resize(photo, (network.image_size, network.image_size), interpolation=cv2.INTER_AREA)
    with torch.inference_mode():
        return network(torch.from_numpy(small).permute(2, 0, 1)[None].float() / 255)[0, 0].numpy()


def _follow_edges(matte: np.ndarray, photo: np.ndarray) -> np.ndarray:
    """A coarse matte at the photograph's size, along its edges (He et al., Guided Image Filtering, ECCV 2010)."""
    size = len(photo)
    guide = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    matte = cv2.resize(matte, (size, size), interpolation=cv2.INTER_LINEAR)
    window = (2 * max(round(EDGE * size), 1) + 1,) * 2
    mean, mean_matte = cv2.blur(guide, window), cv2.blur(matte, window)
    variance = cv2.blur(guide * guide, window) - mean * mean
    slope = (cv2.blur(guide * matte, window) - mean * mean_matte) / (variance + EDGE_COLORS)
    offset = mean_matte - slope * mean
    filtered = cv2.blur(slope, window) * guide + cv2.blur(offset, window)
    near = step(filtered, 0.05, 0.95)
    return near.astype(np.float32)


def _fill_in(photo: np.ndarray, matte: np.ndarray) -> np.ndarray:
    """The background with what the person hides filled in: smooth colours, and the details that lie beside them."""
    size = len(photo)
    reach = 2 * max(round(CLEAR * size / 2), 1) + 1
    known = (cv2.dilate(matte, np.ones((reach, reach), np.uint8)) < UNSEEN).astype(np.float32)
    if not known.any():
        return photo.copy()
    image = photo.astype(np.float32)
    grain = np.random.default_rng(GRAIN_SEED).normal(0, _grain(image, known), (size, size, 1)).astype(np.float32)
    filled = continued(image, known, SMOOTH * size, DETAILS * size, grain)
    own = cv2.blur(cv2.erode(known, np.ones((reach, reach), np.uint8)), (reach, reach))[..., None]
    return np.round(filled + own * (image - filled)).clip(0, 255).astype(np.uint8)


def _grain(image: np.ndarray, known: np.ndarray) -> float:
    """Standard deviation of the background's noise, levels."""
    gray = image.mean(2)
    residual = np.abs(gray - cv2.GaussianBlur(gray, (0, 0), 1.0))[known > 0]
    return 1.4826 * float(np.median(residual))


def _without_background(photo: np.ndarray, plate: np.ndarray, matte: np.ndarray) -> np.ndarray:
    """The person's own colours where the background shines through."""
    image, behind, share = photo.astype(np.float32), plate.astype(np.float32), matte[..., None]
    inside = spread(image, (matte > 0.98).astype(np.float32))
    exact = (image - (1 - share) * behind) / np.maximum(share, 0.1)
    trust = step(share, 0.1, 0.6)
    return np.round(inside + trust * (exact.clip(0, 255) - inside)).clip(0, 255).astype(np.uint8)
