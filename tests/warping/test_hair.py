"""Hair beside a face stays on the cheek that it hides; ears do not."""

import numpy as np
import pytest

from tests.warping.faces import face, points, turned
from vivface.warping.hair import colours_and_opacity, hair_beside, outline_held
from vivface.warping.mesh import MESH, triangles
from vivface.warping.surface import HeadSurface

SKIN, HAIR = (170.0, 140.0, 145.0), (45.0, 130.0, 134.0)  # 8-bit Lab
EYES, LOBES = 0.0, 55.0  # millimetres below the eyes


def person(hair_from: float = 1.0, above: float | None = None, opacity: float = 255.0):
    """Skin, and hair to the right of `hair_from`, or above a height; the person's opacity around the face."""

    def seen(places: np.ndarray) -> np.ndarray:
        values = np.tile([*SKIN, 255.0], (len(places), 1))
        hidden = places[:, 0] > hair_from
        if above is not None:
            hidden = np.abs(places[:, 0] - 0.5) > 0.5 - (1 - hair_from)
            hidden &= places[:, 1] < above
        values[hidden] = *HAIR, opacity
        return values

    return seen


def edges() -> tuple[np.ndarray, np.ndarray]:
    """Which points of the outline lie at either side beside the cheeks."""
    x, y, _ = triangles().layout[triangles().outline].T
    ears = (y > EYES) & (y < LOBES)
    return ears & (x < 0), ears & (x > 0)


def found(seen) -> np.ndarray:
    mesh = points(face())[:MESH, :2]
    middle = mesh.mean(0)
    return hair_beside(mesh, middle + 1.22 * (mesh[triangles().outline] - middle), seen)


def right_edge() -> float:
    """A little outside of the face."""
    return points(face())[:MESH, 0].max() + 0.003


def test_hair_is_found_beside_the_cheek_where_it_hangs():
    left, right = edges()
    share = found(person(right_edge()))
    assert share[right].min() > 0.6 and share[left].max() < 0.05


def test_ears_and_what_is_not_the_person_are_no_hair():
    assert found(person()).max() == 0
    assert found(person(right_edge(), opacity=0)).max() == 0


def test_hair_above_the_ears_does_not_count():
    eyes = points(face())[[33, 263], 1].mean()
    assert found(person(right_edge(), above=eyes)).max() < 0.3
    assert found(person(right_edge(), above=1.0)).max() > 0.9


def test_a_held_outline_gets_no_wider():
    portrait, target = (points(face(), pose)[:MESH] for pose in (turned(0), turned(-25)))
    everywhere = np.ones(len(triangles().outline))
    shift = outline_held(target, portrait, 1.0, everywhere)
    left, right = edges()
    nearer = max((left, right), key=lambda side: np.abs(shift[side]).max())
    farther = left if nearer is right else right
    assert np.abs(shift[nearer, 0]).max() > 0.02  # crops: the side that turns to the camera
    assert np.abs(shift[farther]).max() == 0  # the other one gets narrower
    assert np.abs(outline_held(portrait, portrait, 1.0, everywhere)).max() == 0
    assert np.allclose(outline_held(target, portrait, 1.0, 0.5 * everywhere), shift / 2)
    assert np.abs(outline_held(2 * portrait, portrait, 2.0, everywhere)).max() == 0  # a head that comes closer


@pytest.mark.parametrize("yaw", [25, -25])
def test_a_turned_head_with_hair_is_narrower_on_the_side_that_turns_to_the_camera(yaw):
    plain, hairy = HeadSurface(points(face())), HeadSurface(points(face()))
    hairy.see_hair(lambda places: person(right_edge())(np.abs(places - 0.5) + 0.5))  # on both sides
    before, after = (surface.target(face(), turned(yaw)) for surface in (plain, hairy))
    moved = np.linalg.norm(after - before, axis=1)
    at_edge = np.flatnonzero(moved[triangles().outline] > 0.015)
    sides = np.sign(before[triangles().outline][at_edge, 0] - before[1, 0])
    assert len(at_edge) > 3 and np.ptp(sides) == 0  # one side
    inside = np.linalg.norm(triangles().layout[:, None, :2] - triangles().layout[None, triangles().outline, :2], axis=2)
    assert moved[:MESH][inside.min(1) > 24].max() == 0  # eyes, nose and mouth
    around = moved[MESH : MESH + len(triangles().outline)]
    assert 0.005 < around.max() < moved[:MESH].max()  # what lies around follows
    assert len(before) == len(after)


def test_a_head_that_stays_is_not_held():
    surface = HeadSurface(points(face()))
    surface.see_hair(lambda places: person(right_edge())(np.abs(places - 0.5) + 0.5))
    surface.hold()
    plain = HeadSurface(points(face()))
    plain.hold()
    assert np.array_equal(surface.target(face(), turned(20)), plain.target(face(), turned(20)))


def test_single_hairs_are_not_looked_at():
    photo = np.full((300, 300, 3), 200, np.uint8)
    photo[:, 150] = 0
    seen = colours_and_opacity(photo, np.full((300, 300), 255, np.uint8), 1.5)
    assert seen.shape == (300, 300, 4) and seen[..., 3].min() == 255
    assert seen[:, 150, 0].max() > 60  # of 255: a line of one pixel is grey
