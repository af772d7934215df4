"""Where a photograph's lips really end: the inner rim, which the mesh knows to a millimetre or two only.

The rim is looked for along lines from the red of the upper lip to the red of the lower one. What is unlike both lips in
colour, teeth and the dark of the mouth, lies between them.
"""

from __future__ import annotations

import cv2
import numpy as np

from vivface.warping.mesh import LOWER_LIP, UPPER_LIP, PosedFace, step

# fmt: off
UPPER_ROWS = np.array([  # rows of points on the upper lip, from the rim outwards; the last is on its middle
    [191, 80, 81, 82, 13, 312, 311, 310, 415], [183, 42, 41, 38, 12, 268, 271, 272, 407],
    [184, 74, 73, 72, 11, 302, 303, 304, 408],
])
LOWER_ROWS = np.array([
    [95, 88, 178, 87, 14, 317, 402, 318, 324], [96, 89, 179, 86, 15, 316, 403, 319, 325],
    [77, 90, 180, 85, 16, 315, 404, 320, 307],
])
# fmt: on
CORNERS = np.array([[78, 308], [62, 292], [76, 306]])  # of the mouth, as the rows
FOLLOW = (1.0, 0.6, 0.25)  # how far the rows follow the rim
STEPS = 64  # places along a line
UNLIKE = (5.0, 13.0)  # distance in CIE Lab from which a colour is not the lip's: least and most
SHADE = 12.0  # how much darker, in CIE Lab, a lip may get towards its rim
CONTRAST = (3.0, 8.0)  # distance in CIE Lab along a line: below, the mesh alone is believed; above, the photograph
STIFF = 0.45  # cost of a millimetre between the rim and where the mesh has it, in places unlike a lip
INSET, INSET_FROM = 0.9, (0.5, 2.0)  # millimetres of rim that are left to the mouth if lips part; gaps: none, all
ROUND = 2.2  # millimetres: standard deviation over which the rim of a wide open mouth is smoothed
WIDE = (-0.8, 0.0)  # minus the cosine at the corners of the mouth: sharp, wide open
FINE = 96  # points of a smooth rim
MOST = 2.0  # millimetres that the rim may move


def fit_lips(photo: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points of a face with the inner rim of the lips where the photograph shows it.

    Args:
        photo (`np.ndarray` of shape `(size, size, 3)`): The aligned portrait, uint8 RGB.
        points (`np.ndarray` of shape `(478, 3)`): Its face, see `vivface.warping.mesh`.

    Returns:
        `np.ndarray` of shape `(478, 3)`: Points of the lips moved, the others as given.
    """
    scale = PosedFace.of(points).pose.scale  # crops a millimetre
    start, end = points[UPPER_ROWS[2], :2], points[LOWER_ROWS[2], :2]
    share = np.linspace(0, 1, STEPS)
    lines = start[:, None] + share[:, None] * (end - start)[:, None]  # (9, STEPS, 2)
    lab = _colors(photo, lines, scale)
    length = np.linalg.norm(end - start, axis=1) / scale  # millimetres
    towards = (end - start) / np.maximum(np.linalg.norm(end - start, axis=1, keepdims=True), 1e-9)
    known = np.stack(
        [((points[row, :2] - start) * towards).sum(1) / scale for row in (UPPER_LIP, LOWER_LIP)], 1
    )  # (9, 2): where the mesh has the rims along the lines, millimetres
    found = np.array([_rims(lab[k], length[k], known[k]) for k in range(len(lines))])
    change = (found - known).clip(-MOST, MOST)
    change = np.stack([_smooth(change[:, side]) for side in (0, 1)], 1)
    change *= _allowed(change[:, 1] - change[:, 0], known[:, 1] - known[:, 0])[:, None]
    inset = _inset(known + change)
    change += inset
    fitted = points.copy()
    for rows, side in ((UPPER_ROWS, 0), (LOWER_ROWS, 1)):
        for row, follow in zip(rows, FOLLOW, strict=True):
            fitted[row, :2] += follow * scale * change[:, side : side + 1] * towards
    outwards = points[CORNERS[0], :2] - points[CORNERS[0], :2].mean(0)
    outwards *= inset.max() / np.maximum(np.linalg.norm(outwards, axis=1, keepdims=True), 1e-9)
    ends = (change[[0, -1]].mean(1, keepdims=True) * towards[[0, -1]] + outwards) * scale
    for pair, follow in zip(CORNERS, FOLLOW, strict=True):
        fitted[pair, :2] += follow * ends
    return fitted


def rounded(rim: np.ndarray) -> np.ndarray:
    """The inner rim of parted lips with round corners: few points of the mesh make a hexagon of a wide open mouth.

    Args:
        rim (`np.ndarray` of shape `(20, 3)`): See `vivface.warping.mesh.lip_loop`, millimetres.

    Returns:
        `np.ndarray` of shape `(N, 3)`: As given as long as the lips meet at sharp corners.
    """
    corners = np.array([0, len(rim) // 2])
    ahead, back = (rim[(corners + k) % len(rim), :2] - rim[corners, :2] for k in (1, -1))
    lengths = np.linalg.norm(ahead, axis=1) * np.linalg.norm(back, axis=1)
    spread = ROUND * float(step(-(ahead * back).sum(1) / np.maximum(lengths, 1e-9), *WIDE).min())
    if spread == 0:
        return rim
    closed = np.concatenate([rim, rim[:1]])
    along = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(closed, axis=0), axis=1))])
    at = np.linspace(0, along[-1], FINE, endpoint=False)
    fine = np.stack([np.interp(at, along, column) for column in closed.T], 1)
    thrice = np.concatenate([fine, fine, fine])  # it has no ends
    return cv2.GaussianBlur(thrice, (1, 0), 1, sigmaY=spread * FINE / along[-1])[FINE:-FINE]


def _allowed(opened: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """What share of the changes `(9,)` is allowed: gaps at most double, so lips that the network sees shut stay so."""
    return np.minimum(1, np.maximum(gaps, 0) / np.maximum(opened, 1e-6))


def _inset(rims: np.ndarray) -> np.ndarray:
    """How far rims `(9, 2)` go into parted lips, so that no edge of a tooth and no dark corner moves with them."""
    return INSET * step((rims[:, 1] - rims[:, 0]).max(), *INSET_FROM) * np.tile([-1.0, 1.0], (len(rims), 1))


def _colors(photo: np.ndarray, lines: np.ndarray, scale: float) -> np.ndarray:
    """CIE Lab `(9, STEPS, 3)` along lines."""
    size = len(photo)
    smooth = cv2.GaussianBlur(photo, (0, 0), max(0.35 * scale * size, 0.5))
    at = (lines * size - 0.5).astype(np.float32)
    return cv2.cvtColor(cv2.remap(smooth, at, None, cv2.INTER_LINEAR).astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


def _rims(lab: np.ndarray, length: float, known: np.ndarray) -> np.ndarray:
    """Both rims `(2,)` on a line, millimetres from its start: the cut into lip, mouth and lip that costs least.

    Args:
        lab (`np.ndarray` of shape `(STEPS, 3)`): Colours along the line, which starts and ends on a lip.
        length (`float`): Of the line, millimetres.
        known (`np.ndarray` of shape `(2,)`): Where the mesh has them.
    """
    upper, lower = (_unlike(lab, lip, bright) for lip, bright in ((lab[:4].mean(0), 1.0), (lab[-6:].mean(0), 0.6)))
    place = np.linspace(0, length, STEPS + 1)
    cost_upper = np.concatenate([[0], np.cumsum(upper)]) * length / STEPS + STIFF * np.abs(place - known[0])
    cost_lower = np.concatenate([np.cumsum(lower[::-1])[::-1], [0]]) * length / STEPS
    cost_lower += STIFF * np.abs(place - known[1])
    cost = cost_upper[:, None] + cost_lower[None]
    cost[np.tril_indices(STEPS + 1, -1)] = np.inf
    i, j = np.unravel_index(cost.argmin(), cost.shape)
    return np.array([place[i], place[j]])


def _unlike(lab: np.ndarray, lip: np.ndarray, bright: float) -> np.ndarray:
    """How unlike a lip colours `(STEPS, 3)` are: from -1 to 2, above 0 where it is not the lip.

    A lip that bends inwards gets darker, so only what is much darker counts; `bright` weighs what is brighter.
    """
    off = lab - lip
    off[:, 0] = np.where(off[:, 0] > 0, bright * off[:, 0], 0.8 * np.minimum(off[:, 0] + SHADE, 0))
    distance = np.linalg.norm(off, axis=1)
    limit = np.clip(0.5 * np.percentile(distance[4:-4], 80), *UNLIKE)
    trust = np.clip((np.percentile(distance, 95) - CONTRAST[0]) / (CONTRAST[1] - CONTRAST[0]), 0, 1)
    return trust * (np.minimum((distance / limit) ** 2, 3.0) - 1)


def _smooth(change: np.ndarray) -> np.ndarray:
    """Changes `(9,)` along a lip without outliers."""
    padded = np.pad(change, 1, mode="edge")
    middle = np.median(np.lib.stride_tricks.sliding_window_view(padded, 3), 1)
    return np.convolve(np.pad(middle, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
