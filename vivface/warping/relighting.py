"""The other side of a face in the light of this one: what a photograph hides is shown as its mirror image, matched.

Light from aside makes both halves of a face differ in brightness and colour. So the mirror image is multiplied by the
ratio of the photograph's smooth colours at both places. Where a place is hidden, its smooth colour is that of what is
seen around it.
"""

from __future__ import annotations

import cv2
import numpy as np

from vivface.faces.pose import HeadPose
from vivface.warping.mesh import mirror, step, triangles
from vivface.warping.triangulation import affine_tables, interpolate, shown_triangles

COARSE = 256  # pixels at which smooth colours are found
SMOOTH = 9.0  # millimetres: standard deviation over which colours are smooth
FADE = 4.0  # millimetres from the outline of the face inwards over which its light begins to count
MOST_LIGHT = 3.0  # times as bright or dark as it is
DARK = 6.0  # added to both colours of a ratio, of 255


def relit(photo: np.ndarray, points: np.ndarray, pose: HeadPose, scale: float) -> np.ndarray:
    """The photograph with its face in the light of the face's other side.

    Args:
        photo (`np.ndarray` of shape `(height, height, 3 or 4)`): The portrait, uint8 RGB or RGBA.
        points (`np.ndarray` of shape `(468, 3)`): Its face in the photograph, from 0 to 1.
        pose (`HeadPose`): The head's pose in the photograph's crop.
        scale (`float`): Crops that the photograph shows across.

    Returns:
        `np.ndarray`: As `photo`; the same outside the face.
    """
    small = cv2.resize(photo, (COARSE, COARSE), interpolation=cv2.INTER_AREA).astype(np.float32)
    pixels = pose.scale / scale * COARSE  # a millimetre
    face = _face(points)
    if photo.shape[2] == 4:
        face *= small[..., 3] / 255
        small = small[..., :3]
    known = np.maximum(_blurred(face, SMOOTH * pixels), 1e-3)[..., None]
    smooth = _blurred(small * face[..., None], SMOOTH * pixels) / known
    across = _across(points)
    there = cv2.remap(smooth, across, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    ratio = ((there + DARK) / (smooth + DARK)).clip(1 / MOST_LIGHT, MOST_LIGHT)
    inside = cv2.erode(face, np.ones((3, 3), np.uint8))
    weight = (2 * _blurred(inside, FADE * pixels) - 1).clip(0, 1)[..., None]
    ratio = _blurred(1 + weight * (ratio - 1), 0.3 * SMOOTH * pixels)
    ratio = cv2.resize(ratio, photo.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    changed = photo.copy()
    changed[..., :3] = np.round(photo[..., :3] * ratio).clip(0, 255).astype(np.uint8)
    return changed


def with_other_side(own: np.ndarray, other: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Pictures of both sides in one.

    Colours pass from one into the other, and where a side has nothing they are those of the other. Halfway, what
    either side shows is seen in full: half of both would be a head that one can look through.

    Args:
        own, other (`np.ndarray` of shape `(height, width, 3 or 4)`): uint8 RGB or RGBA.
        share (`np.ndarray` of shape `(height, width)`): How much of the other one, in [0, 1].

    Returns:
        `np.ndarray`: As `own`.
    """
    if own.shape[2] == 3:
        return cv2.blendLinear(own, other, 1 - share, share)
    here, there = (cv2.extractChannel(side, 3).astype(np.float32) for side in (own, other))
    first, second = (1 - share) * (here + 1), share * (there + 1)
    second /= first + second
    mixed = cv2.blendLinear(own, other, 1 - second, second)
    mixed[..., 3] = np.round(np.maximum(here * (1 - step(share, 0.5, 1)), there * step(share, 0, 0.5)))
    return mixed


def _face(points: np.ndarray) -> np.ndarray:
    """Where the face is, `(COARSE, COARSE)`: 0 or 1."""
    mask = np.zeros((COARSE, COARSE), np.float32)
    cv2.fillConvexPoly(mask, cv2.convexHull((points[:, :2] * COARSE - 0.5).astype(np.int32)), 1.0)
    return mask


def _across(points: np.ndarray) -> np.ndarray:
    """For each pixel the one on the other side of the face, `(COARSE, COARSE, 2)`, float32; itself beside the face."""
    corners, box = triangles().corners, (0, 0, COARSE, COARSE)
    order = np.argsort(-points[corners, 2].mean(1), kind="stable")
    shown = shown_triangles(points, corners, order, box, COARSE)
    tables = affine_tables(points, points[mirror(), :2], corners)
    return interpolate(shown, tables, box, COARSE) * COARSE - 0.5


def _blurred(image: np.ndarray, spread: float) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), max(spread, 0.5), borderType=cv2.BORDER_REPLICATE)
