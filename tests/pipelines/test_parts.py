"""Parts of a motion in their own strengths: the photograph, the generator's codes, motion files."""

import itertools
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from vivface import IdentityCode, MotionCodes, OptionError, Parts
from vivface.reenactment.co_driving import PoseSubspace
from vivface.warping.mesh import MESH, PosedFace, place
from vivface.warping.movements import mouth_movements


@pytest.fixture(scope="module")
def identity(tiny_pipeline, portrait) -> IdentityCode:
    return tiny_pipeline.encode_identity(portrait)


@pytest.fixture(scope="module")
def motion(motion_file) -> MotionCodes:
    return MotionCodes.load(motion_file)


def shown(pipeline, identity, motion, count: int = 6, **options) -> np.ndarray:
    frames = pipeline.render(identity, motion, **{"size": 128, **options})
    return np.stack(list(itertools.islice(frames, count))).astype(int)


def opened(motion: MotionCodes, until: float) -> MotionCodes:
    """The same motion with a mouth that is wide open until a time."""

    def speak(batches):
        for batch in batches:
            faces = [PosedFace.of(points) for points in batch.points]
            for time, face in zip(batch.times, faces, strict=True):
                face.shape[:MESH] += (time < until) * mouth_movements()["mouth_open"]
            yield replace(batch, points=np.stack([place(face.shape, face.pose) for face in faces]))

    return motion.map(speak)


class TestThePhotograph:
    def test_nothing_moves_at_strength_zero(self, tiny_pipeline, identity, motion):
        still = Parts(mouth=0, eyes=0, brows=0, pose=0)
        frames = shown(tiny_pipeline, identity, motion, parts=still, detail=True)
        assert np.abs(frames - frames[0]).max() == 0
        moving = shown(tiny_pipeline, identity, motion, detail=True)
        assert np.abs(moving - moving[0]).mean() > 0.3

    def test_blinks_of_a_seed(self, tiny_pipeline, identity, motion):
        held = dict(mouth=0, eyes=0, brows=0, pose=0, blink_rate=60)
        one, same, other = (  # a first blink after 0.3, 0.3 and 0.2 seconds
            shown(tiny_pipeline, identity, motion, 16, parts=Parts(**held, seed=seed), detail=True)
            for seed in (0, 0, 4)
        )
        assert np.array_equal(one, same) and not np.array_equal(one, other)
        assert np.array_equal(one[0], other[0]) and not np.array_equal(one[0], one[11])

    def test_the_first_frame_may_be_in_the_middle_of_a_word(self, tiny_pipeline, identity, motion):
        """Once the word is over, lips and chin are where they are without it."""
        after = slice(14, 21)
        plain, begun = (
            np.stack(list(tiny_pipeline.render(identity, driving, size=128, detail=True))).astype(int)[after]
            for driving in (motion, opened(motion, Fraction(1, 2)))
        )
        assert np.abs(plain - begun)[:, 72:88, 44:84].mean() < 1.8  # 2.7 if only the first frame is looked at


class TestTheGeneratorsCodes:
    def test_one_strength_of_everything_is_the_strength(self, tiny_pipeline, identity, motion):
        parts = Parts(mouth=0.5, eyes=0.5, brows=0.5, pose=0.5)
        halved = shown(tiny_pipeline, identity, motion, parts=parts, size=None)
        assert np.abs(halved - shown(tiny_pipeline, identity, motion, strength=0.5, size=None)).max() <= 1

    def test_pose_and_expression_by_the_subspace(self, tiny_pipeline, identity, motion, monkeypatch):
        shape, count = tiny_pipeline.code_shape, 3
        axes = torch.linalg.qr(torch.randn(int(np.prod(shape)), count, generator=torch.Generator().manual_seed(0)))[0]
        axes = axes.T.reshape(count, *shape)
        monkeypatch.setattr(tiny_pipeline, "pose_subspace", PoseSubspace(("yaw", "pitch", "roll"), axes, axes))
        seen = []
        generate = tiny_pipeline.generate
        monkeypatch.setattr(
            tiny_pipeline, "generate", lambda who, codes, refine: seen.append(codes) or generate(who, codes, refine)
        )
        shown(tiny_pipeline, identity, motion, parts=Parts(pose=0.0), size=None)
        codes = next(iter(motion.batches())).codes
        own, read = identity.motion, tiny_pipeline.pose_subspace.read
        torch.testing.assert_close(read(seen[0]), read(own).expand(len(seen[0]), -1), atol=1e-4, rtol=1e-3)
        along = (seen[0] - codes[: len(seen[0])]).flatten(1)
        inside = along @ axes.flatten(1).T @ axes.flatten(1)
        torch.testing.assert_close(along, inside, atol=1e-4, rtol=1e-3)  # nothing but pose has changed

    @pytest.mark.parametrize("parts", [Parts(mouth=0.5), Parts(eye_contact=True), Parts(blink_rate=0)])
    def test_what_codes_cannot_do_is_said_before_the_work(self, tiny_pipeline, identity, motion, parts):
        with pytest.raises(OptionError, match="hold an expression whole"):
            tiny_pipeline(identity, motion, parts=parts)

    def test_pose_alone_needs_the_subspace(self, tiny_pipeline, identity, motion):
        assert tiny_pipeline.pose_subspace is None
        with pytest.raises(OptionError, match="pose_subspace"):
            tiny_pipeline.render(identity, motion, parts=Parts(pose=0.0))
