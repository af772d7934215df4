"""Eq. 7: the search for a pose, on a linear pose of which the answer is known."""

import pytest
import torch

from vivface.errors import CheckpointError
from vivface.reenactment.pose_matching import ANGLE_UNIT, L1_WEIGHT, POSE_WEIGHT, PoseDirections, match_pose

RANDOM = torch.Generator().manual_seed(0)
READER = torch.randn(3, 8 * 6, generator=RANDOM)


def read_pose(w_plus: torch.Tensor) -> torch.Tensor:
    return w_plus[:, :8].flatten(1) @ READER.T


@pytest.fixture
def w_ref() -> torch.Tensor:
    return torch.randn(1, 16, 6, generator=torch.Generator().manual_seed(1))


class TestSearch:
    def test_the_pose_is_found_and_other_rows_stay(self, w_ref):
        own = read_pose(w_ref)
        wanted = own + torch.tensor([[15.0, -5.0, 3.0], [-20.0, 10.0, 0.0]])
        found = match_pose(read_pose, w_ref, own, wanted, steps=400)
        assert (read_pose(found) - wanted).abs().max() < 0.6
        assert torch.equal(found[:, 8:], w_ref[:, 8:].expand(2, -1, -1))

    def test_the_minimiser(self):
        """One angle that reads one number: 2/3 (x - a)^2 + 0.04 |x| / 48 has its least value at a - 0.01 / 16."""

        def read(w_plus):
            return torch.stack([w_plus[:, 0, 0], 0 * w_plus[:, 0, 0], 0 * w_plus[:, 0, 0]], 1) * ANGLE_UNIT

        code = torch.zeros(1, 16, 6)
        wanted = torch.tensor([[0.5 * ANGLE_UNIT, 0.0, 0.0]])
        found = match_pose(read, code, torch.zeros(1, 3), wanted, steps=3000, learning_rate=1e-3)
        least = 0.5 - (L1_WEIGHT / 48) / (2 * POSE_WEIGHT / 3)
        assert float(found[0, 0, 0]) == pytest.approx(least, abs=1e-3)
        assert found.flatten()[1:].abs().max() < 2e-3

    def test_searches_do_not_depend_on_one_another(self, w_ref):
        own = read_pose(w_ref)
        wanted = own + torch.randn(3, 3, generator=RANDOM) * 10
        together = match_pose(read_pose, w_ref, own, wanted, steps=5)
        alone = torch.cat([match_pose(read_pose, w_ref, own, each[None], steps=5) for each in wanted])
        torch.testing.assert_close(together, alone)

    def test_its_own_pose_leaves_the_code_as_it_is(self, w_ref):
        own = read_pose(w_ref)
        wanted = torch.cat([own, own + 10])
        found = match_pose(read_pose, w_ref, own, wanted, steps=3)
        assert torch.equal(found[:1], w_ref) and not torch.equal(found[1:], w_ref)

    def test_directions_start_near_the_goal(self, w_ref):
        steps = torch.linalg.pinv(READER).T.reshape(3, 8, 6)
        own = read_pose(w_ref)
        wanted = own + torch.tensor([[15.0, -5.0, 3.0]])
        found = match_pose(read_pose, w_ref, own, wanted, 0, PoseDirections(steps))
        torch.testing.assert_close(read_pose(found), wanted, rtol=1e-4, atol=1e-3)


class TestFiles:
    def test_saved_and_loaded(self, tmp_path):
        directions = PoseDirections(torch.randn(3, 8, 6, generator=RANDOM))
        loaded = PoseDirections.load(directions.save(tmp_path / "pose.safetensors"))
        assert torch.equal(loaded.steps, directions.steps.half().float())

    def test_other_files_are_refused(self, tmp_path):
        path = tmp_path / "pose.safetensors"
        path.write_bytes(b"nothing")
        with pytest.raises(CheckpointError, match="cannot be read"):
            PoseDirections.load(path)
