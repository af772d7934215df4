"""Rings around a face: on the outline of the head, at its depth, with the head and not with the shoulders."""

import numpy as np
import pytest

from tests.warping.faces import face, points, turned
from vivface.warping.mesh import MESH, PosedFace, place, triangles
from vivface.warping.rings import OPEN, OUTER, REACH, TYPICAL, WIDEST, head_rings, outline_of_head
from vivface.warping.surface import HeadSurface


def disc(radius: float, center: np.ndarray):
    """A head that is round in the crop."""
    return lambda places: (np.linalg.norm(places - center, axis=1) < radius).astype(float)


def heights() -> np.ndarray:
    """Millimetres below the eyes of the points of the outline."""
    return triangles().layout[triangles().outline, 1]


@pytest.mark.parametrize("yaw", [0, 25])
def test_the_outer_ring_lies_on_the_outline_of_the_head(yaw):
    posed = PosedFace.of(points(face(), turned(yaw)))
    middle = points(face(), turned(yaw))[:MESH, :2].mean(0)
    head = place(np.array([[0.0, 0.0, WIDEST[0]]]), posed.pose)[0, :2]  # turned heads reach to the side
    center = (middle + head) / 2
    reach = outline_of_head(posed, disc(0.45, center))
    rings, _ = head_rings(posed, reach)
    inside = (reach > REACH[0] + 0.05) & (reach < OPEN - 0.05) & (heights() < 10)
    assert inside.sum() > 5
    outer = place(rings[1], posed.pose)[inside, :2]
    assert np.abs(np.linalg.norm(outer - center, axis=1) - 0.45).max() < 0.03


def test_where_no_outline_is_found_the_ring_is_far_out():
    posed = PosedFace.of(points(face()))
    assert np.allclose(outline_of_head(posed, lambda places: np.ones(len(places))), OPEN)
    nothing = outline_of_head(posed, lambda places: np.zeros(len(places)))
    assert nothing[heights() < 0] == pytest.approx(REACH[0])  # not inside of the face
    assert nothing[heights() > 100] == pytest.approx(OPEN)  # a neck is no outline


def test_rings_lie_behind_the_face_the_outer_one_at_the_middle_of_the_head():
    posed = PosedFace.of(points(face()))
    edge = posed.shape[triangles().outline]
    rings, _ = head_rings(posed, np.full(len(edge), 1.5))
    assert (rings[0, :, 2] >= edge[:, 2]).all() and (rings[1, :, 2] >= rings[0, :, 2]).all()
    assert WIDEST[0] - 1 <= rings[1, :, 2].min() and rings[1, :, 2].max() <= WIDEST[1] + 1
    away = [np.linalg.norm(r[:, :2] - [0, edge[:, 1].mean()], axis=1) for r in (edge, *rings)]
    assert (away[1] > 1.05 * away[0]).all() and (away[2] > away[1]).all()
    assert away[2] / away[0] == pytest.approx(1.5 * OUTER)


def test_a_background_that_moves_along_is_less_deep():
    posed = PosedFace.of(points(face()))
    (unknown, _), (known, _) = head_rings(posed), head_rings(posed, np.full(len(triangles().outline), TYPICAL))
    assert np.allclose(unknown[1, :, :2], known[1, :, :2])
    top = heights() < -55  # at the ears the outline of the face lies deep itself
    assert (unknown[1, top, 2] < known[1, top, 2] - 10).all()


def test_ears_and_hair_follow_the_head_and_shoulders_stay():
    _, follows = head_rings(PosedFace.of(points(face())))
    assert (follows[heights() < 45] == 1).all()
    assert follows[np.argmax(heights())] == pytest.approx(0, abs=0.01)
    below = np.argsort(heights())
    assert (np.diff(follows[below]) < 0.05).all()  # less and less


def test_a_turned_head_keeps_its_width():
    """A flat picture of a head gets narrower; a skull does not, and its middle lies behind the face."""
    surface = HeadSurface(points(face()))
    middle = points(face())[:MESH, :2].mean(0)
    surface.part_from_background(disc(0.42, middle))
    ring = np.s_[MESH + len(triangles().outline) : MESH + 2 * len(triangles().outline)]
    above = heights() < 0

    def width(yaw):
        return np.ptp(surface.target(face(), turned(yaw))[ring][above, 0])

    assert 0.9 < width(25) / width(0) < 1.05
    nose, skull = (
        surface.target(face(), turned(25))[which, 0].mean() - surface.target(face(), turned(0))[which, 0].mean()
        for which in (4, np.arange(MESH, MESH + 2 * len(above))[len(above) :][above])
    )
    assert nose * skull < 0  # to either side
