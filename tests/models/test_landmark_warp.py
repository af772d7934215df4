"""Flows from landmarks: exact where nothing folds, smooth elsewhere; maps and warps in the same coordinates."""

import pytest
import torch

from vivface.models.landmark_warp import landmark_maps, pixel_positions, thin_plate_flow, warp

SIZE = 64


@pytest.fixture
def landmarks() -> torch.Tensor:
    return torch.rand(2, 68, 2, generator=torch.Generator().manual_seed(3)) * 1.2 - 0.6


def at(flow: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """A flow `(batch, 2, S, S)` at positions `(batch, P, 2)`: `(batch, P, 2)`."""
    return torch.nn.functional.grid_sample(flow, positions[:, None], align_corners=False)[:, :, 0].mT


class TestThinPlateFlow:
    def test_an_affine_motion_is_met_everywhere(self, landmarks):
        matrix, shift = torch.tensor([[1.1, -0.2], [0.1, 0.9]]), torch.tensor([0.05, -0.1])
        flow = thin_plate_flow(landmarks, landmarks @ matrix.T + shift, SIZE)
        pixels = pixel_positions(SIZE, flow)
        expected = torch.einsum("ij,jhw->ihw", matrix, pixels) + shift[:, None, None] - pixels
        torch.testing.assert_close(flow, expected.expand_as(flow), atol=2e-3, rtol=0)

    def test_landmarks_come_from_where_they_were(self, landmarks):
        source = landmarks + 0.05 * torch.sin(4 * landmarks.flip(2))
        flow = thin_plate_flow(landmarks, source, 256, smoothness=1e-6)
        assert (at(flow, landmarks) - (source - landmarks)).abs().max() < 4e-3
        smooth = thin_plate_flow(landmarks, source, 256, smoothness=1.0)
        assert (at(smooth, landmarks) - (source - landmarks)).abs().mean() > 5e-3

    def test_landmarks_that_meet_leave_it_finite(self, landmarks):
        target = landmarks.clone()
        target[:, 41] = target[:, 37]  # a shut lid
        flow = thin_plate_flow(target, landmarks, SIZE)
        assert flow.isfinite().all() and flow.abs().max() < 2

    def test_the_border_can_stay(self, landmarks):
        source = landmarks * 0.5 + 0.2
        free, held = (thin_plate_flow(landmarks * 0.5, source, SIZE, border=n) for n in (0, 6))
        edge = torch.ones(SIZE, SIZE, dtype=torch.bool)
        edge[2:-2, 2:-2] = False
        assert held[..., edge].abs().mean() < 0.03
        assert free[..., edge].abs().mean() > 0.15

    def test_gradients_reach_the_landmarks(self, landmarks):
        target = landmarks.clone().requires_grad_()
        thin_plate_flow(target, landmarks, 16).square().sum().backward()
        assert target.grad.isfinite().all()

    @pytest.mark.parametrize("points", [2, 67])
    def test_wrong_shapes_are_refused(self, landmarks, points):
        other = landmarks[:, :points] if points != 2 else landmarks
        with pytest.raises(ValueError, match="at least three points"):
            thin_plate_flow(landmarks[:, :2], other, SIZE)


class TestMapsAndWarps:
    def test_dots_are_where_landmarks_are(self):
        landmarks = torch.full((1, 68, 2), 5.0)  # outside the image
        landmarks[0, 30] = torch.tensor([0.5, -0.25])  # the nose, at x = 3/4 and y = 3/8 of the image
        maps = landmark_maps(landmarks, SIZE)
        assert maps.shape == (1, 6, SIZE, SIZE)
        brightest = maps[0, 2].argmax()
        assert abs(brightest % SIZE - 47.5) <= 0.5 and abs(brightest // SIZE - 23.5) <= 0.5
        assert maps[0, [0, 1, 3, 4, 5]].max() < 1e-6

    def test_a_shift_takes_pixels_from_there(self):
        image = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
        flow = torch.zeros(1, 2, 32, 48)
        flow[:, 0], flow[:, 1] = 2 * 5 / 48, 2 * -3 / 32  # five pixels to the right, three up
        moved = warp(image, flow)
        torch.testing.assert_close(moved[..., 3:, :-5], image[..., :-3, 5:], atol=1e-5, rtol=0)

    def test_a_small_flow_moves_a_large_image(self):
        image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        flow = torch.full((1, 2, 8, 8), 2 * 4 / 64)
        torch.testing.assert_close(warp(image, flow)[..., :-4, :-4], image[..., 4:, 4:], atol=1e-5, rtol=0)
