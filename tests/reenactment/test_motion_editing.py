"""Motions that are cut, looped and joined: no frame is lost, no time runs backwards, nothing jumps."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from tests.warping import faces
from vivface.errors import OptionError
from vivface.reenactment.codes import MotionBatch, MotionCodes
from vivface.reenactment.motion_editing import cut_motion, join_motions, loop_motion
from vivface.warping.retargeting import Rest, expression_between


class Ramp(MotionCodes):
    """Codes that rise by a step every frame, from `first` on."""

    def __init__(
        self,
        frames: int = 20,
        first: float = 0.0,
        fps: int = 20,
        step: float = 1.0,
        shape=(2, 3),
        origin=1.0,
        points: np.ndarray | None = None,
    ):
        super().__init__(
            name=f"ramp-{first:g}",
            fps=Fraction(fps),
            time_base=Fraction(1, fps),
            frames=frames,
            seconds=Fraction(frames, fps),
            code_shape=shape,
            fingerprint=[origin, 2.0],
        )
        self.has_points = points is not None
        self._points = points
        self._values = first + step * torch.arange(frames, dtype=torch.float32)

    def batches(self, batch_size=8, images=False, on_progress=None):
        for start in range(0, self.frames, batch_size):
            values = self._values[start : start + batch_size]
            rows = range(start, start + len(values))
            yield MotionBatch(
                values[:, None, None].expand(-1, *self.code_shape),
                [row / self.fps for row in rows],
                [1 / self.fps] * len(values),
                [row != 3 for row in rows],
                points=None if self._points is None else self._points[rows.start : rows.stop],
            )


def read(motion: MotionCodes) -> tuple[list[float], list[Fraction], list[Fraction], list[bool]]:
    """Values, times, durations, found; checks that frames follow each other without a gap."""
    values, times, lengths, found = [], [], [], []
    for batch in motion.batches(7):
        assert batch.codes.shape[1:] == motion.code_shape and len(batch.codes) == len(batch.times)
        values += batch.codes[:, 0, 0].tolist()
        times += batch.times
        lengths += batch.durations
        found += batch.found
    assert len(values) == motion.frames and times[0] == 0
    ends = [time + length for time, length in zip(times, lengths, strict=True)]
    assert ends[:-1] == times[1:] and min(lengths) > 0 and ends[-1] == motion.seconds
    return values, times, lengths, found


class TestCut:
    def test_a_part(self):
        values, times, _, found = read(cut_motion(Ramp(), 0.1, 0.5))
        assert values == list(range(2, 12)) and times[1] == Fraction(1, 20)
        assert found == [row != 3 for row in range(2, 12)]

    def test_to_the_end_and_beyond(self):
        assert read(cut_motion(Ramp(), 0.9))[0] == [18, 19]
        assert read(cut_motion(Ramp(), 0.9, 100))[0] == [18, 19]

    def test_between_frames_the_one_that_is_shown_comes_first(self):
        values, _, lengths, _ = read(cut_motion(Ramp(), 0.12, 0.1))
        assert values == [2, 3, 4] and lengths[0] == Fraction(3, 100) and sum(lengths) == Fraction(1, 10)

    @pytest.mark.parametrize("part", [(1, None), (-0.1, None), (0, 0), ("x", None), (float("nan"), None)])
    def test_out_of_range(self, part):
        with pytest.raises(OptionError):
            cut_motion(Ramp(), *part)


class TestLoop:
    def test_without_a_blend(self):
        values, times, _, _ = read(loop_motion(Ramp(), 3, 0))
        assert values == list(range(20)) * 3 and times[20] == 1

    def test_the_seam_is_smooth(self):
        values, _, _, _ = read(loop_motion(Ramp(), 2, 0.4))
        steps = [abs(b - a) for a, b in zip(values, values[1:], strict=False)]
        assert len(values) == 32 and max(steps) < 6 < 19  # 19 is the jump of the plain loop

    def test_mirrored(self):
        values, _, _, found = read(loop_motion(Ramp(), 2, mirror=True))
        assert values == [*range(20), *reversed(range(20))]
        assert [row for row, seen in enumerate(found) if not seen] == [3, 36]

    @pytest.mark.parametrize("count", [0, -1, 1.5, True, 10**6])
    def test_out_of_range(self, count):
        with pytest.raises(OptionError):
            loop_motion(Ramp(), count)


class TestJoin:
    def test_one_after_the_other(self):
        values, times, _, _ = read(join_motions([Ramp(), Ramp(first=100)], 0))
        assert values == [*range(20), *range(100, 120)] and times[20] == 1

    def test_the_crossfade_goes_from_one_to_the_other(self):
        values, _, _, _ = read(join_motions([Ramp(step=0), Ramp(first=10, step=0)], 0.4))
        assert values[:12] == [0] * 12 and values[20:] == [10] * (len(values) - 20)
        middle = values[12:20]
        assert middle == sorted(middle) and middle[0] == 0 and 8 < middle[-1] < 10

    def test_rates_may_differ(self):
        motion = join_motions([Ramp(fps=20), Ramp(first=100, fps=30), Ramp(first=5, fps=24)], 0.2)
        _, times, _, _ = read(motion)
        assert motion.fps == 20 and motion.seconds == 1 + Fraction(20, 30) + Fraction(20, 24) - Fraction(2, 5)
        assert all((time / motion.time_base).denominator == 1 for time in times)

    def test_short_ones_overlap_by_half_at_most(self):
        motion = join_motions([Ramp(frames=2), Ramp(frames=2), Ramp(frames=2)], 5)
        assert motion.seconds >= Fraction(1, 20) and len(read(motion)[0]) >= 2

    def test_of_other_checkpoints(self):
        for other in (Ramp(shape=(1, 3)), Ramp(origin=7.0)):
            with pytest.raises(OptionError, match="different checkpoints"):
                join_motions([Ramp(), other])
        with pytest.raises(OptionError, match="no motion"):
            join_motions([])


def speaking(brows: float = 0.0, wide: float = 1.0, frames: int = 40) -> np.ndarray:
    """Points of a driver who rests for 25 frames, then opens the mouth; `wide`: how broad the face is."""
    lips = [1.0] * 25 + [1.0 + row for row in range(frames - 25)]
    shapes = np.stack([faces.face(lips=gap, brows=brows) for gap in lips])
    shapes[..., 0] *= wide
    return np.stack([faces.points(shape) for shape in shapes])


def all_points(motion: MotionCodes) -> np.ndarray:
    assert motion.has_points
    return np.concatenate([batch.points for batch in motion.batches(7)])


class TestPoints:
    """The points of the driver's face are cut, looped and joined with the codes."""

    def test_cut_and_loop(self):
        points = speaking()
        motion = Ramp(frames=40, points=points)
        assert np.array_equal(all_points(cut_motion(motion, 0.5, 1)), points[10:30])
        assert np.array_equal(all_points(loop_motion(motion, 2, 0)), np.concatenate([points, points]))
        mirrored = all_points(loop_motion(motion, 3, mirror=True))
        assert np.array_equal(mirrored, np.concatenate([points, points[::-1], points]))
        blended = all_points(loop_motion(motion, 2, 0.4))
        steps = np.abs(np.diff(blended, axis=0)).max((1, 2))
        jump = np.abs(points[-1] - points[0]).max()
        assert len(blended) == 72 and steps.max() < jump / 4

    def test_join_shows_the_first_driver(self):
        first, second = speaking(), speaking(wide=1.2)
        joined = all_points(join_motions([Ramp(frames=40, points=first), Ramp(frames=40, points=second)], 0))
        assert np.array_equal(joined[:40], first)
        ours, theirs, shown = (Rest.of(points[:25]).shape for points in (first, second, joined[40:]))
        worn = expression_between(theirs, ours)  # what is no expression of the second face is gone
        # to a third of a millimetre: lips nearly shut are taken for shut up to the same limit in either face
        assert np.abs(shown - (ours - worn)).max() < 0.33 < np.abs(theirs - (ours - worn)).max()
        opened = [points[-1, 14, 1] - points[-1, 13, 1] - points[0, 14, 1] + points[0, 13, 1] for points in
                  (second, joined[40:])]  # fmt: skip
        assert opened[1] == pytest.approx(opened[0], rel=0.02)

    def test_one_without_points_leaves_none(self):
        motion = join_motions([Ramp(frames=40, points=speaking()), Ramp()])
        assert not motion.has_points and next(iter(motion)).points is None

    def test_saved(self, tmp_path):
        motion = loop_motion(Ramp(frames=40, points=speaking()))
        loaded = MotionCodes.load(motion.save(tmp_path / "a.safetensors"))
        assert np.abs(all_points(loaded) - all_points(motion)).max() <= 0.5 / 8192 + 1e-9


def test_the_result_can_be_saved_and_read(tmp_path):
    motion = join_motions([cut_motion(Ramp(), 0.1, 0.5), loop_motion(Ramp(fps=30), 2)])
    loaded = MotionCodes.load(motion.save(tmp_path / "a.safetensors"))
    values, times, _, found = read(motion)
    again = read(loaded)
    assert again[0] == pytest.approx(values) and again[1] == times and again[3] == found


def test_points_of_the_face_come_along(motion_file):
    motion = MotionCodes.load(motion_file)
    assert motion.has_points
    for made in (cut_motion(motion, 0.2), loop_motion(motion, 2), join_motions([motion, motion])):
        assert made.has_points and all(len(batch.points) == len(batch.codes) for batch in made.batches())


def test_a_real_motion_file(motion_file, run_cli, tmp_path):
    out = tmp_path / "out.safetensors"
    for arguments, seconds in (
        (("cut", motion_file, "--start", 0.2, "--duration", 0.4), 0.4),
        (("loop", motion_file, "--count", 3, "--blend", 0), 3 * 0.84),
        (("loop", motion_file, "--mirror"), 2 * 0.84),
        (("join", motion_file, motion_file, "--blend", 0.1), 2 * 0.84 - 0.1),
    ):
        status, line, err = run_cli("motion", *arguments, "-o", out)
        assert (status, err) == (0, "") and "seconds of motion.safetensors" in line
        motion = MotionCodes.load(out)
        assert float(motion.seconds) == pytest.approx(seconds, abs=0.01) and motion.has_points
    status, _, err = run_cli("motion", "cut", motion_file, "--start", 9, "-o", out)
    assert status == 2 and "lasts 0.84 seconds" in err
