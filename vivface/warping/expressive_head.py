"""The face of a film with an expression added to its own, by sliders."""

from __future__ import annotations

import numpy as np

from vivface.faces.pose import HeadPose
from vivface.warping.controls import ControlledFace, Expression
from vivface.warping.film_head import FilmHead, moves
from vivface.warping.mesh import PosedFace, place
from vivface.warping.retargeting import Rest


class ExpressiveHead(FilmHead):
    """One head of a film; in the place of a driver's points `draw` takes amounts of `controls.CONTROLS`.

    Args:
        own (`Rest`): The film's face at rest.
        turns (`bool`): Whether the head is turned, too; where it is not, nothing outside of the face moves.
    """

    def __init__(self, own: Rest, turns: bool):
        super().__init__(own, own, replace_pose=turns)

    def _target(
        self, shown: PosedFace, seen: np.ndarray, quad: np.ndarray, driver: Expression
    ) -> tuple[np.ndarray, HeadPose]:
        shape, pose = ControlledFace(shown)(driver)
        if not self._replace_pose:
            shape = shown.shape + moves(place(shown.shape, shown.pose))[:, None] * (shape - shown.shape)
        return shape, pose
