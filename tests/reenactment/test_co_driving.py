"""Pose of one video, expression of another: the projection, the times, and what is refused."""

from fractions import Fraction

import pytest
import torch

from tests.motion import ListedMotion
from vivface.errors import CheckpointError, MediaError, OptionError
from vivface.reenactment.co_driving import CoDrivenMotion, PoseSubspace, check_pose, with_source_pose

SHAPE = (2, 6)
RANDOM = torch.Generator().manual_seed(0)
POSE, EXPRESSION = torch.randn(2, 12, generator=RANDOM), torch.randn(3, 12, generator=RANDOM)  # not orthogonal


@pytest.fixture(scope="module")
def subspace() -> PoseSubspace:
    """Codes are pose @ POSE + expression @ EXPRESSION; the readers are rows of the pseudo-inverse."""
    readers = torch.linalg.pinv(torch.cat([POSE, EXPRESSION])).T[:2]
    return PoseSubspace(("yaw", "pitch"), POSE.view(2, *SHAPE), readers.reshape(2, *SHAPE))


def codes_of(pose: torch.Tensor, expression: torch.Tensor) -> torch.Tensor:
    return (pose @ POSE + expression @ EXPRESSION).view(-1, *SHAPE)


def motion_of(pose, expression, fps: int, fingerprint=None) -> ListedMotion:
    times = [Fraction(n, fps) for n in range(len(pose) + 1)]
    return ListedMotion(codes_of(pose, expression), times, Fraction(fps), fingerprint=fingerprint)


def all_codes(motion, batch_size: int = 4) -> torch.Tensor:
    return torch.cat([batch.codes for batch in motion.batches(batch_size)])


class TestSubspace:
    def test_pose_of_one_and_expression_of_the_other(self, subspace):
        """Exactly, in a space where the two are not orthogonal."""
        p, q, e, f = torch.randn(5, 2), torch.randn(5, 2), torch.randn(5, 3), torch.randn(5, 3)
        made = subspace.with_pose(codes_of(p, e), codes_of(q, f))
        torch.testing.assert_close(made, codes_of(q, e), atol=1e-4, rtol=1e-4)

    def test_one_pose_for_all(self, subspace):
        p, e, q = torch.randn(5, 2), torch.randn(5, 3), torch.randn(1, 2)
        made = subspace.with_pose(codes_of(p, e), codes_of(q, torch.zeros(1, 3)))
        torch.testing.assert_close(made, codes_of(q.expand(5, -1), e), atol=1e-4, rtol=1e-4)

    def test_saved_and_loaded(self, subspace, tmp_path):
        loaded = PoseSubspace.load(subspace.save(tmp_path / "pose.safetensors"))
        assert loaded.names == subspace.names
        assert torch.equal(loaded.readers, subspace.readers.half().float())
        assert torch.equal(loaded.directions, subspace.directions.half().float())

    def test_other_files_are_refused(self, tmp_path):
        from safetensors.torch import save_file

        path = tmp_path / "pose.safetensors"
        for content in (
            None,
            b"nothing",
            {"readers": torch.ones(1)},
            {n: torch.ones(2, 3) for n in ("readers", "directions")},
        ):
            if isinstance(content, bytes):
                path.write_bytes(content)
            elif content is not None:
                save_file(content, path)
            with pytest.raises(CheckpointError, match="pose subspace"):
                PoseSubspace.load(path)


class TestTimes:
    @pytest.fixture
    def expression(self) -> torch.Tensor:
        return torch.randn(21, 3, generator=torch.Generator().manual_seed(1))

    @pytest.fixture
    def driving(self, expression) -> ListedMotion:
        return motion_of(torch.randn(21, 2), expression, 25)

    @pytest.mark.parametrize("fps", [10, 25, 60])
    def test_poses_are_matched_by_time(self, subspace, driving, expression, fps):
        """A head that turns steadily, at any frame rate."""
        ramp = torch.arange(fps + 1) / fps
        pose = motion_of(torch.stack([ramp, -2 * ramp], 1), torch.randn(fps + 1, 3), fps)
        seconds = torch.arange(21) / 25
        expected = codes_of(torch.stack([seconds, -2 * seconds], 1), expression)
        mixed = CoDrivenMotion(driving, pose, subspace)
        torch.testing.assert_close(all_codes(mixed), expected, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(all_codes(mixed, 7), expected, atol=1e-3, rtol=1e-3)  # again, in other batches
        assert mixed.warnings == []

    def test_the_last_pose_is_held(self, subspace, driving, expression):
        ramp = torch.arange(6) / 10  # until 0.5 s, the driving video lasts 0.84 s
        mixed = CoDrivenMotion(driving, motion_of(torch.stack([ramp, ramp], 1), torch.zeros(6, 3), 10), subspace)
        seconds = (torch.arange(21) / 25).clamp(max=0.5)
        expected = codes_of(torch.stack([seconds, seconds], 1), expression)
        for _ in range(2):
            torch.testing.assert_close(all_codes(mixed), expected, atol=1e-3, rtol=1e-3)
        assert len(mixed.warnings) == 1 and "last pose was held" in mixed.warnings[0]

    def test_one_frame_holds_its_pose(self, subspace, driving, expression):
        mixed = CoDrivenMotion(driving, motion_of(torch.ones(1, 2), torch.zeros(1, 3), 25), subspace)
        torch.testing.assert_close(all_codes(mixed), codes_of(torch.ones(21, 2), expression), atol=1e-3, rtol=1e-3)

    def test_frames_and_times_are_the_driving_videos(self, subspace, driving):
        mixed = CoDrivenMotion(driving, motion_of(torch.ones(9, 2), torch.zeros(9, 3), 10), subspace)
        for name in ("times", "durations", "found"):
            ours, theirs = ([x for batch in motion for x in getattr(batch, name)] for motion in (mixed, driving))
            assert ours == theirs
        assert (mixed.fps, mixed.frames, mixed.name) == (driving.fps, driving.frames, driving.name)

    def test_the_portraits_own_pose(self, subspace, driving, expression):
        class Identity:
            motion = codes_of(torch.tensor([[0.3, -0.2]]), torch.randn(1, 3))

        made = all_codes(with_source_pose(driving, Identity, subspace))
        expected = codes_of(torch.tensor([[0.3, -0.2]]).expand(21, -1), expression)
        torch.testing.assert_close(made, expected, atol=1e-3, rtol=1e-3)


class TestChoice:
    def test_defaults(self):
        assert check_pose(None, None) == "driving"
        assert check_pose(None, "b.mp4") == "co_driving"

    @pytest.mark.parametrize(
        ("pose", "second", "words"),
        [
            ("head", None, "'head'; expected"),
            ("co_driving", None, "no `co_driving`"),
            ("source", "b.mp4", "needs both"),
        ],
    )
    def test_contradictions(self, pose, second, words):
        with pytest.raises(OptionError, match=words):
            check_pose(pose, second)


class TestPipeline:
    """A tiny pipeline with a made-up subspace."""

    @pytest.fixture
    def pipeline(self, tiny_pipeline, monkeypatch):
        random = torch.Generator().manual_seed(2)
        directions = torch.linalg.qr(torch.randn(320, 3, generator=random))[0].T.reshape(3, 10, 32)
        subspace = PoseSubspace(("a", "b", "c"), directions, directions)
        monkeypatch.setattr(tiny_pipeline, "pose_subspace", subspace)
        return tiny_pipeline

    def test_the_result_follows_both(self, pipeline, portrait, motion_file, tmp_path):
        from vivface import MotionCodes

        expression = MotionCodes.load(motion_file)
        other = ListedMotion(3 * torch.randn(30, 10, 32), fingerprint=pipeline.fingerprint)
        result = pipeline(portrait, expression, adapt=0, co_driving=other)
        result.save(tmp_path / "out.mp4", save_motion=tmp_path / "mixed.safetensors")
        mixed = all_codes(MotionCodes.load(tmp_path / "mixed.safetensors"))
        read = pipeline.pose_subspace.read
        torch.testing.assert_close(read(mixed), read(all_codes(other)[: len(mixed)]), atol=1e-3, rtol=1e-3)
        left, expected = (
            codes - pipeline.pose_subspace.with_pose(0 * codes, codes) for codes in (mixed, all_codes(expression))
        )
        torch.testing.assert_close(left, expected, atol=1e-3, rtol=1e-3)

    def test_source(self, pipeline, portrait, motion_file):
        identity = pipeline.encode_identity(portrait, adapt=0)
        made = all_codes(pipeline(identity, motion_file, pose="source").motion)
        read = pipeline.pose_subspace.read
        torch.testing.assert_close(read(made), read(identity.motion).expand(len(made), -1), atol=1e-3, rtol=1e-3)

    def test_kept_with_the_checkpoint(self, pipeline, tmp_path):
        from vivface import load_pipeline

        pipeline.save_pretrained(tmp_path / "saved")
        assert load_pipeline(tmp_path / "saved").pose_subspace.names == ("a", "b", "c")

    def test_refused(self, tiny_pipeline, pipeline, portrait, motion_file, monkeypatch):
        stranger = ListedMotion(torch.randn(3, 10, 32), fingerprint=[9.0] * 8)
        with pytest.raises(MediaError, match="another checkpoint"):
            pipeline(portrait, motion_file, adapt=0, co_driving=stranger)
        with pytest.raises(OptionError, match="needs the portrait"):
            pipeline.co_drive(stranger, pose="source")
        monkeypatch.setattr(tiny_pipeline, "pose_subspace", None)
        with pytest.raises(OptionError, match="fit_pose_subspace"):
            pipeline(portrait, motion_file, adapt=0, pose="source")

    def test_command_line(self, run_cli, tiny_checkpoint, portrait, motion_file, tmp_path):
        options = ("-o", tmp_path / "out.mp4", "--checkpoint", tiny_checkpoint, "--adapt", 0, "--device", "cpu")
        status, _, error = run_cli("reenact", portrait, motion_file, *options, "--pose", "co_driving")
        assert status == 2 and "no `co_driving` video was given" in error
        status, _, error = run_cli("reenact", portrait, motion_file, *options, "--co-driving", motion_file)
        assert status == 2 and "fit_pose_subspace" in error


@pytest.mark.parametrize("system", ["vivface", "hybrid"])
def test_the_bundled_checkpoint_on_rendered_people(system, assets_dir, tmp_path_factory):
    """Held-out people: the head turns with one clip, the mouth opens with the other."""
    from training.evaluation.pairs import render_people
    from training.tools.measure_co_driving import correlation, read_motion
    from vivface import load_pipeline
    from vivface.faces import get_backend
    from vivface.media import VideoReader

    folder = tmp_path_factory.getbasetemp() / "co-driving"  # the same clips for both systems
    (portrait, pose_clip), (_, expression_clip) = render_people(folder, 2, 14, 4, 192, assets_dir, 950_000)
    pipeline = load_pipeline(system=system)
    pipeline.set_progress_bar_config(disable=True)
    result = pipeline(portrait, expression_clip, co_driving=pose_clip, adapt=0, refine=False)
    videos = [list(result)]
    for clip in (pose_clip, expression_clip):
        with VideoReader(clip) as reader:
            videos.append([frame.image for frame in reader])
    made, pose, expression = (read_motion(get_backend("mesh"), frames) for frames in videos)
    least = {"vivface": (0.9, 0.8), "hybrid": (0.9, 0.7)}[system]
    assert correlation(pose["yaw"], made["yaw"]) > least[0]
    assert correlation(expression["mouth"], made["mouth"]) > least[1]
    assert abs(correlation(pose["yaw"], expression["yaw"])) < 0.8  # else the test would say nothing
