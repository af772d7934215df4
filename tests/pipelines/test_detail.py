"""The photograph moved by a pipeline: what is shown, at which size, and when the generator's images are."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from vivface import IdentityCode, MediaError, MotionCodes, OptionError
from vivface.warping.framing import enlarged
from vivface.warping.moving_photo import PASTED


@pytest.fixture(scope="module")
def identity(tiny_pipeline, portrait) -> IdentityCode:
    return tiny_pipeline.encode_identity(portrait)


@pytest.fixture(scope="module")
def motion(motion_file) -> MotionCodes:
    return MotionCodes.load(motion_file)


def test_portraits_and_motion_have_the_points_of_a_face(identity, motion):
    batch = next(iter(motion))
    assert identity.points.shape == (478, 3) and batch.points.shape == (len(batch.times), 478, 3)
    middle = identity.points[:, :2].mean(0)
    assert np.abs(middle - 0.5).max() < 0.15  # the face lies in the middle of its crop
    assert np.abs(batch.points[..., :2].mean((0, 1)) - 0.5).max() < 0.15


def test_a_motion_file_moves_as_the_clip_does(tiny_pipeline, identity, face_clip, motion):
    from_clip = [frame for frame in tiny_pipeline(identity, face_clip, detail=True, size=128)]
    from_file = [frame for frame in tiny_pipeline(identity, motion, detail=True, size=128)]
    assert len(from_clip) == len(from_file) == 21
    differences = [np.abs(a.astype(int) - b).mean() for a, b in zip(from_clip, from_file, strict=True)]
    assert max(differences) < 1  # points are stored in 8192ths of a crop


def test_the_photograph_is_shown_at_its_own_resolution(tiny_pipeline, identity, motion):
    result = tiny_pipeline(identity, motion, detail=True)
    frame = next(iter(result))
    assert result.size == (512, 512) and frame.shape == (512, 512, 3)
    coarse = next(iter(tiny_pipeline(identity, motion, detail=False, size=512)))
    assert coarse.shape == (512, 512, 3)

    def sharpness(image: np.ndarray) -> float:
        return float(np.abs(np.diff(image.astype(int), axis=1)).mean())

    assert sharpness(frame) != sharpness(coarse)


def test_checkpoints_say_whether_the_photograph_is_shown(tiny_pipeline, identity, motion):
    assert tiny_pipeline.config.detail is False
    assert next(iter(tiny_pipeline(identity, motion))).shape[:2] == (tiny_pipeline.output_size,) * 2


@pytest.mark.parametrize("detail", [True, False])
def test_pasting_back_leaves_the_rest_of_the_photo_alone(tiny_pipeline, identity, motion, detail):
    frame = next(iter(tiny_pipeline(identity, motion, detail=detail, paste_back=True)))
    assert frame.shape == identity.photo.shape
    changed = (frame != identity.photo).any(-1)
    quad = enlarged(identity.quad, PASTED) if detail else identity.quad  # the photograph moves beyond its crop
    low, high = quad.min(0), quad.max(0)
    y, x = np.nonzero(changed)
    assert len(x) and x.min() >= low[0] - 1 and x.max() <= high[0] + 1
    assert y.min() >= low[1] - 1 and y.max() <= high[1] + 1


def test_no_tuning_is_made_for_the_photograph(tiny_pipeline, portrait, motion):
    told = []
    tiny_pipeline.register_to_config(adapt_steps=2)
    try:
        tiny_pipeline(portrait, motion, detail=True, on_progress=told.append)
        assert not told
    finally:
        tiny_pipeline.register_to_config(adapt_steps=0)


def test_points_survive_in_identity_files(identity, tmp_path):
    loaded = IdentityCode.load(identity.save(tmp_path / "me.safetensors"))
    assert np.array_equal(loaded.points, identity.points)


def test_what_cannot_be_shown_is_said(tiny_pipeline, identity, motion):
    with pytest.raises(MediaError, match="portrait has no points"):
        next(iter(tiny_pipeline(replace(identity, points=None), motion, detail=True)))
    without = motion.map(lambda batches: (replace(batch, points=None) for batch in batches))
    with pytest.raises(MediaError, match="motion has no points"):
        next(iter(tiny_pipeline(identity, without, detail=True)))


@pytest.mark.parametrize("size", [0, 63, 127, 5000, "512", 1.5])
def test_sizes_out_of_range_are_refused(tiny_pipeline, identity, motion, size):
    with pytest.raises(OptionError, match="size"):
        tiny_pipeline(identity, motion, size=size)


def test_co_driven_frames_have_the_expression_of_one_face_and_the_pose_of_the_other(tiny_pipeline, motion):
    from vivface.faces.pose import angles_of
    from vivface.reenactment.co_driving import CoDrivenMotion, PoseSubspace
    from vivface.warping.mesh import PosedFace

    shape = tiny_pipeline.code_shape
    subspace = PoseSubspace(("yaw",), torch.zeros(1, *shape), torch.zeros(1, *shape))
    mirrored = motion.map(
        lambda batches: (replace(batch, points=batch.points * [-1, 1, 1] + [1, 0, 0]) for batch in batches)
    )
    mixed = next(iter(CoDrivenMotion(motion, mirrored, subspace)))
    first, other = next(iter(motion)).points[0], next(iter(mirrored)).points[0]
    found = PosedFace.of(mixed.points[0])
    assert np.allclose(angles_of(found.pose.turn), angles_of(PosedFace.of(other).pose.turn), atol=0.03)
    assert np.abs(found.shape - PosedFace.of(first).shape).max() < 1.0
