"""Pasting a crop back: the inverse of cropping, and nothing else changes."""

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from vivface.faces.alignment import crop_quad, make_quad
from vivface.faces.paste import PasteBack, paste_back, soft_mask

FACE = make_quad((226, 124), 86, 0.06)


def outside(quad: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Pixels whose centre lies outside a quad."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    left, down = quad[0], quad[1] - quad[0]
    right = quad[3] - quad[0]
    u = ((x - left[0]) * right[0] + (y - left[1]) * right[1]) / (right @ right)
    v = ((x - left[0]) * down[0] + (y - left[1]) * down[1]) / (down @ down)
    return (np.minimum(u, v) < 0) | (np.maximum(u, v) > 1)


class TestMask:
    @pytest.mark.parametrize("size", (64, 128, 255))
    def test_shape(self, size):
        mask = soft_mask(size)
        assert mask.shape == (size, size) and mask.dtype == np.float32
        assert mask.min() == 0 and mask.max() == 1
        np.testing.assert_allclose(mask, mask.T)
        np.testing.assert_allclose(mask, mask[::-1], atol=1e-6)
        border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        assert (border == 0).all()

    def test_solid_where_the_face_is(self):
        """Eyes to chin of an aligned face span the middle half of the crop; hair reaches a fifth below the top."""
        mask = soft_mask(256)
        assert (mask[64:192, 64:192] == 1).all()
        assert mask[45, 128] > 0.9

    def test_fades_gently(self):
        assert np.abs(np.diff(soft_mask(256), axis=0)).max() < 0.06


class TestPasteBack:
    @pytest.mark.parametrize("angle", (0.0, 0.06, -0.5))
    @pytest.mark.parametrize("size", (128, 256, 512))
    def test_nearly_the_identity(self, size, angle):
        photo = cv2.GaussianBlur(astronaut(), (0, 0), 1.2)  # no finer than the crops can hold
        quad = make_quad((226, 124), 86, angle)
        result = paste_back(photo, crop_quad(photo, quad, size), quad)
        inside = ~outside(quad, photo.shape)
        difference = (result.astype(float) - photo)[inside]
        assert 10 * np.log10(255**2 / (difference**2).mean()) > 38
        assert np.abs(difference.mean()) < 0.3  # no shift, no cast

    @pytest.mark.parametrize("quad", (FACE, make_quad((480, 20), 120, 0.4)), ids=("inside", "across the border"))
    def test_outside_untouched(self, quad):
        photo = astronaut()
        result = paste_back(photo, np.full((256, 256, 3), (0, 255, 0), np.uint8), quad)
        assert (result[outside(quad, photo.shape)] == photo[outside(quad, photo.shape)]).all()
        assert (result != photo).any()
        center = np.clip(quad.mean(0).round().astype(int), 0, 511)
        assert tuple(result[center[1], center[0]]) == (0, 255, 0)

    def test_quad_outside_the_picture(self):
        photo = astronaut()
        result = paste_back(photo, np.zeros((64, 64, 3), np.uint8), make_quad((2000, 2000), 50))
        assert (result == photo).all()

    def test_class_is_the_function(self):
        photo, generator = astronaut(), np.random.default_rng(0)
        paste = PasteBack(photo, FACE, 128)
        for _ in range(2):
            crop = generator.integers(0, 256, (128, 128, 3), dtype=np.uint8)
            assert (paste(crop) == paste_back(photo, crop, FACE)).all()
        assert (photo == astronaut()).all()

    def test_mask_of_ones_and_zeros(self):
        photo = astronaut()
        crop = np.zeros((128, 128, 3), np.uint8)
        assert (paste_back(photo, crop, FACE, mask=np.zeros((128, 128))) == photo).all()
        full = paste_back(photo, crop, FACE, mask=np.ones((128, 128)))
        inside = ~outside(make_quad((226, 124), 83, 0.06), photo.shape)
        assert (full[inside] == 0).all()

    def test_harmony_meets_the_photo_at_the_rim(self):
        photo = astronaut()
        crop = crop_quad(photo, FACE, 256)
        cast = np.clip(crop.astype(float) * (1.1, 0.95, 0.8) - (0, 5, 15), 0, 255).astype(np.uint8)
        rim = outside(make_quad((226, 124), 60, 0.06), photo.shape) & ~outside(FACE, photo.shape)
        plain = np.abs(paste_back(photo, cast, FACE).astype(float) - photo)
        matched = np.abs(paste_back(photo, cast, FACE, harmonize=True).astype(float) - photo)
        assert matched[rim].mean() < 0.5 * plain[rim].mean()
        assert matched.mean() < 0.6 * plain.mean()

    def test_harmony_leaves_a_fitting_crop(self):
        photo = astronaut()
        crop = crop_quad(photo, FACE, 256)
        plain = paste_back(photo, crop, FACE)
        matched = paste_back(photo, crop, FACE, harmonize=True)
        assert np.abs(matched.astype(int) - plain).max() <= 1

    def test_wrong_sizes(self):
        with pytest.raises(ValueError, match="mask"):
            PasteBack(astronaut(), FACE, 128, mask=np.ones((64, 64)))
        with pytest.raises(ValueError, match="crop"):
            PasteBack(astronaut(), FACE, 128)(np.zeros((64, 64, 3), np.uint8))
