"""Rings around a face: on the outline of the head, at its depth, with the head and not with the shoulders."""

import numpy as np
import pytest

from tests.warping.faces import face, points, turned
from vivface.warping.mesh import MESH, PosedFace, place, triangles
from vivface.warping.rings import OPEN, OUTER, REACH, TYPICAL, WIDEST, farther_out, head_rings, outline_of_head
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
    assert np.array_equal(rings[0, -1], rings[1, -1])
    outer = place(rings[0, -1], posed.pose)[inside, :2]
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
    for inner, middle, outer in rings:
        assert (np.diff([edge[:, 2], inner[:, 2], middle[:, 2], outer[:, 2]], axis=0) >= 0).all()
        assert WIDEST[0] - 1 <= outer[:, 2].min() and outer[:, 2].max() <= WIDEST[1] + 1
        away = [np.linalg.norm(r[:, :2] - [0, edge[:, 1].mean()], axis=1) for r in (edge, inner, middle, outer)]
        assert (away[1] > 1.05 * away[0]).all() and (away[2] > away[1]).all() and (away[3] > away[2]).all()
        assert away[3] / away[0] == pytest.approx(1.5 * OUTER)


def sides():
    """Points of the outline beside the eyes: of the left one in the image, of the right one."""
    beside = np.abs(heights()) < 25
    x = triangles().layout[triangles().outline, 0]
    return beside & (x < 0), beside & (x > 0)


def test_on_a_side_that_turns_to_the_camera_the_way_to_the_outline_is_stretched_evenly():
    surface, count = HeadSurface(points(face())), len(triangles().outline)
    surface.part_from_background(disc(0.42, points(face())[:MESH, :2].mean(0)))
    loops = [triangles().outline, *(MESH + k * count + np.arange(count) for k in range(3))]

    def steps(yaw):
        x = surface.target(face(), turned(yaw))[:, 0]
        return np.abs(np.diff([x[loop] for loop in loops], axis=0))

    for side, yaw in zip(sides(), (-20, 20), strict=True):
        wider = (steps(yaw) / steps(0))[:, side]
        assert (wider > 1.2).all()
        assert (wider.max(0) < 1.5 * wider.min(0)).all()


def test_the_far_side_of_a_turned_skull_is_round():
    """Between the outline of the face and that of the head it reaches out beyond the straight way."""
    posed = PosedFace.of(points(face()))
    rings, _ = head_rings(posed, np.full(len(triangles().outline), 1.5))
    top = heights() < heights().min() + 15
    edge = posed.shape[triangles().outline]
    inner, middle, outer = (ring[top] for ring in rings[0])
    for low, ring, high in ((edge[top], inner, outer), (inner, middle, outer)):
        share = np.linalg.norm((ring - low)[:, :2], axis=1) / np.linalg.norm((high - low)[:, :2], axis=1)
        assert ((ring - low)[:, 2] < 0.8 * share * (high - low)[:, 2]).all()
    even = rings[1, :2, sides()[0]]
    assert even.shape[1] == 2 and (even[..., 2] >= rings[0, :2, sides()[0]][..., 2]).all()


def test_of_both_rings_those_farther_out_are_taken():
    near, far = np.array([[[0.1, 0, 5]], [[0, 3.0, 6]]]), np.array([[[0, 0.2, 1]], [[0, 2.0, 2]]])
    taken = farther_out(np.stack([near, far]) + [0.5, 0.5, 0], np.array([0.5, 0.5]))
    assert taken == pytest.approx(np.array([[[0.5, 0.7, 1]], [[0.5, 3.5, 6]]]))


def test_a_background_that_moves_along_is_less_deep():
    posed = PosedFace.of(points(face()))
    (unknown, _), (known, _) = head_rings(posed), head_rings(posed, np.full(len(triangles().outline), TYPICAL))
    assert np.allclose(unknown[..., :2], known[..., :2]) and np.array_equal(*unknown)
    top = heights() < -55  # at the ears the outline of the face lies deep itself
    assert (unknown[0, -1, top, 2] < known[0, -1, top, 2] - 10).all()


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
    ring = np.s_[MESH + 2 * len(triangles().outline) : MESH + 3 * len(triangles().outline)]  # the outer one
    above = heights() < 0

    def width(yaw):
        return np.ptp(surface.target(face(), turned(yaw))[ring][above, 0])

    assert 0.9 < width(25) / width(0) < 1.05
    nose, skull = (
        surface.target(face(), turned(25))[which, 0].mean() - surface.target(face(), turned(0))[which, 0].mean()
        for which in (4, np.arange(ring.start, ring.stop)[above])
    )
    assert nose * skull < 0  # to either side
