"""FFHQ's square, the published alignment, and the fast crop beside a slow one."""

import json
import math

import cv2
import numpy as np
import pytest

from vivface.faces.alignment import (
    align_ffhq,
    crop_quad,
    crop_to_image_matrix,
    ffhq_quad,
    ffhq_transform_quad,
    from_crop,
    make_quad,
    quad_angle,
    quad_center,
    quad_size,
    to_crop,
)

CASES = ("frontal", "rolled20", "outside", "large")


def plain_landmarks(center=(100.0, 80.0), eye_distance=40.0) -> np.ndarray:
    """Landmarks of which only eyes and mouth corners mean something: eyes level, the mouth one eye distance below."""
    x, y = center
    points = np.full((68, 2), center, np.float64)
    points[36:42] = (x - eye_distance / 2, y)
    points[42:48] = (x + eye_distance / 2, y)
    points[48] = (x - eye_distance / 2, y + eye_distance)
    points[54] = (x + eye_distance / 2, y + eye_distance)
    return points


def smooth_noise(height: int, width: int, sigma: float, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 1, (height, width, 3)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101) * sigma * 3.5
    return np.clip(127 + 60 * noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def golden(shared_dir):
    path = shared_dir / "parity" / "align"
    if not path.is_dir():
        pytest.skip(f"needs the reference alignments of {path}")
    cases = json.loads((path / "cases.json").read_text())["cases"]
    with np.load(path / "golden.npz") as arrays:
        return cases, dict(arrays)


class TestParity:
    @staticmethod
    def picture(width: int, height: int, cell: int) -> np.ndarray:
        """The test picture, from its formula."""
        y, x = np.mgrid[0:height, 0:width]
        red, green, blue = x * 255 // (width - 1), y * 255 // (height - 1), 255 * ((x // cell + y // cell) % 2)
        rings = ((x - width // 2) ** 2 + (y - height // 2) ** 2) // (4 * cell**2) % 2 == 1
        return np.stack([np.where(rings, 255 - red, red), green, blue], axis=-1).astype(np.uint8)

    def test_picture(self, golden):
        cases, arrays = golden
        assert (self.picture(*cases["frontal"]["input"]) == arrays["picture_small"]).all()

    @pytest.mark.parametrize("name", CASES)
    def test_quads(self, golden, name):
        cases, arrays = golden
        quad = ffhq_quad(arrays[f"{name}_landmarks"])
        np.testing.assert_allclose(quad, arrays[f"{name}_quad"], atol=1e-6)
        picture, inner = ffhq_transform_quad(self.picture(*cases[name]["input"]), quad, 256)
        np.testing.assert_allclose(inner, arrays[f"{name}_transform_quad"], atol=1e-6)
        assert list(picture.size) == cases[name]["transformed_from"]

    @pytest.mark.parametrize("name", CASES)
    def test_picture_aligned(self, golden, name):
        cases, arrays = golden
        aligned = align_ffhq(self.picture(*cases[name]["input"]), arrays[f"{name}_landmarks"], 256)
        difference = np.abs(aligned.astype(int) - arrays[f"{name}_aligned"])
        assert (difference <= 1).mean() >= 0.999

    @pytest.mark.parametrize("name", ("frontal", "rolled20"))
    def test_fast_crop_agrees_inside_the_picture(self, golden, name):
        cases, arrays = golden
        crop = crop_quad(self.picture(*cases[name]["input"]), arrays[f"{name}_quad"], 256)
        assert np.abs(crop.astype(int) - arrays[f"{name}_aligned"]).mean() < 0.5


class TestQuad:
    def test_by_hand(self):
        quad = ffhq_quad(plain_landmarks())
        # Eye and mouth vectors are 40 long, so 2.0 * 40 wins over 1.8 * 40; the centre is a tenth of the way down.
        expected = [[20, 4], [20, 164], [180, 164], [180, 4]]
        np.testing.assert_allclose(quad, expected, atol=1e-12)

    def test_turns_and_grows_with_the_face(self):
        angle, scale = math.radians(25), 1.7
        turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        points = plain_landmarks()
        quad = ffhq_quad(points @ turn.T + (30, -10))
        np.testing.assert_allclose(quad, ffhq_quad(points) @ turn.T + (30, -10), atol=1e-9)
        assert math.isclose(quad_angle(quad), angle)

    @pytest.mark.parametrize("angle", (-3.0, -0.4, 0.0, 1.2, 3.1))
    def test_helpers_invert_make_quad(self, angle):
        quad = make_quad((12.5, -7.0), 31.0, angle)
        np.testing.assert_allclose(quad_center(quad), (12.5, -7.0), atol=1e-12)
        assert math.isclose(quad_size(quad), 62.0)
        assert math.isclose(quad_angle(quad), angle, abs_tol=1e-12)

    def test_order_of_corners(self):
        np.testing.assert_allclose(make_quad((10, 10), 5), [[5, 5], [5, 15], [15, 15], [15, 5]])

    def test_matrix_maps_corners_of_pixels(self):
        quad = make_quad((50, 60), 20, 0.3)
        matrix = crop_to_image_matrix(quad, 64)
        corners = np.array([[-0.5, -0.5, 1], [-0.5, 63.5, 1], [63.5, 63.5, 1], [63.5, -0.5, 1]])
        np.testing.assert_allclose(corners @ matrix.T, quad, atol=1e-9)

    @pytest.mark.parametrize("columns", (2, 3))
    def test_points_in_a_crop_and_back(self, columns):
        quad = make_quad((50, 60), 20, 0.3)
        inside = np.array([[[0.25, 0.5, 0.1], [0.75, 0.5, -0.2]], [[1.0, 0.0, 0.0], [-0.3, 1.2, 2.0]]])[..., :columns]
        there = from_crop(inside, quad)
        np.testing.assert_allclose(to_crop(there, quad), inside, atol=1e-12)
        np.testing.assert_allclose(there[0, 0, :2], quad[0] + 0.25 * (quad[3] - quad[0]) + 0.5 * (quad[1] - quad[0]))
        if columns == 3:
            np.testing.assert_allclose(there[..., 2], 40 * inside[..., 2])

    @pytest.mark.parametrize(
        "points", (np.zeros((5, 2)), np.zeros((68, 2)), np.full((68, 2), np.nan)), ids=("shape", "extent", "nan")
    )
    def test_bad_landmarks(self, points):
        with pytest.raises(ValueError, match="landmarks"):
            ffhq_quad(points)


class TestCrop:
    @staticmethod
    def slow_crop(image: np.ndarray, quad: np.ndarray, size: int, samples: int = 8) -> np.ndarray:
        """The mean of `samples` x `samples` bilinear samples in every pixel: what `crop_quad` approximates."""
        matrix = crop_to_image_matrix(quad, size)
        steps = (np.arange(size * samples) + 0.5) / samples - 0.5
        x, y = np.meshgrid(steps, steps)
        source = [(row[0] * x + row[1] * y + row[2]).astype(np.float32) for row in matrix]
        fine = cv2.remap(image.astype(np.float32), *source, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        return fine.reshape(size, samples, size, samples, 3).mean((1, 3))

    @pytest.mark.parametrize("half", (60, 97, 150, 290, 420), ids=lambda half: f"reduction{half / 32:.1f}")
    def test_reduction(self, half):
        image = smooth_noise(1000, 900, sigma=half / 32)  # details of about two pixels of the crop
        quad = make_quad((460, 510), half, 0.35)
        difference = crop_quad(image, quad, 64) - self.slow_crop(image, quad, 64)
        assert np.sqrt((difference**2).mean()) < 4.0  # levels; the picture's own deviation is about 60

    def test_magnification(self):
        image = smooth_noise(100, 120, sigma=2.0)
        quad = make_quad((60, 50), 20, -0.2)
        difference = crop_quad(image, quad, 128) - self.slow_crop(image, quad, 128, samples=1)
        assert np.abs(difference).max() < 4

    def test_no_aliasing(self):
        """A one-pixel checkerboard shrinks to grey."""
        y, x = np.mgrid[0:600, 0:600]
        image = np.repeat(((x + y) % 2 * 255).astype(np.uint8)[..., None], 3, axis=2)
        crop = crop_quad(image, make_quad((300, 300), 200, 0.1), 64)
        assert np.abs(crop.astype(int) - 127).max() < 12

    def test_whole_picture_is_itself(self):
        image = smooth_noise(64, 64, sigma=1.0)
        np.testing.assert_array_equal(crop_quad(image, make_quad((31.5, 31.5), 32), 64), image)

    @pytest.mark.parametrize("half", (50, 130, 500))
    def test_beyond_the_border_is_reflected(self, half):
        image = smooth_noise(200, 300, sigma=max(6.0, half / 32))
        quad = make_quad((20, 180), half, 0.2)
        reach = 2 * half + 10
        padded = np.pad(image, ((reach, reach), (reach, reach), (0, 0)), mode="symmetric")
        expected = self.slow_crop(padded, quad + reach, 64)
        difference = crop_quad(image, quad, 64) - expected
        assert np.sqrt((difference**2).mean()) < 3.0

    def test_far_outside(self):
        crop = crop_quad(smooth_noise(50, 60, 3.0), make_quad((1000, -900), 30), 32)
        assert crop.shape == (32, 32, 3)

    def test_bad_input(self):
        quad = make_quad((10, 10), 5)
        with pytest.raises(ValueError, match="uint8 RGB"):
            crop_quad(np.zeros((20, 20, 3), np.float32), quad, 8)
        with pytest.raises(ValueError, match="no area"):
            crop_quad(np.zeros((20, 20, 3), np.uint8), np.zeros((4, 2)), 8)
        with pytest.raises(ValueError, match="corners"):
            crop_quad(np.zeros((20, 20, 3), np.uint8), np.zeros((3, 2)), 8)
