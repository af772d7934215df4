"""HyperReenact's squares: the VoxCeleb crop, DECA's square, ArcFace's five points."""

import numpy as np
import pytest
from PIL import Image

from vivface.faces import crop_quad, quad_center, quad_size
from vivface.faces.crops import CROPS, face_quad
from vivface.faces.voxceleb import (
    ARCFACE_POINTS,
    align_voxceleb,
    arcface_transform,
    deca_quad,
    voxceleb_box,
    voxceleb_quad,
)


def landmarks(left=100.0, top=120.0, width=60.0, height=72.0) -> np.ndarray:
    """68 points in a box, its corners among them."""
    points = np.random.default_rng(0).uniform((left, top), (left + width, top + height), (68, 2))
    points[0], points[1] = (left, top), (left + width, top + height)
    return points


def photo(width=320, height=280) -> np.ndarray:
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return np.stack([x * 255 // (width - 1), y * 255 // (height - 1), (x // 16 + y // 16) % 2 * 255], 2).astype(
        np.uint8
    )


class TestVoxCelebCrop:
    def test_box(self):
        """Centre of the extremes, up by a sixth of the larger extent, which is half the side."""
        assert voxceleb_box(landmarks()) == (130 - 72, 156 - 12 - 72, 130 + 72, 156 - 12 + 72)

    def test_quad_is_the_box(self):
        quad = voxceleb_quad(landmarks())
        assert quad_size(quad) == 144
        assert np.allclose(quad[0] + 0.5, (58, 72)) and np.allclose(quad[2] + 0.5, (202, 216))

    def test_inside_it_is_a_bicubic_reduction(self):
        image = photo()
        wanted = Image.fromarray(image[72:216, 58:202]).resize((96, 96), Image.Resampling.BICUBIC)
        assert np.array_equal(align_voxceleb(image, landmarks(), 96), np.asarray(wanted))

    def test_agrees_with_the_crop_of_its_quad(self):
        image = photo()
        made, other = align_voxceleb(image, landmarks(), 144), crop_quad(image, voxceleb_quad(landmarks()), 144)
        assert np.abs(made.astype(int) - other).mean() < 1

    def test_outside_it_is_reflected_and_fades_to_the_median(self):
        image = photo()
        points = landmarks(left=4.0, top=30.0)
        left, top, right, bottom = voxceleb_box(points)
        assert left < 0 and top < 0
        crop = align_voxceleb(image, points, right - left)
        inside = crop[-top + 40 :, -left + 40 :]  # beyond the reach of blur and fade
        wanted = image[40:bottom, 40:right]
        assert np.abs(inside.astype(int) - wanted).max() <= 1
        corner = crop[0, 0].astype(int)
        assert np.abs(corner - np.median(image, axis=(0, 1))).max() < 60
        assert crop[:20, :20].std() < image[:20, :20].std()

    def test_wide_images_are_reduced_first(self):
        image = np.kron(photo(), np.ones((5, 5, 1), np.uint8))  # 1600 wide
        points = (landmarks() + 0.5) * 5 - 0.5
        large, small = align_voxceleb(image, points, 128), align_voxceleb(photo(), landmarks(), 128)
        assert np.abs(large.astype(int) - small).mean() < 6

    @pytest.mark.parametrize("points", [np.zeros((5, 2)), np.full((68, 2), np.nan), np.zeros((68, 2))])
    def test_errors(self, points):
        with pytest.raises(ValueError, match="landmarks"):
            voxceleb_box(points)


class TestDecaSquare:
    def test_published_corners(self):
        """The middles of the crop's corner pixels lie on a square of 1.1 x 1.25 times the mean extent."""
        quad = deca_quad(landmarks())
        assert np.allclose(quad_center(quad), (130, 156))
        assert quad_size(quad) * 223 / 224 == pytest.approx(66 * 1.1 * 1.25)

    def test_no_extent(self):
        with pytest.raises(ValueError, match="half a side"):
            deca_quad(np.zeros((68, 2)))


class TestArcFaceTransform:
    @pytest.mark.parametrize(("scale", "angle"), [(2.0, 0.0), (0.7, 0.4)])
    def test_recovers_a_similarity(self, scale, angle):
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        five = ARCFACE_POINTS @ turn.T + (30, 40)
        points = np.zeros((68, 2))
        points[36:42], points[42:48], points[30], points[48], points[54] = five
        theta = arcface_transform(points, 256)
        # normalised place in the crop -> normalised place in the image; pixel p lies at 2 p / size - 1
        crop = np.column_stack([ARCFACE_POINTS * 2 / 112 - 1, np.ones(5)])
        assert np.allclose(crop @ theta.T, five * 2 / 256 - 1, atol=1e-5)


@pytest.mark.parametrize("crop", CROPS)
def test_every_crop_has_a_square(crop):
    points = landmarks()
    assert face_quad(points, crop).shape == (4, 2)
