"""Skin that a turn draws out is smooth, not streaked."""

import numpy as np
import pytest

from tests.warping.faces import UPRIGHT, face, points, turned
from vivface.warping.compositor import PhotoCompositor
from vivface.warping.mesh import MESH, lip_loop
from vivface.warping.stretching import smoothed, streaks
from vivface.warping.surface import HeadSurface
from vivface.warping.triangulation import affine_tables


def found(pose) -> np.ndarray:
    """How far points of the mesh are drawn out `(468,)` when a portrait that looks ahead takes a pose."""
    surface = HeadSurface(points(face()))
    target = surface.target(face(), pose)
    tables = affine_tables(target, surface.shown_values(target, pose), surface.corners)
    return streaks(tables, surface.corners, len(target))[:MESH]


def test_nothing_is_drawn_out_at_rest():
    assert found(UPRIGHT).max() < 0.02


@pytest.mark.parametrize("yaw", [25, -25])
def test_the_cheek_that_turns_to_the_camera_is_drawn_out(yaw):
    share, right = found(turned(yaw=yaw)), face()[:MESH, 0] > 0
    near, far = (share[side].sum() for side in ((right, ~right) if yaw > 0 else (~right, right)))
    assert near > 2 * far and share.max() > 0.9
    assert share[lip_loop()].max() == 0


def test_a_drawn_out_cheek_has_no_lines():
    noise = np.random.default_rng(0).integers(60, 200, (384, 384, 1), np.uint8).repeat(3, 2)
    compositor, pose = PhotoCompositor(noise, points(face()), 256, matte=False), turned(yaw=25)
    smooth = compositor(face(), pose).astype(float)
    compositor._drawn_out = lambda *arguments: []
    lined = compositor(face(), pose).astype(float)
    changed = np.abs(smooth - lined).max(2) > 8
    assert 0.002 < changed.mean() < 0.2
    assert smooth[changed].std() < 0.8 * lined[changed].std()


def test_a_person_does_not_mix_with_what_is_behind():
    person = np.zeros((64, 64, 4), np.uint8)
    person[:, 32:] = (200, 150, 120, 255)
    out = smoothed(person, 400.0)
    assert np.array_equal(out[..., 3], person[..., 3])
    assert np.abs(out[:, 32:, :3].astype(int) - (200, 150, 120)).max() <= 2
