"""Geometry of crops, and maps of facial regions."""

import numpy as np
import torch

from training.data import GroupShards, adjust_quad, region_maps, region_weights
from vivface.faces.alignment import make_quad, to_crop


class TestGeometry:
    quad = make_quad(np.array([50.0, 40.0]), 20.0)

    def test_quad_moves_by_its_own_sides(self):
        moved = adjust_quad(self.quad, shift=(0.5, -0.25))
        assert np.allclose(moved - self.quad, [20.0, -10.0])

    def test_quad_scales_turns_and_stretches_about_its_centre(self):
        changed = adjust_quad(self.quad, scale=0.5, degrees=90.0, stretch=(2.0, 1.0))
        assert np.allclose(changed.mean(0), [50.0, 40.0])
        # 40 wide, 20 high, turned clockwise: its right now points down the picture
        assert np.allclose(changed[3] - changed[0], [0.0, 40.0])
        assert np.allclose(changed[1] - changed[0], [-20.0, 0.0])

    def test_corners_in_fractions_of_the_crop(self):
        turned = adjust_quad(self.quad, degrees=30.0)
        assert np.allclose(to_crop(turned, turned), [[0, 0], [0, 1], [1, 1], [1, 0]])
        assert np.allclose(to_crop(turned.mean(0), turned), [0.5, 0.5])

    def test_regions_lie_on_their_landmarks(self, people):
        shards = GroupShards([people])
        person = shards.records()[0]
        maps = region_maps(person.landmarks[0] / person.size, 64)
        assert maps.shape == (4, 64, 64) and maps.dtype == np.uint8
        spots = {1: slice(36, 42), 2: slice(17, 22), 3: slice(48, 68)}
        for index, part in spots.items():
            x, y = (person.landmarks[0][part].mean(0) / person.size * 64).astype(int)
            assert maps[index, y, x] > 60 and maps[0, y, x] > 60
            assert maps[index, 60, x] == 0
        assert maps[:, 0, 0].max() == 0

    def test_weights_add_up(self):
        regions = torch.zeros(4, 2, 2)
        regions[0, 0], regions[3, 0, 0] = 1.0, 0.5  # face in the first row, half a mouth in its corner
        weight = region_weights(regions, 1.0, face=2.0, mouth=4.0)
        assert weight.shape == (1, 2, 2)
        assert weight[0].tolist() == [[5.0, 3.0], [1.0, 1.0]]
