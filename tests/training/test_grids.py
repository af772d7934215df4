"""Grids of identities and motions, and frames, with their ground truth."""

import numpy as np
import pytest
import torch

from tests.training.people import STILL, options_of
from training.arguments import AugmentOptions
from training.data import DrivingFrameBatches, FrameBatches, GridBatches, GroupShards
from vivface.errors import OptionError
from vivface.faces.alignment import ffhq_quad


class TestGridBatches:
    def test_shapes_and_ranges(self, people):
        batch = GridBatches(options_of(people, driving_frames=2))[0]
        shapes = {name: tuple(tensor.shape) for name, tensor in batch.items()}
        assert shapes == {
            "source": (3, 3, 64, 64),
            "target": (3, 2, 3, 64, 64),
            "driving": (2, 2, 3, 64, 64),
            "regions": (3, 2, 4, 64, 64),
            "source_landmarks": (3, 68, 2),
            "target_landmarks": (3, 2, 68, 2),
            "driving_landmarks": (2, 2, 68, 2),
            "source_controls": (3, 2),
            "target_controls": (3, 2, 2),
            "driving_controls": (2, 2, 2),
            "source_pose": (3, 3),
            "target_pose": (3, 2, 3),
            "driving_pose": (2, 2, 3),
            "identity_seed": (3,),
            "driving_identity_seed": (2, 2),
            "motion": (2,),
            "source_motion": (),
        }
        for name in ("source", "target", "driving"):
            assert batch[name].dtype == torch.float32 and batch[name].abs().max() <= 1.0
        assert batch["source"].is_contiguous(memory_format=torch.channels_last)

    def test_item_depends_on_seed_and_index_only(self, people):
        options = options_of(people)
        first, again, other = (GridBatches(options, seed)[4] for seed in (1, 1, 2))
        assert all(torch.equal(first[name], again[name]) for name in first)
        assert not torch.equal(first["driving"], other["driving"])

    def test_everybody_performs_the_same_motions(self, people):
        for index in range(4):
            batch = GridBatches(options_of(people))[index]
            assert (batch["target_controls"] == batch["driving_controls"][0]).all()
            assert (batch["target_pose"] == batch["driving_pose"][0]).all()
            assert len(batch["identity_seed"].unique()) == 3 and len(batch["motion"].unique()) == 2

    def test_target_of_the_sources_own_motion_is_the_source(self, people):
        """Without augmentation; so sources and targets share quad and appearance."""
        batches = GridBatches(options_of(people, motions=6, augment=STILL))
        batch = batches[0]
        own = batch["motion"].tolist().index(int(batch["source_motion"]))
        assert torch.equal(batch["target"][:, own], batch["source"])
        assert torch.allclose(batch["target_landmarks"][:, own], batch["source_landmarks"])
        augmented = GridBatches(options_of(people, motions=6, augment=AugmentOptions(degradation=0.0)))[0]
        own = augmented["motion"].tolist().index(int(augmented["source_motion"]))
        assert torch.equal(augmented["target"][:, own], augmented["source"])
        assert not torch.equal(augmented["source"], batch["source"])

    def test_stable_crops_follow_faces_off_by_what_a_motion_shares(self, people):
        options = options_of(people, crop="stable", driving_frames=2, augment=STILL)
        batch = GridBatches(options)[1]
        for name, axis in (("target", 0), ("driving", 0)):
            quads = np.stack(
                [[ffhq_quad(points) for points in row] for row in batch[f"{name}_landmarks"].numpy()]
            )  # (people, motions, 4, 2), in fractions of the crop
            shift, turn = quads.mean(2) - 0.5, np.apply_along_axis(np.ravel, 0, quads[:, :, 3] - quads[:, :, 0])
            angle = np.degrees(np.arctan2(turn[..., 1], turn[..., 0]))
            assert np.abs(shift).max() < 0.1 and np.abs(angle).max() <= 8.0  # twice the spreads, over the scale
            assert np.ptp(shift, axis=axis).max() < 1e-4 and np.ptp(angle, axis=axis).max() < 0.05
            assert np.abs(shift[:, 0] - shift[:, 1]).max() > 1e-3  # each motion its own

    def test_the_more_frames_are_drawn_the_more_frontal_a_source_is(self, people):
        one, many = (
            GridBatches(options_of(people, source_candidates=draws))[3] for draws in (1, 200)
        )  # 6 frames in all
        person = next(p for p in GroupShards([people]).records() if p.seed == many["identity_seed"][0])
        turned = np.abs(person.pose[:, :2]).sum(1)
        assert turned[many["source_motion"]] == turned.min() <= turned[one["source_motion"]]

    @pytest.mark.parametrize("kind", [GridBatches, DrivingFrameBatches])
    def test_unknown_crop(self, people, kind):
        with pytest.raises(OptionError, match="expected 'source' or 'stable'"):
            kind(options_of(people, crop="ffhq"))


class TestFrameBatches:
    @pytest.mark.parametrize("kind", [FrameBatches, DrivingFrameBatches])
    def test_shapes_and_ranges(self, people, kind):
        batch = kind(options_of(people))[0]
        shapes = {name: tuple(tensor.shape) for name, tensor in batch.items() if name not in ("regions", "points")}
        assert shapes == {
            "image": (3, 2, 3, 64, 64),
            "controls": (3, 2, 2),
            "pose": (3, 2, 3),
            "landmarks": (3, 2, 68, 2),
            "identity_seed": (3,),
        }
        assert batch["image"].abs().max() <= 1.0

    def test_driving_frames_move_and_fixed_ones_do_not(self, people):
        options = options_of(people, augment=AugmentOptions(driving_center=0.1, stretch=0.0))
        fixed = {name: FrameBatches(options)[0][name] for name in ("controls", "pose", "landmarks", "identity_seed")}
        moved = DrivingFrameBatches(options)[0]
        assert all(torch.equal(moved[name], fixed[name]) for name in fixed)  # the same frames, and the same truth
        assert (moved["points"] - moved["landmarks"]).abs().max() > 0.02
        again, other = DrivingFrameBatches(options)[0], DrivingFrameBatches(options, seed=5)[0]
        assert torch.equal(moved["image"], again["image"]) and not torch.equal(moved["image"], other["image"])

    def test_own_landmarks_lie_on_the_picture(self, people):
        plain = AugmentOptions(appearance=0.0, degrade_driving=0.0)
        batch = DrivingFrameBatches(options_of(people, augment=plain))[0]
        frame, points = batch["image"][0, 0], (batch["points"][0, 0] * 64).long().clamp(0, 63)
        lips = frame[:, points[48:60, 1], points[48:60, 0]].mean(1)
        skin = frame[:, points[30, 1], points[30, 0]]
        assert (lips - skin).abs().max() > 0.05
