"""Edits by directions: what they change, what they leave, and files of directions."""

import numpy as np
import pytest
import torch

from tests.motion import ListedMotion
from tests.tiny import make_tiny_pipeline
from vivface.editing import AttributeDirections, Direction, smooth_motion
from vivface.errors import CheckpointError, OptionError
from vivface.media.tensors import to_images
from vivface.reenactment.codes import MotionCodes


@pytest.fixture(scope="module")
def pipeline():
    return make_tiny_pipeline()


@pytest.fixture(scope="module")
def directions(pipeline) -> AttributeDirections:
    random = torch.Generator().manual_seed(0)
    latents, size = pipeline.generator.num_latents, pipeline.generator.config.style_dim
    return AttributeDirections(
        [
            Direction("age", "Age", "w_plus", torch.randn(latents, size, generator=random)),
            Direction("smile", "Smile", "motion", torch.randn(10, size, generator=random), reach=2.0),
        ]
    )


@pytest.fixture(scope="module")
def identity(pipeline, portrait):
    return pipeline.encode_identity(portrait)


def walk(frames: int = 20, step: float = 1.0, fingerprint: list[float] | None = None) -> MotionCodes:
    """Codes that jump from 0 to `step` after the first frame."""
    codes = torch.full((frames, 10, 32), step)
    codes[0] = 0
    return ListedMotion(codes, fingerprint=fingerprint)


def all_codes(motion: MotionCodes) -> torch.Tensor:
    return torch.cat([batch.codes for batch in motion])


class TestIdentity:
    def test_moves_w_plus_by_the_amount(self, pipeline, directions, identity):
        edited = directions.edit_identity(pipeline.generator, identity, {"age": 0.5})
        torch.testing.assert_close(edited.w_plus - identity.w_plus, 0.5 * directions["age"].vector[None])
        for style, expected in zip(edited.styles, pipeline.generator.to_stylespace(edited.w_plus), strict=True):
            torch.testing.assert_close(style, expected)
        assert edited.motion is identity.motion and edited.memory is identity.memory

    def test_no_edit_changes_nothing(self, pipeline, directions, identity):
        assert directions.edit_identity(pipeline.generator, identity, {"age": 0, "smile": 0.0}) is identity

    def test_picture_changes(self, pipeline, directions, identity):
        edited = directions.edit_identity(pipeline.generator, identity, {"age": 1})
        before = to_images(pipeline.generate(identity, identity.motion)).astype(int)
        assert np.abs(to_images(pipeline.generate(edited, edited.motion)).astype(int) - before).mean() > 1


class TestMotion:
    def test_every_code_is_moved(self, directions):
        moved = directions.edit_motion(walk(), {"smile": -1.5})
        expected = all_codes(walk()) - 1.5 * directions["smile"].vector
        torch.testing.assert_close(all_codes(moved), expected)

    def test_attributes_of_the_person_leave_it_alone(self, directions):
        motion = walk()
        assert directions.edit_motion(motion, {"age": 1.0}) is motion

    @pytest.mark.parametrize("mode", ["absolute", "relative"])
    def test_holds_in_every_mode(self, pipeline, directions, identity, mode):
        """With strength 0 nothing but the source's own motion is left, and the edit stays."""
        edits = {"smile": 1.0}
        edited = directions.edit_identity(pipeline.generator, identity, edits)
        motion = directions.edit_motion(walk(2, fingerprint=pipeline.fingerprint), edits)
        frame = next(iter(pipeline.render(edited, motion, motion_mode=mode, strength=0)))
        assert np.abs(frame.astype(int) - to_images(pipeline.generate(edited, edited.motion)).astype(int)).max() <= 1


class TestSmoothing:
    def test_follows_to_63_percent_in_its_time(self):
        codes = all_codes(smooth_motion(walk(frames=30), 0.4))[:, 0, 0]
        assert codes[0] == 0 and torch.all(codes.diff() > 0)
        assert codes[10] == pytest.approx(1 - np.exp(-1), abs=1e-4)  # 10 frames at 25 a second

    def test_none_is_the_same_motion(self):
        motion = walk()
        assert smooth_motion(motion, 0) is motion

    def test_does_not_depend_on_the_batch(self):
        motion = smooth_motion(walk(), 0.1)
        parts = torch.cat([batch.codes for batch in motion.batches(3)])
        torch.testing.assert_close(parts, all_codes(motion))

    def test_refuses_what_is_out_of_range(self):
        with pytest.raises(OptionError, match="smoothing"):
            smooth_motion(walk(), -1)


class TestErrors:
    def test_unknown_name(self, directions):
        with pytest.raises(OptionError, match="'hat'.*age, smile"):
            directions.check({"hat": 1.0})

    @pytest.mark.parametrize("amount", [99, float("nan"), "1", None, True])
    def test_amount(self, directions, amount):
        with pytest.raises(OptionError, match="'smile'"):
            directions.check({"smile": amount})

    @pytest.mark.parametrize("edits", [["smile"], "smile", 3, None])
    def test_no_amounts_by_name(self, directions, edits):
        with pytest.raises(OptionError, match="amounts by name"):
            directions.check(edits)

    def test_two_of_one_name(self, directions):
        with pytest.raises(ValueError, match="two of one name"):
            AttributeDirections([directions["age"], directions["age"]])


class TestFiles:
    def test_round_trip(self, directions, tmp_path):
        directions.save(tmp_path / "directions.safetensors")
        loaded = AttributeDirections.of_checkpoint(tmp_path)
        assert list(loaded) == ["age", "smile"]
        assert (loaded["smile"].label, loaded["smile"].space, loaded["smile"].reach) == ("Smile", "motion", 2.0)
        torch.testing.assert_close(loaded["age"].vector, directions["age"].vector)
        assert [direction.name for direction in loaded.of("motion")] == ["smile"]

    def test_a_checkpoint_without(self, tmp_path):
        assert len(AttributeDirections.of_checkpoint(tmp_path)) == 0

    def test_damaged(self, tmp_path):
        path = tmp_path / "directions.safetensors"
        path.write_bytes(b"\x80\x04pickle")
        with pytest.raises(CheckpointError, match="cannot be read"):
            AttributeDirections.load(path)
