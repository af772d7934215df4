"""Where the landmarks of a portrait go under a driver's motion."""

from __future__ import annotations

import numpy as np

STEADY = (27, 28, 29, 30, 31, 33, 35, 36, 39, 42, 45)  # nose and corners of the eyes: they hardly move with expressions
EYES = (((36, 39), ((37, 41), (38, 40))), ((42, 45), ((43, 47), (44, 46))))  # corners, pairs of upper and lower lid
LIPS = ((61, 67), (62, 66), (63, 65))  # pairs of upper and lower inner lip
UPPER_LIP = {61: 1.0, 62: 1.0, 63: 1.0, 50: 1.0, 51: 1.0, 52: 1.0, 49: 0.5, 53: 0.5}  # how far points follow a lip
LOWER_LIP = {
    67: 1.0,
    66: 1.0,
    65: 1.0,
    58: 1.0,
    57: 1.0,
    56: 1.0,
    59: 0.5,
    55: 0.5,
    8: 0.9,
    7: 0.9,
    9: 0.9,
    6: 0.5,
    10: 0.5,
}
UPPER_LID_SHARE, UPPER_LIP_SHARE = 0.8, 0.2  # of a change of the opening; the rest is the lower one's
LEAST_OPEN = 0.15  # of the eye's width: a reference with shut eyes counts as open so far


def retarget_landmarks(
    source: np.ndarray, driving: np.ndarray, reference: np.ndarray, openings: bool = True
) -> np.ndarray:
    """Move the landmarks of a portrait as the driver's move from a reference frame.

    The driver's displacements are scaled and turned to the portrait's face. Mouth and lids do not add up like that: a
    portrait with an open mouth would keep it open, and small eyes would not shut. So the lips are opened as far as the
    driver's are, relative to the face, and the lids by the same factor as the driver's.

    Args:
        source (`np.ndarray` of shape `(68, 2)`): Landmarks of the portrait, x right, y down.
        driving (`np.ndarray` of shape `(frames, 68, 2)`): Landmarks of the driver.
        reference (`np.ndarray` of shape `(68, 2)`): Landmarks of the driver that correspond to the portrait's pose; at
            best with open eyes.
        openings (`bool`, *optional*, defaults to True): Whether lips and lids are set as described; else everything
            moves relative to the reference.

    Returns:
        `np.ndarray` of shape `(frames, 68, 2)`: where the portrait's landmarks go, in the portrait's pixels.

    Raises:
        ValueError: If an array has another shape.
    """
    for name, array, shape in (("source", source, (68, 2)), ("reference", reference, (68, 2))):
        if np.shape(array) != shape:
            raise ValueError(f"`{name}` has shape {np.shape(array)}; expected {shape}.")
    if np.ndim(driving) != 3 or np.shape(driving)[1:] != (68, 2):
        raise ValueError(f"`driving` has shape {np.shape(driving)}; expected (frames, 68, 2).")
    source, driving, reference = (np.asarray(x, np.float64) for x in (source, driving, reference))
    linear = _similarity(reference[list(STEADY)], source[list(STEADY)])
    target = source + (driving - reference) @ linear.T
    if openings:
        scale = np.sqrt(abs(np.linalg.det(linear)))
        _open_lips(target, driving, scale)
        _open_lids(target, source, driving, reference)
    return target


def _similarity(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The rotation times scale `(2, 2)` that best turns points `(P, 2)` into others (Umeyama, PAMI 1991)."""
    a, b = points - points.mean(0), others - others.mean(0)
    along = (a * b).sum()
    across = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()
    return np.array([[along, -across], [across, along]]) / max((a**2).sum(), 1e-12)


def _down(points: np.ndarray, left: int, right: int) -> np.ndarray:
    """Unit vectors `(frames, 2)` perpendicular to the line between two landmarks, downward in an upright face."""
    line = points[:, right] - points[:, left]
    line = line / np.maximum(np.linalg.norm(line, axis=1, keepdims=True), 1e-9)
    return np.stack([-line[:, 1], line[:, 0]], 1)


def _opening(points: np.ndarray, corners: tuple[int, int], pairs: tuple) -> np.ndarray:
    """Distance `(frames,)` between upper and lower points, perpendicular to the line between the corners."""
    down = _down(points, *corners)
    return np.mean([((points[:, low] - points[:, up]) * down).sum(1) for up, low in pairs], 0)


def _open_lips(target: np.ndarray, driving: np.ndarray, scale: float) -> None:
    """Open the lips of `target` `(frames, 68, 2)` as far as the driver's; changes it."""
    corners = (48, 54)
    wanted = np.maximum(_opening(driving, corners, LIPS), 0) * scale
    change = (wanted - _opening(target, corners, LIPS))[:, None] * _down(target, *corners)
    for point, share in UPPER_LIP.items():
        target[:, point] -= UPPER_LIP_SHARE * share * change
    for point, share in LOWER_LIP.items():
        target[:, point] += (1 - UPPER_LIP_SHARE) * share * change


def _open_lids(target: np.ndarray, source: np.ndarray, driving: np.ndarray, reference: np.ndarray) -> None:
    """Open the lids of `target` `(frames, 68, 2)` by the driver's factor; changes it."""
    for corners, pairs in EYES:
        widths = [np.linalg.norm(x[..., corners[1], :] - x[..., corners[0], :], axis=-1) for x in (driving, reference)]
        now = np.maximum(_opening(driving, corners, pairs), 0) / np.maximum(widths[0], 1e-9)
        open_ = _opening(reference[None], corners, pairs) / max(widths[1], 1e-9)
        factor = np.clip(now / np.maximum(open_, LEAST_OPEN), 0, 1.5)
        down = _down(target, *corners)
        for upper, lower in pairs:
            own = ((source[lower] - source[upper]) * _down(source[None], *corners)[0]).sum()
            change = (own * factor - ((target[:, lower] - target[:, upper]) * down).sum(1))[:, None] * down
            target[:, upper] -= UPPER_LID_SHARE * change
            target[:, lower] += (1 - UPPER_LID_SHARE) * change
