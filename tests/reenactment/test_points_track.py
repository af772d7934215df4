"""A driver's points at any time, and after its end."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from tests.motion import ListedMotion
from tests.warping.faces import face, points
from vivface.errors import MediaError, OptionError
from vivface.reenactment.points_track import BLEND, PointsTrack

FRAMES, FPS = 30, 10


@pytest.fixture
def motion() -> ListedMotion:
    """The x of every point is the time in seconds; three seconds."""
    shown = np.stack([np.full((478, 3), number / FPS) for number in range(FRAMES)])
    times = [Fraction(number, FPS) for number in range(FRAMES + 1)]
    return ListedMotion(torch.zeros(FRAMES, 1, 1), times, Fraction(FPS), points=shown)


def read(motion, fit: str, times) -> list[float | None]:
    track = PointsTrack(motion, fit)
    found = [track.at(time) for time in times]
    track.close()
    return [None if points is None else float(points[0, 0]) for points in found]


def test_between_frames_in_proportion(motion):
    times = np.arange(0, 2.9, 1 / 24)
    assert np.allclose(read(motion, "trim", times), times, atol=1e-6)


def test_the_last_frame_lasts_until_its_end_and_then_nothing(motion):
    assert read(motion, "trim", [2.9, 2.99, 3.0, 3.5])[1:] == [pytest.approx(2.9), None, None]


def test_hold(motion):
    assert read(motion, "hold", [2.95, 3.0, 9.0]) == pytest.approx([2.9, 2.9, 2.9])


def test_mirror_goes_back_and_forth(motion):
    found = read(motion, "mirror", [2.0, 3.8, 5.8, 6.8, 8.7])
    assert found == pytest.approx([2.0, 2.0, 0.0, 1.0, 2.9], abs=1e-6)


def test_loop_begins_anew_without_a_jump(motion):
    times = np.arange(0, 9.5, 0.02)
    found = np.array(read(motion, "loop", times))
    later = (times % 3) > BLEND
    assert np.allclose(found[later & (times % 3 < 2.9)], (times % 3)[later & (times % 3 < 2.9)], atol=1e-6)
    assert np.abs(np.diff(found)).max() < 0.5  # 2.9 back to 0 in 0.2 s, by steps of 0.02 s


def test_rest_is_that_of_the_first_frames_and_nothing_is_lost(motion):
    lips = [1.0] * 26 + [12.0] * 4
    shown = np.stack([points(face(lips=gap)) for gap in lips])
    motion = ListedMotion(torch.zeros(len(lips), 1, 1), points=shown)
    track = PointsTrack(motion)
    assert np.abs(track.rest().shape - face(lips=1.0)).max() < 0.5
    assert np.array_equal(track.at(0.0), shown[0]) and np.array_equal(track.at(29 / 25), shown[29])


@pytest.mark.parametrize("fit", ["hold", "trim"])
def test_few_frames_are_kept(motion, fit):
    track = PointsTrack(motion, fit)
    for time in np.arange(0, 2.9, 0.05):
        track.at(time)
        assert len(track._times) <= 3 and len(track._recent) <= 2


def test_what_is_refused(motion):
    with pytest.raises(OptionError, match="fit"):
        PointsTrack(motion, "stretch")
    with pytest.raises(MediaError, match="has no points"):
        PointsTrack(ListedMotion(torch.zeros(3, 1, 1))).at(0.0)
