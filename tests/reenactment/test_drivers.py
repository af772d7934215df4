"""Which video drives what: parts, times, smoothing, and what is refused."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from tests.motion import ListedMotion
from vivface.errors import OptionError
from vivface.faces.alignment import make_quad
from vivface.reenactment.codes import IdentityCode
from vivface.reenactment.drivers import DrivenMotion, Drivers, read_frames, smooth_positions
from vivface.reenactment.frame_code import FrameCode

FRAMES = 7


def frames_of(value: float, count: int = FRAMES) -> FrameCode:
    """Frames all of whose numbers are about a value, and change over time."""
    line = value + torch.arange(count) / 100
    return FrameCode(
        line[:, None, None].expand(-1, 16, 8),
        line[:, None, None].expand(-1, 5, 8),
        line[:, None].expand(-1, 3),
        line[:, None].expand(-1, 3),
    )


def motion_of(frames: FrameCode, fps: int = 25) -> ListedMotion:
    times = [Fraction(n, fps) for n in range(len(frames.pose) + 1)]
    return ListedMotion(frames.pack(), times, Fraction(fps))


def all_frames(motion, batch_size: int = 3) -> FrameCode:
    return FrameCode.unpack(torch.cat([batch.codes for batch in motion.batches(batch_size)]))


@pytest.fixture
def identity() -> IdentityCode:
    return IdentityCode(None, [], frames_of(9.0, 1).pack(), None, None, None)


class TestFrameCode:
    def test_packed_and_unpacked(self):
        random = torch.Generator().manual_seed(0)
        shapes = ((2, 16, 8), (2, 5, 8), (2, 3), (2, 3))
        frames = FrameCode(*(torch.randn(shape, generator=random) for shape in shapes))
        again = FrameCode.unpack(frames.pack())
        assert all(torch.equal(a, b) for a, b in zip(vars(frames).values(), vars(again).values(), strict=True))


class TestDrivers:
    def test_by_default_a_second_video_gives_pose_and_position(self):
        assert Drivers.choose(None) == Drivers()
        assert Drivers.choose("b.mp4") == Drivers("co_driving", "co_driving", "driving", "driving")
        assert Drivers.choose("b.mp4", position="source", local="co_driving").local == "co_driving"

    @pytest.mark.parametrize(
        ("video", "parts", "message"),
        [
            (None, {"pose": "co_driving"}, "no `co_driving` video was given"),
            ("b.mp4", {"pose": "driving", "position": "driving"}, "nothing comes from"),
            (None, {"local": "reference"}, "`local` is 'reference'"),
        ],
    )
    def test_what_is_refused(self, video, parts, message):
        with pytest.raises(OptionError, match=message):
            Drivers.choose(video, **parts)

    def test_every_part_comes_from_where_it_should(self, identity):
        drivers = Drivers(position="co_driving", pose="source", local="driving", residual="co_driving")
        made = all_frames(DrivenMotion(motion_of(frames_of(1)), motion_of(frames_of(5)), identity, drivers))
        first, second = frames_of(1), frames_of(5)
        torch.testing.assert_close(made.w_plus, first.w_plus)
        torch.testing.assert_close(made.residual, second.residual)
        torch.testing.assert_close(made.position, second.position)
        assert (made.pose == 9).all()

    def test_videos_are_matched_by_time_and_the_last_frame_is_held(self, identity):
        second = motion_of(frames_of(5, 3), fps=10)  # ends after 0.2 seconds
        drivers = Drivers.choose(second)
        mixed = DrivenMotion(motion_of(frames_of(1, 20)), second, identity, drivers)
        pose = all_frames(mixed).pose[:, 0]
        expected = 5 + (torch.arange(20) / 25 * 10).clamp(max=2) / 100
        torch.testing.assert_close(pose, expected)
        assert any("its last frame was held" in note for note in mixed.warnings)

    @pytest.mark.parametrize("batch_size", [1, 3, 8])
    def test_printed_residual_motion(self, identity, batch_size):
        """w_{j-1} - w_j, from steps that were added up."""
        frames = frames_of(0)
        driven = DrivenMotion(motion_of(frames), None, identity, Drivers(), "printed")
        made = all_frames(driven, batch_size).residual
        assert (made[0] == 0).all()
        torch.testing.assert_close(made[1:], torch.full_like(made[1:], -0.01))
        with pytest.raises(OptionError, match="`residual_mode`"):
            DrivenMotion(motion_of(frames), None, identity, Drivers(), "forward")


class TestReading:
    def test_positions_and_residual_motion(self):
        frames = frames_of(2)

        class Placed(ListedMotion):
            def batches(self, *args, **kwargs):
                row = 0
                for batch in super().batches(*args, **kwargs):
                    count = len(batch.times)
                    quads = [make_quad(np.array([50.0 + 4 * (row + k), 50]), 20, 0.1 * (row + k)) for k in range(count)]
                    row += count
                    yield replace(batch, quads=np.stack(quads))

        made = all_frames(read_frames(Placed(frames.pack())))
        line = torch.arange(FRAMES) / 10
        torch.testing.assert_close(made.position, torch.stack([line, 0 * line, line], 1))
        torch.testing.assert_close(made.residual, (frames.w_plus - 2)[:, 3:8], atol=1e-6, rtol=0)


class TestSmoothing:
    @pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
    @pytest.mark.parametrize("length", [1, 3, 5])
    def test_mean_over_time(self, batch_size, length):
        random = torch.Generator().manual_seed(0)
        frames = replace(frames_of(1), position=torch.randn(FRAMES, 3, generator=random))
        made = all_frames(smooth_positions(motion_of(frames), length), batch_size)
        reach = length // 2
        expected = [frames.position[max(k - reach, 0) : k + reach + 1].mean(0) for k in range(FRAMES)]
        torch.testing.assert_close(made.position, torch.stack(expected))
        assert torch.equal(made.w_plus, frames.w_plus)

    def test_constants_are_kept(self):
        frames = replace(frames_of(1), position=torch.full((FRAMES, 3), 0.25))
        assert torch.equal(all_frames(smooth_positions(motion_of(frames), 5)).position, frames.position)

    @pytest.mark.parametrize("length", [0, 2, -3, 1.0, True])
    def test_odd_lengths_only(self, length):
        with pytest.raises(OptionError, match="`smooth`"):
            smooth_positions(motion_of(frames_of(1)), length)
