"""The canonical transformation: known motions of landmarks are given back."""

import math

import numpy as np
import pytest
import torch

from tests.training.people import landmarks_of
from vivface.faces.alignment import ffhq_quad, make_quad, quad_center, quad_size
from vivface.faces.position import Position, position_of, still_square
from vivface.models.stylegan3 import image_transform

FACE = landmarks_of(0.3, 0.1, 0.2, 256).astype(np.float64)


def moved(points: np.ndarray, square: np.ndarray, right: float, down: float, angle: float) -> np.ndarray:
    """Points turned clockwise about the middle of the face's square, and shifted by sides of a square."""
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    middle = quad_center(ffhq_quad(points))
    return (points - middle) @ turn.T + middle + quad_size(square) * np.array([right, down])


@pytest.mark.parametrize(("right", "down", "angle"), [(0, 0, 0), (0.12, -0.07, 0.4), (-0.3, 0.2, -1.2), (0, 0, 3.0)])
def test_a_known_motion_is_given_back(right, down, angle):
    square = still_square(ffhq_quad(FACE))
    found = position_of(ffhq_quad(moved(FACE, square, right, down, angle)), square)
    assert [found.right, found.down, found.angle] == pytest.approx([right, down, angle], abs=1e-6)


def test_the_still_square_is_upright_and_has_the_faces_place_and_size():
    quad = make_quad(np.array([40.0, 60.0]), 25.0, 0.3)
    square = still_square(quad)
    assert position_of(square, square) == Position()
    assert quad_center(square) == pytest.approx([40, 60]) and quad_size(square) == pytest.approx(50)
    assert position_of(quad, square).angle == pytest.approx(0.3)


def test_the_generators_transformation_takes_the_picture_back_to_the_face():
    """A place of the picture, transformed, is the same place of the canonical crop."""
    square = still_square(ffhq_quad(FACE))
    quad = ffhq_quad(moved(FACE, square, 0.1, 0.05, 0.5))
    place = position_of(quad, square)
    matrix = image_transform(-place.angle, (place.right, place.down))[0].double()
    corner = torch.tensor([*(quad[0] - quad_center(square)) / quad_size(square), 1.0], dtype=torch.float64)
    assert (matrix @ corner)[:2].tolist() == pytest.approx([-0.5, -0.5], abs=1e-6)
