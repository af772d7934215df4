"""Changes of pictures: none at strength 0, the same for the same seed, and in range."""

import numpy as np
import pytest

from training.arguments import AugmentOptions
from training.augment import degrade, sample_appearance


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)


class TestAppearance:
    def test_strength_zero_changes_nothing(self, picture):
        changed = sample_appearance(np.random.default_rng(1), 48, 0.0)(picture)
        assert changed.dtype == np.float32
        assert np.allclose(changed, picture / 255.0, atol=1e-4)

    def test_one_appearance_is_applied_alike(self, picture):
        appearance = sample_appearance(np.random.default_rng(1), 48)
        assert np.array_equal(appearance(picture), appearance(picture))

    def test_seeds_differ_and_values_stay_in_range(self, picture):
        seen = [sample_appearance(np.random.default_rng(seed), 48)(picture) for seed in range(12)]
        assert all(0.0 <= p.min() and p.max() <= 1.0 and np.isfinite(p).all() for p in seen)
        assert min(np.abs(a - b).mean() for a, b in zip(seen, seen[1:], strict=False)) > 0.01

    def test_black_and_white_is_among_them(self, picture):
        seen = [sample_appearance(np.random.default_rng(seed), 48).mix for seed in range(200)]
        assert any(np.abs(mix - mix[0]).max() < 1e-6 for mix in seen)  # all channels the same mixture


class TestDegrade:
    def test_strength_zero_changes_nothing(self, picture):
        image = picture / np.float32(255)
        assert degrade(np.random.default_rng(0), image, AugmentOptions(degradation=0.0)) is image

    def test_values_stay_in_range(self, picture):
        image = picture / np.float32(255)
        options = AugmentOptions(degradation=1.5, occluders=0.5)
        seen = [degrade(np.random.default_rng(seed), image, options) for seed in range(40)]
        assert all(p.shape == image.shape and p.dtype == np.float32 for p in seen)
        assert all(0.0 <= p.min() and p.max() <= 1.0 for p in seen)
        assert sum(not np.array_equal(p, image) for p in seen) > 20

    def test_same_seed_same_picture(self, picture):
        image, options = picture / np.float32(255), AugmentOptions()
        first, second = (degrade(np.random.default_rng(3), image, options) for _ in range(2))
        assert np.array_equal(first, second)
