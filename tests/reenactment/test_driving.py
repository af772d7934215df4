"""Where a driver's face is read: crops that follow, points that keep the tilt of the head."""

from fractions import Fraction
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from tests.clips import face_frame
from vivface.faces.alignment import quad_angle
from vivface.faces.mesh_backend import MeshBackend
from vivface.media.video import VideoReader
from vivface.media.writer import VideoWriter
from vivface.reenactment.driving import KEPT_ZOOM, DrivingVideo, SteadyCrop
from vivface.warping.mesh import face_points

EYES = (33, 263)  # outer corners
SIZE = 256


def turned(image: np.ndarray, degrees: float) -> np.ndarray:
    matrix = cv2.getRotationMatrix2D((len(image) / 2, len(image) / 2), -degrees, 1.0)
    return cv2.warpAffine(image, matrix, image.shape[1::-1], borderMode=cv2.BORDER_REFLECT)


def tilt(points: np.ndarray) -> float:
    """Degrees, clockwise."""
    across = points[EYES[1], :2] - points[EYES[0], :2]
    return float(np.degrees(np.arctan2(across[1], across[0])))


def test_a_head_that_stays_tilted_is_read_so(tmp_path):
    path, fps = tmp_path / "tilted.mp4", Fraction(5)
    with VideoWriter(path, (SIZE, SIZE), fps) as writer:
        for number in range(30):  # six seconds
            writer.write(turned(face_frame(0.0, SIZE), 15.0 if number > 4 else 0.0), number / fps)
    frames = list(DrivingVideo(VideoReader(path), MeshBackend(), 64, "stable").frames([]))
    tilts = np.array([tilt(frame.points) for frame in frames])
    assert np.abs(tilts[6:] - tilts[0] - 15).max() < 2
    assert abs(np.degrees(quad_angle(frames[-1].quad)) - 15) < 8  # the crop itself has followed


@pytest.fixture(scope="module")
def face():
    (found,) = MeshBackend().detect(face_frame(0.0, SIZE))
    return found


def read(steady: SteadyCrop, face, degrees: float, time: float, redetected: bool = False) -> float:
    """The tilt of a face that is turned in its frame, as the points of its crop have it."""
    turn = np.radians(degrees)
    turn = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = face_points(face.points).copy()
    points[:, :2] = (points[:, :2] - SIZE / 2) @ turn.T + SIZE / 2
    landmarks = (face.landmarks - SIZE / 2) @ turn.T + SIZE / 2
    steady._points = SimpleNamespace(read=lambda image, found: points)
    tracked = SimpleNamespace(landmarks=landmarks, redetected=redetected, face=None)
    steady.follow(tracked, time)
    return tilt(steady.points(np.zeros((SIZE, SIZE, 3), np.uint8), tracked))


def test_a_camera_on_its_side_is_no_tilt(face):
    own = read(SteadyCrop("stable", 64), face, 0.0, 0.0)
    steady = SteadyCrop("stable", 64)
    assert read(steady, face, 85.0, 0.0) - own == pytest.approx(-5, abs=0.1)
    assert read(steady, face, 92.0, 4.0) - own == pytest.approx(2, abs=0.1)
    assert read(steady, face, 50.0, 4.1, redetected=True) - own == pytest.approx(-40, abs=0.1)  # the same camera
    assert read(steady, face, 3.0, 9.0, redetected=True) - own == pytest.approx(3, abs=0.1)  # after a cut, another


def width(steady: SteadyCrop, face, larger: float, time: float, redetected: bool = False) -> float:
    """How wide a face that is so many times as large is in the points of its crop."""
    points = face_points(face.points) * larger
    steady._points = SimpleNamespace(read=lambda image, found: points)
    tracked = SimpleNamespace(landmarks=face.landmarks * larger, redetected=redetected, face=None)
    steady.follow(tracked, time)
    return float(np.ptp(steady.points(np.zeros((SIZE, SIZE, 3), np.uint8), tracked)[:, 0]))


def test_a_head_that_leans_forwards_stays_near(face):
    steady = SteadyCrop("stable", 64)
    own = width(steady, face, 1.0, 0.0)
    for time in range(1, 30):
        near = width(steady, face, 1.12, float(time))
    assert near / own == pytest.approx(1.12, abs=0.01)
    for time in range(30, 60):  # the camera came closer
        near = width(steady, face, 2.0, float(time))
    assert near / own == pytest.approx(KEPT_ZOOM, abs=0.01)
    assert width(steady, face, 4.0, 61.0, redetected=True) / own == pytest.approx(1, abs=0.01)  # another shot


def test_faces_that_are_cut_one_by_one_have_no_tilt(face):
    steady = SteadyCrop("ffhq", 64)
    first = read(steady, face, 0.0, 0.0)
    assert [read(steady, face, 12.0, 1.0 + k / 25) for k in range(30)][-1] - first == pytest.approx(0, abs=2)
