"""Sliders of a face: named movements of its points, for stills.

How movements of the mouth move the points was measured on renders (`training/tools/fit_warping.py`); renders' brows are
seen too little for that, so theirs is a smooth lift of the brow's points that fades towards lids and hair. Lids and
irises are set outright. Left and right are the person's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from vivface.errors import OptionError
from vivface.faces.pose import HeadPose, turn_of
from vivface.warping.gaps import lip_gaps, open_lids, with_lid_gaps, with_lip_gaps
from vivface.warping.gaze import EYE_RADIUS, iris_places, with_irises
from vivface.warping.jaw import with_jaw_down
from vivface.warping.mesh import MESH, PosedFace, mirror, triangles
from vivface.warping.movements import mouth_movements
from vivface.warping.regions import BROWS, part_weights
from vivface.warping.retargeting import lid_gaps

NECK = np.array([0.0, 70.0, 70.0])  # millimetres from the middle of the face: the joint about which a head turns
BROW_LIFT = 7.0  # millimetres that a brow is lifted at 1, and lowered at -1 about half of it
BROW_REACH = (16.0, 26.0)  # millimetres below and above the brow over which that fades
INNER_REACH = 14.0  # millimetres from the inner end of a brow that worry lifts
WIDER = 2.5  # millimetres that lids open beyond the open eye at 1
LID_FOLLOWS = 0.3  # share of the open eye that the upper lid comes down when the eye looks 20 degrees down


@dataclass(frozen=True)
class Control:
    """A slider.

    Attributes:
        name (`str`): In Python and on the command line.
        label (`str`): On the page.
        low, high (`float`): Its range; 0 leaves the portrait as it is.
        group (`str`): What belongs together: "Mouth", "Eyes and brows" or "Head".
        help (`str`): What its ends are.
    """

    name: str
    label: str
    low: float
    high: float
    group: str
    help: str

    @property
    def step(self) -> float:
        """Of the slider."""
        return 0.5 if self.high > 2 else 0.05


MOUTH, EYES, HEAD = "Mouth", "Eyes and brows", "Head"
CONTROLS: dict[str, Control] = {
    control.name: control
    for control in (
        Control("smile", "Smile", -1, 1, MOUTH, "-1 corners down, 1 corners up"),
        Control("grin", "Grin, with teeth", 0, 1, MOUTH, "1 shows the teeth"),
        Control("mouth_open", "Mouth open", -1, 1, MOUTH, "-1 shuts an open mouth, 1 wide open"),
        Control("pucker", "Pucker", 0, 1, MOUTH, "1 lips forward, as for a kiss"),
        Control("funnel", "Lips round", 0, 1, MOUTH, "1 as for oh"),
        Control("stretch", "Lips wide", 0, 1, MOUTH, "1 as for ee"),
        Control("lids", "Lids", -1, 1, EYES, "-1 shut, 1 wide open"),
        Control("wink_left", "Wink, left eye", 0, 1, EYES, "1 shut"),
        Control("wink_right", "Wink, right eye", 0, 1, EYES, "1 shut"),
        Control("gaze_x", "Gaze, sideways", -20, 20, EYES, "degrees, above 0 toward the left edge of the image"),
        Control("gaze_y", "Gaze, up and down", -12, 12, EYES, "degrees, above 0 down"),
        Control("brows", "Brows", -1, 1, EYES, "-1 lowered, 1 raised"),
        Control("brow_left", "Left brow", -1, 1, EYES, "-1 lowered, 1 raised"),
        Control("brow_right", "Right brow", -1, 1, EYES, "-1 lowered, 1 raised"),
        Control("worry", "Brows, inner ends", -1, 1, EYES, "-1 drawn down, 1 raised as in worry"),
        Control("yaw", "Turn", -25, 25, HEAD, "degrees, above 0 toward the left edge of the image"),
        Control("pitch", "Nod", -15, 15, HEAD, "degrees, above 0 down"),
        Control("roll", "Tilt", -20, 20, HEAD, "degrees, above 0 clockwise in the image"),
    )
}
GAINS = {  # times the renders' full movement at 1
    "smile": 1.5, "frown": 1.5, "grin": 0.85, "mouth_open": 0.8, "pucker": 1.2, "funnel": 1.3, "stretch": 2.0,
}  # fmt: skip
OPENING = ("grin", "mouth_open", "funnel")  # the others leave the lips as far apart as they are
PRESETS: dict[str, dict[str, float]] = {
    "smile": {"smile": 0.7, "lids": -0.1},
    "laugh": {"smile": 0.6, "grin": 0.7, "mouth_open": 0.45, "lids": -0.25, "brows": 0.2, "pitch": -4},
    "surprise": {"mouth_open": 0.6, "funnel": 0.3, "lids": 0.8, "brows": 0.9},
    "sad": {"smile": -0.7, "worry": 0.8, "lids": -0.2, "gaze_y": 6, "pitch": 5},
    "angry": {"smile": -0.4, "stretch": 0.2, "brows": -0.8, "worry": -0.8, "lids": 0.2, "pitch": 3},
    "kiss": {"pucker": 0.9, "lids": -0.8},
    "wink": {"smile": 0.6, "wink_left": 1, "brow_left": -0.3, "roll": -4},
    "sceptical": {"smile": -0.2, "brow_right": 0.9, "brow_left": -0.3, "lids": -0.15, "roll": 3},
}

Expression = Mapping[str, float]


def check_expression(values: Expression) -> dict[str, float]:
    """Values of controls by name, those that are 0 left out.

    Raises:
        OptionError: If one is unknown, no number, or out of its range.
    """
    if not isinstance(values, Mapping):
        raise OptionError(f"An expression is {values!r}; expected amounts by name, such as {{'smile': 0.6}}.")
    for name, value in values.items():
        if name not in CONTROLS:
            raise OptionError(f"There is no expression control {name!r}: take one of {', '.join(CONTROLS)}.")
        control = CONTROLS[name]
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not control.low <= value <= control.high:
            raise OptionError(f"`{name}` is {value!r}; expected {control.low:g} to {control.high:g}: {control.help}.")
    return {name: float(value) for name, value in values.items() if value}


class ControlledFace:
    """A portrait's face under controls.

    Args:
        portrait (`PosedFace`): As the photograph shows it.
    """

    def __init__(self, portrait: PosedFace):
        self.portrait = portrait

    def __call__(self, values: Expression) -> tuple[np.ndarray, HeadPose]:
        """Shape `(478, 3)` in millimetres and pose of the face.

        Args:
            values (mapping): Amounts by name of `CONTROLS`.

        Raises:
            OptionError: As `check_expression`.
        """
        values = dict.fromkeys(CONTROLS, 0.0) | check_expression(values)
        shape = self._move_mouth(values)
        shape[:MESH, 1] += _brow_lift(values)
        shape = self._look(shape, values)
        return self._open_lids(shape, values), self._turn(values)

    def _move_mouth(self, values: dict[str, float]) -> np.ndarray:
        own, moves = self.portrait.shape, _mouth_moves()
        amounts = {name: max(values.get(name, 0.0), 0.0) for name in GAINS} | {"frown": max(-values["smile"], 0.0)}
        shape = own.copy()
        for name, amount in amounts.items():
            shape[:MESH] += amount * moves[name]
        gaps = lip_gaps(own) + sum(amounts[name] * lip_gaps(moves[name]) for name in OPENING)
        shut = max(-values["mouth_open"], 0.0)
        shape[:MESH] -= shut * lip_gaps(own).max() / lip_gaps(moves["mouth_open"]).max() * moves["mouth_open"]
        shape = with_jaw_down(shape, own, amounts["mouth_open"] * lip_gaps(moves["mouth_open"]).max())
        return with_lip_gaps(shape, np.maximum((1 - shut) * gaps, 0))

    def _look(self, shape: np.ndarray, values: dict[str, float]) -> np.ndarray:
        """Turn the eyes: `gaze_x` above 0 moves irises to the left edge of an image that shows the face upright."""
        angles = np.radians([-values["gaze_x"], values["gaze_y"]])
        return with_irises(shape, iris_places(self.portrait.shape) + EYE_RADIUS * np.sin(angles))

    def _open_lids(self, shape: np.ndarray, values: dict[str, float]) -> np.ndarray:
        own, opened = lid_gaps(self.portrait.shape), open_lids(self.portrait.shape)
        lids = values["lids"]
        gaps = own * (1 + lids) if lids < 0 else own + lids * (opened + WIDER - own)
        gaps = gaps - LID_FOLLOWS * np.sin(np.radians(values["gaze_y"])) / np.sin(np.radians(20)) * opened
        gaps = gaps * (1 - np.array([values["wink_right"], values["wink_left"]]))
        return with_lid_gaps(shape, np.maximum(gaps, 0))

    def _turn(self, values: dict[str, float]) -> HeadPose:
        """Turn the head about its neck."""
        own = self.portrait.pose
        turn = turn_of(np.radians([values["yaw"], values["pitch"], values["roll"]])) @ own.turn
        center = own.center + own.scale * (own.turn @ NECK - turn @ NECK)
        return HeadPose(turn, own.scale, center)


@cache
def _mouth_moves() -> dict[str, np.ndarray]:
    """Each control of the mouth at 1 as a movement `(468, 3)`, millimetres; `frown` is `smile` at -1."""
    return {name: gain * mouth_movements()[name] for name, gain in GAINS.items()}


def _brow_lift(values: dict[str, float]) -> np.ndarray:
    """How far brows and forehead move down `(468,)`, millimetres."""
    right, left, inner = _brow_moves()
    amounts = [values["brows"] + values["brow_right"], values["brows"] + values["brow_left"]]
    amounts = [amount if amount > 0 else 0.5 * amount for amount in amounts]
    worry = values["worry"] if values["worry"] > 0 else 0.6 * values["worry"]
    return -BROW_LIFT * (amounts[0] * right + amounts[1] * left + 0.8 * worry * inner)


@cache
def _brow_moves() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares `(468,)` that follow the right brow, the left brow, and the inner ends of both."""
    layout = triangles().layout
    brow = layout[BROWS[np.argsort(layout[BROWS, 0])]]
    across = np.abs(layout[:, 0])
    line = np.interp(-across, brow[:, 0], brow[:, 1])
    below, above = BROW_REACH
    from_line = layout[:, 1] - line
    fades = np.exp(-((from_line / np.where(from_line > 0, below, above)) ** 2))
    fades *= 1 - part_weights()[:MESH, 0]  # nose and cheeks stay
    fades *= np.where(part_weights()[:MESH, 1] > 0.5, 0.35, 1.0)  # the fold of the lid follows a little
    fades *= np.exp(-((np.maximum(across - np.abs(brow[:, 0]).max(), 0) / 12) ** 2))
    side = 1 / (1 + np.exp(layout[:, 0] / 3.0))  # 1 on the person's right
    inner_end = np.abs(brow[:, 0]).min()
    inner = fades * np.exp(-((np.maximum(across - inner_end, 0) / INNER_REACH) ** 2))
    return fades * side, (fades * side)[mirror()], (inner + inner[mirror()]) / 2
