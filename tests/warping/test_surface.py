"""The head as a surface: triangles, what each pixel shows, and where it lies in the portrait."""

import numpy as np
import pytest

from tests.warping.faces import UPRIGHT, face, points, turned
from vivface.faces.networks.attention_mesh import LIPS
from vivface.warping.mesh import MESH, PosedFace, eye_loops, lip_loop, mirror, triangles
from vivface.warping.surface import HeadSurface, _beside_outline
from vivface.warping.triangulation import affine_tables, interpolate, shown_triangles


def flow(surface: HeadSurface, target: np.ndarray, size: int = 64) -> np.ndarray:
    box = (0, 0, size, size)
    shown = shown_triangles(target, surface.corners, surface.order(target), box, size)
    return interpolate(shown, affine_tables(target, surface.values, surface.corners), box, size)


def pixel_positions(size: int) -> np.ndarray:
    along = (np.arange(size) + 0.5) / size
    return np.stack(np.meshgrid(along, along), -1)


def test_the_mesh_is_covered_once_and_symmetric():
    surface = triangles()
    assert set(np.unique(surface.corners)) == set(range(MESH))
    assert (mirror()[mirror()] == np.arange(MESH)).all()
    assert set(mirror()[surface.outline]) == set(surface.outline)


def test_no_triangle_joins_both_lips_or_both_lids_but_those_between_them():
    for loop in (lip_loop(), *eye_loops()):
        half = len(loop) // 2
        first, second = np.isin(triangles().corners, loop[1:half]), np.isin(triangles().corners, loop[half + 1 :])
        joining = triangles().corners[first.any(1) & second.any(1)]
        assert len(joining) and np.isin(joining, loop).all()


def test_a_face_in_its_own_place_is_not_moved():
    surface = HeadSurface(points(face()))
    own = PosedFace.of(points(face()))
    found = flow(surface, surface.target(own.shape, own.pose))
    assert np.abs(found[..., :2] - pixel_positions(64)).max() < 0.02


def test_every_pixel_is_shown_and_nothing_moves_far_outside_the_head():
    surface = HeadSurface(points(face()))
    target = surface.target(face(), turned(25, 10))
    shown = shown_triangles(target, surface.corners, surface.order(target), (0, 0, 64, 64), 64)
    assert (shown >= 0).all()
    moved = np.abs(flow(surface, target)[..., :2] - pixel_positions(64)).max(-1)
    assert moved[-1].max() < 0.08 < moved[20:44].max()  # shoulders


def test_a_turn_moves_the_nose_against_the_outline():
    surface = HeadSurface(points(face()))
    found = flow(surface, surface.target(face(), turned(20)), 128)
    nose = (points(face(), turned(20))[4, :2] * 128).astype(int)
    assert np.allclose(found[nose[1], nose[0], :2], points(face())[4, :2], atol=0.02)


def test_only_a_turned_portrait_shows_the_other_side():
    assert not HeadSurface(points(face())).two_sided
    surface = HeadSurface(points(face(), turned(45)))
    assert surface.two_sided
    hidden = surface.values[:MESH, 4]
    far, near = hidden[234], hidden[454]  # the outlines at the ears
    assert max(far, near) > 0.5 and min(far, near) == 0


def test_values_between_points_are_linear_and_stay_within_them():
    target = np.array([[0.1, 0.1], [0.9, 0.1], [0.1, 0.9]])
    values = np.array([[0.0], [1.0], [2.0]])
    corners, box = np.array([[0, 1, 2]]), (0, 0, 50, 50)
    shown, tables = shown_triangles(target, corners, [0], box, 50), affine_tables(target, values, corners)
    found = interpolate(shown, tables, box, 50)
    assert found[25, 5, 0] == pytest.approx((0.11 - 0.1) / 0.8 + 2 * (0.51 - 0.1) / 0.8, abs=1e-5)
    assert found[5:45, 5:45].max() <= 2


def test_a_part_shows_what_the_whole_shows():
    """Triangles beyond a part are left out, those that reach into it are not."""
    surface = HeadSurface(points(face(), turned(30)))
    target = surface.target(face(), turned(10))
    order, box = surface.order(target), (20, 14, 45, 50)
    whole = shown_triangles(target, surface.corners, order, (0, 0, 64, 64), 64)
    part = shown_triangles(target, surface.corners, order, box, 64)
    assert (part == whole[14:50, 20:45]).mean() > 0.99
    values = [
        interpolate(shown, affine_tables(target, surface.values, surface.corners), where, 64)
        for shown, where in ((whole, (0, 0, 64, 64)), (whole[14:50, 20:45], box))
    ]
    assert np.array_equal(values[0][14:50, 20:45], values[1])


def test_where_no_triangle_lies_pixels_stay():
    target = np.array([[0.1, 0.1], [0.9, 0.1], [0.1, 0.9]])
    corners, box = np.array([[0, 1, 2]]), (0, 0, 50, 50)
    shown = shown_triangles(target, corners, [0], box, 50)
    found = interpolate(shown, affine_tables(target, np.ones((3, 5)), corners), box, 50)
    bare = shown < 0
    assert bare.any() and (found[~bare] == 1).all()
    assert np.array_equal(found[bare][:, :2], pixel_positions(50)[bare].astype(np.float32))
    assert not found[bare][:, 2:].any()


def test_upright_pose_has_the_rings_around_the_face():
    surface = HeadSurface(points(face(), UPRIGHT))
    rings = surface.source[MESH:, :2]
    low, high = surface.source[:MESH, :2].min(0), surface.source[:MESH, :2].max(0)
    outside = ((rings < low) | (rings > high)).any(1)
    assert outside.mean() > 0.7


def test_what_a_turn_would_tear_beside_the_face_is_that_of_the_other_side():
    surface, pose = HeadSurface(points(face(), turned(20))), turned(20)
    count = len(triangles().outline)

    def other(pose):
        shown = surface.shown_values(surface.target(face(), pose), pose)[:, 4]
        return shown[MESH : MESH + count]  # the inner ring

    assert other(pose).max() < 0.02  # as in the portrait
    ahead = other(turned(0))
    assert ahead.max() > 0.95 and (ahead > 0.5).sum() > 4
    assert (surface.source[MESH : MESH + count, 0][ahead > 0.5] < 0.5).all()  # the far side only
    assert other(turned(40)).max() < 0.2  # what turns away farther stays what it is


def test_the_outer_ring_shows_hair_of_the_other_side_where_that_ends():
    count = len(triangles().outline)

    def outer(opacity):
        surface, pose = HeadSurface(points(face(), turned(20))), turned(0)
        surface.part_from_background(opacity)
        ring = np.s_[MESH + 2 * count : MESH + 3 * count]
        shown = surface.shown_values(surface.target(face(), pose), pose)[:, 4]
        assert shown[-2 * count :].max() == 0  # farther out nothing is
        return shown[ring], surface.target(face(), pose)[ring, 0]

    def short(places):
        middle = points(face(), turned(20))[:MESH, :2].mean(0)
        return (np.linalg.norm(places - middle, axis=1) < 0.25).astype(float)

    shown, x = outer(short)
    assert shown.max() > 0.95 and (x[shown > 0.5] < 0.5).all()  # on the far side
    long, _ = outer(lambda places: np.ones(len(places)))
    above = -triangles().layout[triangles().outline, 1] > 15
    assert np.allclose(long[above], shown[above]) and long[~above].max() < 0.5 < shown[~above].max()


def test_a_chin_takes_no_colours_from_the_lips():
    surface, pose = HeadSurface(points(face(), turned(25))), turned(-5)
    mesh = surface.source[:MESH, :2]
    to_lips = np.linalg.norm(mesh[:, None] - mesh[None, LIPS], axis=2).min(1)
    surface.values[:, 4] = 0  # nothing of the other side, where nothing is drawn out
    moved = np.linalg.norm(surface.shown_values(surface.target(face(), pose), pose)[:MESH, :2] - mesh, axis=1)
    chin = (to_lips > 0) & (to_lips < 0.06) & (mesh[:, 1] > mesh[LIPS, 1].max())
    assert (moved <= 0.5 * to_lips + 1e-9).all()
    assert moved[chin].max() > 0.01


def test_where_the_other_side_is_shown_nothing_is_drawn_out_of_this_one():
    """What lies beyond the outline would be of two silhouettes."""
    surface, pose = HeadSurface(points(face(), turned(20))), turned(-5)
    shown = surface.shown_values(surface.target(face(), pose), pose)
    moved = np.abs(shown[:MESH, :2] - surface.values[:MESH, :2]).max(1)
    assert (shown[:MESH, 4] > 0.99).sum() > 8
    assert moved[shown[:MESH, 4] > 0.99].max() < 1e-3 < moved.max()


def test_ears_of_both_sides_end_in_the_same_place():
    """A narrow ear passes into a wide one without both being seen."""
    middle = points(face(), turned(20))[:MESH, :2].mean(0)
    surface, count = HeadSurface(points(face(), turned(20))), len(triangles().outline)
    surface.part_from_background(
        lambda places: (np.linalg.norm((places - middle) * [1, 0.6], axis=1) < 0.26).astype(float)
    )
    own, other = surface._reaches
    differs = np.flatnonzero(np.abs(own - other) > 0.2)
    assert len(differs) > 2
    edge, ring = triangles().outline, MESH + np.arange(count)
    shown = surface.values.copy()
    surface._as_wide(shown, np.full(count, 0.5))
    for part, reach in ((np.s_[:2], own), (np.s_[2:4], other)):
        before, after = (np.linalg.norm(v[ring, part] - v[edge, part], axis=1) for v in (surface.values, shown))
        ends = reach * before / after  # where the person ends, of the way to the ring of the target
        assert np.abs(ends - (own + other) / 2)[differs].mean() < 0.3 * np.abs(own - other)[differs].mean()
    for share, part in ((0.0, np.s_[:2]), (1.0, np.s_[2:4])):  # and all of either side is as it was
        alone = surface.values.copy()
        surface._as_wide(alone, np.full(count, share))
        assert np.allclose(alone[:, part], surface.values[:, part])


def test_points_of_the_face_on_the_background_take_their_colours_from_farther_inside():
    surface = HeadSurface(points(face()))
    before = surface.values[:MESH, :2].copy()
    right = before[:, 0].min() + 0.03  # the person begins here
    surface.part_from_background(lambda places: (places[:, 0] > right).astype(float))
    after = surface.values[:MESH, :2]
    outside = before[:, 0] <= right
    assert outside.any() and (after[outside, 0] > right).all()
    assert np.array_equal(after[~outside], before[~outside])


def test_a_raised_chin_is_not_drawn_out():
    surface, pose = HeadSurface(points(face(), turned(pitch=15))), turned(pitch=-15)
    shown = surface.shown_values(surface.target(face(), pose), pose)
    chin = [199, 175, 152]
    before, after = (np.diff(values[chin, 1]) for values in (surface.source, shown))
    assert (after > 0.4 * before).all() and after[1] < before[1]


def test_lips_make_no_room_for_the_outline():
    assert _beside_outline()[lip_loop()].max() == 0
