"""A portrait in other poses and expressions: its moved photograph, from which a tuning learns more than one view.

Tuned to the one view that the portrait is, a generator forgets the person as soon as the head turns. The moved
photograph (`vivface.warping`) keeps the person's own features in every pose, so it says how the generator's images
ought to look there.
"""

from __future__ import annotations

import math

import numpy as np

from vivface.faces.ibug import ibug_landmarks
from vivface.faces.mesh_reader import FacePoints
from vivface.faces.networks.attention_mesh import EYES
from vivface.reenactment.portrait import Portrait, PortraitPhoto
from vivface.warping.controls import ControlledFace, Expression
from vivface.warping.framing import Framing
from vivface.warping.mesh import IRISES, MESH, place
from vivface.warping.moving_photo import PASTED, MovingPhoto
from vivface.warping.retargeting import Rest

VIEWS = 16

#: Ends of the controls (`vivface.warping.controls`) between which views are drawn.
HEAD = {"yaw": 22.0, "pitch": 13.0, "roll": 8.0}  # in every view
FACE = {
    "mouth_open": (0.0, 0.9), "smile": (-0.6, 0.8), "pucker": (0.0, 0.6), "lids": (-1.0, 0.6), "brows": (-0.8, 0.8),
    "gaze_x": (-15.0, 15.0), "gaze_y": (-8.0, 8.0),
}  # fmt: skip
FACE_SHARE = 0.6  # of the views that show a movement of the face


def portrait_views(
    portrait: PortraitPhoto, crops: tuple[str, str], size: int, count: int, seed: int = 0
) -> list[Portrait]:
    """Draw views of a portrait.

    Args:
        portrait (`PortraitPhoto`): The photo, the face's crop, and its points.
        crops (`tuple[str, str]`): How portraits and drivers are cut, see `ReenactmentPipeline.crops`.
        size (`int`): Width and height of the crop in the views, pixels.
        count (`int`): How many.
        seed (`int`, *optional*, defaults to 0): Of what they show.

    Returns:
        list of `Portrait`: Pictures half as wide again as the crop.
    """
    rest, framing, random = Rest.of(portrait.points[None]), Framing.around(PASTED), np.random.default_rng(seed)
    moving = MovingPhoto(portrait.photo, portrait.quad, portrait.points, size, rest, crops=crops, framing=framing)
    face, views = ControlledFace(moving.face), []
    for _ in range(count):
        shape, pose = face(_drawn(random))
        image = moving.show(shape, pose)
        points = place(shape, framing.pose(pose)) * len(image)
        seen = FacePoints(points[:MESH], points[EYES], np.stack([points[iris] for iris in IRISES]), math.inf)
        views.append(Portrait(image, ibug_landmarks(seen), []))
    return views


def _drawn(random: np.random.Generator) -> Expression:
    expression = {name: random.uniform(-end, end) for name, end in HEAD.items()}
    for name, (low, high) in FACE.items():
        if random.random() < FACE_SHARE:
            expression[name] = random.uniform(low, high)
    return expression
