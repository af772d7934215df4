"""The pose subspace is found where it was planted, and written for both systems."""

import numpy as np
import pytest
import torch

from tests.tiny import make_tiny_pipeline
from tests.training.people import landmarks_of, write_people
from training.data import adjust_quad
from training.tools import fit_motion_heads, fit_pose_subspace
from training.tools.fit_pose_subspace import POSE, fit, pose_features
from vivface import load_pipeline
from vivface.errors import OptionError
from vivface.faces.alignment import ffhq_quad, to_crop


def planted(people: int = 40, frames: int = 30, noise: float = 0.3):
    """Codes that are pose @ L + controls @ E + who it is + noise; pose and controls go together a little."""
    rng = np.random.default_rng(0)
    poses = rng.normal(size=(people, frames, len(POSE)))
    controls = rng.normal(size=(people, frames, 4)) + 0.4 * poses[..., :4]
    pose_rows, control_rows = rng.normal(size=(len(POSE), 60)), rng.normal(size=(4, 60))
    codes = poses @ pose_rows + controls @ control_rows + rng.normal(size=(people, 1, 60))
    codes = codes + noise * rng.normal(size=codes.shape)
    return codes.reshape(people, frames, 3, 20), poses, controls, pose_rows, control_rows


class TestFit:
    def test_readers_see_pose_and_no_expression(self):
        codes, poses, controls, pose_rows, control_rows = planted()
        subspace = fit(codes, poses, controls)
        readers = subspace.readers.flatten(1).numpy()
        np.testing.assert_allclose(readers @ pose_rows.T, np.eye(len(POSE)), atol=0.05)
        np.testing.assert_allclose(readers @ control_rows.T, 0, atol=0.05)
        np.testing.assert_allclose(subspace.directions.flatten(1).numpy(), pose_rows, atol=0.05)

    def test_a_control_that_never_moves_does_no_harm(self):
        codes, poses, controls, pose_rows, _ = planted()
        still = np.concatenate([controls, np.ones_like(controls[..., :1])], axis=2)
        np.testing.assert_allclose(fit(codes, poses, still).readers, fit(codes, poses, controls).readers, atol=1e-5)

    def test_pose_of_one_and_expression_of_the_other(self):
        codes, poses, controls, pose_rows, control_rows = planted(noise=0.0)
        subspace = fit(codes, poses, controls)
        one, other = (torch.from_numpy(codes[k].astype(np.float32)) for k in (0, 1))
        expected = codes[0].reshape(30, 60) + (poses[1] - poses[0]) @ pose_rows
        mixed = subspace.with_pose(one, other).flatten(1).numpy()
        constant = (mixed - expected).mean(0)  # who the other is, as far as that looks like a pose
        np.testing.assert_allclose(mixed - constant, expected, atol=0.1)


class TestFeatures:
    def test_place_size_and_roll_in_the_crop(self):
        points = landmarks_of(0.2, 0.0, 0.0, 96)
        quad = ffhq_quad(points)
        upright = pose_features(np.zeros(3), to_crop(points, quad))
        np.testing.assert_allclose(upright, 0, atol=1e-6)
        moved = pose_features(np.zeros(3), to_crop(points, adjust_quad(quad, shift=(0.1, -0.05))))
        np.testing.assert_allclose(moved[3:6], [-1.0, 0.5, 0.0], atol=1e-6)
        larger = pose_features(np.zeros(3), to_crop(points, adjust_quad(quad, scale=0.5)))
        np.testing.assert_allclose(larger[[2, 5]], [0.0, 10 * np.log(2)], atol=1e-6)
        turned = pose_features(np.zeros(3), to_crop(points, adjust_quad(quad, degrees=-20)))
        np.testing.assert_allclose(turned[2], 1.0, atol=1e-6)  # the crop turns one way, the face in it the other

    def test_angles_and_their_products(self):
        points = landmarks_of(0.2, 0.0, 0.0, 96)
        made = pose_features(np.array([20.0, -10.0, 5.0]), to_crop(points, ffhq_quad(points)))
        np.testing.assert_allclose(made, [1, -0.5, 0, 0, 0, 0, 1, -0.5, 0.25], atol=1e-6)


class TestProgram:
    def test_both_systems_get_their_file(self, tmp_path, capsys):
        people = str(write_people(tmp_path / "people", groups=4, people=4))
        checkpoint = tmp_path / "checkpoint"
        make_tiny_pipeline().save_pretrained(checkpoint)
        arguments = [str(checkpoint), "--folders", people, "--frames", "6", "--device", "cpu"]
        fit_motion_heads.main(arguments)
        fit_pose_subspace.main(arguments)
        out = capsys.readouterr().out
        assert out.count("yaw: r ") == 2 and out.count("pitch: never moves") == 2  # drawn people do not nod
        own, hybrid = (load_pipeline(checkpoint, system=system).pose_subspace for system in (None, "hybrid"))
        assert own.names == hybrid.names == POSE
        assert own.directions.shape == (9, 10, 32) and not torch.equal(own.directions, hybrid.directions)

    def test_too_few_people_are_refused(self, tmp_path):
        write_people(tmp_path, groups=1, people=2)
        with pytest.raises(OptionError, match="hold 2 people; expected at least 16"):
            fit_pose_subspace.main([str(tmp_path), "--folders", str(tmp_path)])
