"""Hair beside a face: it stays where the portrait shows it on the cheek, whichever way the head turns.

The mesh reaches to the ears. Where hair hangs before them, a turn would lay bare a cheek that the portrait does not
show, so what lies beside the cheek is drawn over it: near the outline, the face gets no wider than it was.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import cv2
import numpy as np

from vivface.warping.mesh import from_outline, step, to_outline, triangles

PLACES = (0.35, 0.5, 0.65)  # of the way from the outline to the first ring, where hair is looked for
UNLIKE = (10.0, 20.0)  # how much it differs from the skin of the cheek in colour: begins to be hair, is
CHANNELS = 0.2, 1.0, 1.0  # weights of 8-bit Lab in that: of lightness half as much as in Lab itself
SMOOTH = 0.004  # crops: standard deviation of what takes single hairs away
OPAQUE = (0.7, 0.95)  # opacities of the person: of the background, of hair
HEIGHT = (-80.0, -60.0, 65.0, 85.0)  # millimetres below the eyes: where it may be looked for, and ends
CHEEK = (14.0, 32.0), (8.0, 60.0)  # millimetres from the outline, and below the eyes: skin of the cheek
NEAREST = 12  # points of it that are compared with
BAND, BAND_WIDTH = (16.0, 28.0), 6.0  # millimetres from the outline: points that it is held to; standard deviation
NARROW = 24.0  # millimetres from the outline within which skin makes room
ALONG = 12.0  # millimetres along the outline: standard deviation over which this is spread
EARS = (-8.0, 40.0)  # millimetres below the eyes: where ears are
COVERED = (0.5, 0.9)  # of that: where hair begins to hang before an ear, and does
EVEN = 20.0  # millimetres along the outline: standard deviation over which hair is made even
SLACK = 0.08  # of the way from there to the outline that it may get wider
RINGS_FOLLOW = (0.6, 0.39, 0.25)  # how far what lies around the face follows


def colours_and_opacity(photo: np.ndarray, opacity: np.ndarray, reach: float) -> np.ndarray:
    """What `hair_beside` looks at: Lab of a photograph without its details, and the opacity of the person.

    Args:
        photo (`np.ndarray` of shape `(height, height, 3)`): uint8 RGB, `reach` crops wide.
        opacity (`np.ndarray` of shape `(height, height)`): uint8.
        reach (`float`): Crops that both show.

    Returns:
        `np.ndarray` of shape `(height, height, 4)`: float32, all from 0 to 255.
    """
    smooth = cv2.GaussianBlur(photo, (0, 0), SMOOTH * len(photo) / reach)
    return np.dstack([cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB), opacity]).astype(np.float32)


def hair_beside(face: np.ndarray, ring: np.ndarray, person: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """How much of what lies right beside a face is hair, or a scarf: not skin, as ears are.

    Args:
        face (`np.ndarray` of shape `(468, 2)`): The mesh in the portrait's crop.
        ring (`np.ndarray` of shape `(N, 2)`): Places around it, one for each point of its outline.
        person (callable): What `colours_and_opacity` says at places `(M, 2)`: `(M, 4)`.

    Returns:
        `np.ndarray` of shape `(N,)`: for each point of the outline, in [0, 1].
    """
    outline, layout = triangles().outline, triangles().layout
    edge = face[outline]
    seen = edge + np.array(PLACES)[:, None, None] * (ring - edge)
    seen = person(seen.reshape(-1, 2)).reshape(len(PLACES), len(outline), 4)
    skin = np.median(person(face)[_cheek(), :3], 1)  # (N, 3)
    unlike = np.linalg.norm((seen[..., :3] - skin) * CHANNELS, axis=2).min(0)
    x, y, _ = layout[outline].T
    share = step(unlike, *UNLIKE) * step(seen[..., 3].min(0) / 255, *OPAQUE)
    share *= step(y, *HEIGHT[:2]) * (1 - step(y, *HEIGHT[2:]))
    for side in (x < 0, x >= 0):  # hair above an ear does not count
        share[side] *= step(share[side & (y > EARS[0]) & (y < EARS[1])].mean(), *COVERED)
    return _evened() @ share


def outline_held(face: np.ndarray, portrait: np.ndarray, larger: float, share: np.ndarray) -> np.ndarray:
    """How far the outline moves so that the face gets no wider near it than it is in the portrait.

    Args:
        face, portrait (`np.ndarray` of shape `(468, >= 2)`): The mesh now and in the portrait.
        larger (`float`): How much larger it is now.
        share (`np.ndarray` of shape `(N,)`): Where it is held, see `hair_beside`.

    Returns:
        `np.ndarray` of shape `(N, 2)`.
    """
    outline, band = triangles().outline, _band()
    now, was = (points[outline, :2] - band @ points[:, :2] for points in (face, portrait))
    most = (1 + SLACK) * larger * np.linalg.norm(was, axis=1)
    excess = np.maximum(1 - most / np.maximum(np.linalg.norm(now, axis=1), 1e-9), 0)
    return -(share * excess)[:, None] * now


@cache
def around_outline() -> np.ndarray:
    """Weights of the points of the outline for each point of the mesh `(468, N)`, of sum 1."""
    return _weights(to_outline(), ALONG)


@cache
def follows_outline() -> np.ndarray:
    """How far points of the mesh move with those of the outline `(468, N)`."""
    return around_outline() * np.clip(1 - from_outline() / NARROW, 0, 1)[:, None]


def _weights(away: np.ndarray, sigma: float) -> np.ndarray:
    """Of the points of the outline by their distances `(P, N)`: `(P, N)`, of sum 1."""
    weights = np.exp(-0.5 * ((away - away.min(1, keepdims=True)) / sigma) ** 2)
    return weights / weights.sum(1, keepdims=True)


@cache
def _evened() -> np.ndarray:
    """Weights of points of the outline around each of them `(N, N)`, of sum 1."""
    return _weights(to_outline()[triangles().outline], EVEN)


@cache
def _cheek() -> np.ndarray:
    """Points of skin near each point of the outline, of the same side `(N, NEAREST)`."""
    layout, edge = triangles().layout, from_outline()
    outline = layout[triangles().outline]
    (near, far), (high, low) = CHEEK
    skin = (edge > near) & (edge < far) & (layout[:, 1] > high) & (layout[:, 1] < low)
    away = to_outline().T.copy()
    away[:, ~skin] = np.inf
    away[outline[:, None, 0] * layout[None, :, 0] < 0] = np.inf
    return np.argsort(away, 1)[:, :NEAREST]


@cache
def _band() -> np.ndarray:
    """Weights of points in a band beside each point of the outline `(N, 468)`, of sum 1."""
    edge = from_outline()
    weights = np.exp(-0.5 * ((np.ascontiguousarray(to_outline().T) - BAND[0]) / BAND_WIDTH) ** 2)
    weights[:, (edge < BAND[0]) | (edge > BAND[1])] = 0
    return weights / weights.sum(1, keepdims=True)
